# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Does KITI help on my PDE?
#
# A recipe for an honest answer, on an equation that the program does not know: make the data, train both models
# with several seeds, choose KITI's settings on validation data, look at the test data once. The notebook is
# executed when this page is built ([verdict.ipynb](verdict.ipynb)); sizes are small, so that this takes a minute or
# two.
#
# ## The equation and its data
#
# Kuramoto and Sivashinsky's u_t = −u u_x − u_xx − u_xxxx on a circle of length 22 is chaotic. The task: from u at
# some instant to u three units of time later. `datagen` lends its time stepper; the data go through xarray into a
# file that every command takes.

# %%
import io
import shlex
import shutil
from contextlib import redirect_stderr
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray

from datagen.formats.netcdf import ArrayDescription, save_dataset
from datagen.solvers.etdrk4 import ETDRK4, angular_wavenumbers
from kitipde.cli import app
from kitipde.runs import open_run

torch.set_num_threads(1)
length, points, samples, step = 22.0, 64, 200, 0.05
k = angular_wavenumbers(points, length)
scheme = ETDRK4.of(k**2 - k**4, step)


def advection(modes):
    """−(u²)_x / 2 in Fourier space, without the third of the modes that would alias."""
    u = torch.fft.irfft(modes, n=points)
    return -0.5j * k * torch.fft.rfft(u * u) * (k < k[-1] * 2 / 3)


def advanced(u, time):
    """u a time later."""
    modes = torch.fft.rfft(u)
    for _ in range(round(time / step)):
        modes = scheme.step(modes, advection)
    return torch.fft.irfft(modes, n=points)


random = torch.Generator().manual_seed(0)
start = torch.zeros(samples, points // 2 + 1, dtype=torch.cdouble)
start[:, 1:6] = torch.randn(samples, 5, dtype=torch.cdouble, generator=random)
before = advanced(torch.fft.irfft(start, n=points, norm="forward"), 60.0)  # on the attractor
after = advanced(before, 3.0)

folder = Path("ks-study")
shutil.rmtree(folder, ignore_errors=True)
x = length * np.arange(points) / points
fields = {"before": (("sample", "x"), before.numpy()), "after": (("sample", "x"), after.numpy())}
save_dataset(xarray.Dataset(fields, {"x": x}), folder / "ks.h5", ArrayDescription("kuramoto-sivashinsky"))

figure, axes = plt.subplots(figsize=(7, 2.4), layout="constrained")
axes.plot(x, before[0], color="0.6", label="given")
axes.plot(x, after[0], color="black", label="three units of time later")
axes.set_xlabel("x")
axes.legend(frameon=False)
axes.margins(x=0)

# %% [markdown]
# ## The plan, before any training
#
# 200 samples: 60 to train on (few, so that a regulariser has a chance), 40 for validation, 100 for the verdict.
# Three seeds of each model, the same three, so that differences are paired. KITI collides at 0.05 collisions per
# particle; what is varied is whether that rate is constant or dies out over the run. The choice is by *validation*
# error. Only then, and only once, the test split is opened.
#
# The commands are those of the terminal; here they run in the notebook's own process, without their progress lines.


# %%
def kitipde(line: str) -> None:
    """One command of the program."""
    with redirect_stderr(io.StringIO()):
        app(shlex.split(line), standalone_mode=False)


common = (
    f"--config demo --data {folder}/ks.h5 --seeds 3 --set data.inputs=before --set data.targets=after "
    "--set data.train=60 --set data.validation=40 --set data.test=100 --set data.resolution=64 "
    "--set data.normalize=standard --set model.width=16 --set residual.collision_heads=64 --set training.epochs=40 "
    "--set training.batch_size=20"
)
kitipde(f"train fno --no-kiti --out {folder}/vanilla {common}")

# %%
variants = {
    "constant": "residual.schedule=constant",
    "dying-out": "residual.schedule=annealed",
}
for name, setting in variants.items():
    kitipde(f"train fno --kiti --out {folder}/{name} {common} --set {setting}")

# %% [markdown]
# ## The choice, on validation data


# %%
def validation_errors(name: str) -> np.ndarray:
    """Relative L2 error of the best epoch of each seed."""
    return np.array([replica.facts()["best_validation_loss"] for replica in open_run(folder / name).replicas])


for name in ("vanilla", *variants):
    errors = validation_errors(name)
    print(f"{name:10s} {errors.mean():.4f} ± {errors.std(ddof=1):.4f}")
chosen = min(variants, key=lambda name: validation_errors(name).mean())
print("chosen:", chosen)

# %% [markdown]
# ## The verdict, on test data

# %%
kitipde(f"compare {folder}/vanilla {folder}/{chosen}")

# %% [markdown]
# The verdict is a sentence about these data, this network and these settings. Whatever it says here, three things
# carry over to your equation:
#
# - the interval, not the ratio, is the result. If it contains 1, the answer is "not with so few seeds", and the
#   sentence tells how many seeds a difference of the size found would need;
# - collisions have a rate that must be chosen, and choosing it on the test split would make any regulariser look
#   useful;
# - the plain network had its learning rate and number of epochs chosen by somebody. If you tune KITI, tune the
#   plain one with as many trials: `kitipde sweep` does both ([studies](../studies.md)).
#
# What larger studies with this program have found is in [results](../results/index.md).
