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
# # A neural operator from nothing
#
# Burgers' equation, a Fourier neural operator in forty lines of torch, and what such an operator can and cannot do.
# Every number below was made when this page was built. To run it yourself, open
# [neural-operator.ipynb](neural-operator.ipynb), or `docs/notebooks/neural-operator.py` in an editor that knows cells.
#
# ## The problem
#
# u_t + u u_x = ν u_xx on a circle of length 2π. We want the map from u(0) to u(1), a function in and a function
# out. `datagen` has a solver that is exact up to rounding (Cole and Hopf's formula), so data cost little.

# %%
import time

import matplotlib.pyplot as plt
import torch
from torch import nn

from datagen.equations.burgers import Burgers
from datagen.solvers.burgers import solve

torch.set_num_threads(1)
torch.manual_seed(0)

recipe = Burgers(samples=400, resolution=256, seed=0)
clock = time.perf_counter()
solved = recipe.solve(range(400), "cpu")
u0, u1 = (torch.tensor(solved[name], dtype=torch.float32)[:, None] for name in ("u0", "u"))
print(f"{len(u0)} pairs on {u0.shape[-1]} points in {time.perf_counter() - clock:.1f} s")

# %%
figure, panels = plt.subplots(1, 3, figsize=(9, 2.4), sharey=True, layout="constrained")
x = torch.arange(256) * 2 * torch.pi / 256
for index, axes in enumerate(panels):
    axes.plot(x, u0[index, 0], color="0.6", label="u(0)")
    axes.plot(x, u1[index, 0], color="black", label="u(1)")
    axes.set_xlabel("x")
panels[0].legend(frameon=False)
figure.align_xlabels()

# %% [markdown]
# ## The network
#
# A layer of a Fourier neural operator adds two linear maps and bends the sum: a 1×1 convolution W, which acts at
# each point, and a *spectral convolution* K, which multiplies the lowest Fourier coefficients by learnt matrices. K
# sees the whole field at once, and neither knows how many points there are.


# %%
class SpectralConvolution(nn.Module):
    """K: the lowest modes of all channels, mixed by one complex matrix a mode."""

    def __init__(self, width: int, modes: int) -> None:
        super().__init__()
        self.modes = modes
        self.weight = nn.Parameter(torch.randn(modes, width, width, dtype=torch.cfloat) / width)

    def forward(self, h):
        coefficients = torch.fft.rfft(h)
        mixed = torch.zeros_like(coefficients)
        mixed[..., : self.modes] = torch.einsum("bik,kio->bok", coefficients[..., : self.modes], self.weight)
        return torch.fft.irfft(mixed, n=h.shape[-1])


class Operator(nn.Module):
    """u0 ↦ u(1): lift to `width` channels, `layers` times σ(W h + K h), project to one channel."""

    def __init__(self, width: int = 24, modes: int = 12, layers: int = 3) -> None:
        super().__init__()
        self.lift = nn.Conv1d(2, width, 1)
        self.skips = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(layers))
        self.convolutions = nn.ModuleList(SpectralConvolution(width, modes) for _ in range(layers))
        self.project = nn.Sequential(nn.Conv1d(width, 64, 1), nn.GELU(), nn.Conv1d(64, 1, 1))

    def forward(self, a):
        place = torch.arange(a.shape[-1]) / a.shape[-1]
        h = self.lift(torch.cat([a, place.expand_as(a)], dim=1))
        for skip, convolution in zip(self.skips, self.convolutions, strict=True):
            h = nn.functional.gelu(skip(h) + convolution(h))
        return self.project(h)


model = Operator()
real = sum(p.numel() * (2 if p.is_complex() else 1) for p in model.parameters())
print(f"{real:,} real parameters")

# %% [markdown]
# ## Training
#
# 300 pairs to train on, 100 kept for the end. The loss is the relative L2 error, so that small fields count like
# large ones. The network is trained on 64 points, every fourth one, which is all that it will see.


# %%
def relative_error(predicted, true):
    """‖predicted − true‖ / ‖true‖ of each sample."""
    return (predicted - true).flatten(1).norm(dim=1) / true.flatten(1).norm(dim=1)


coarse0, coarse1 = u0[:300, :, ::4], u1[:300, :, ::4]
epochs, batch = 60, 20
optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
history = []
clock = time.perf_counter()
for _ in range(epochs):
    order = torch.randperm(300)
    total = 0.0
    for chosen in order.split(batch):
        loss = relative_error(model(coarse0[chosen]), coarse1[chosen]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(chosen)
    schedule.step()
    history.append(total / 300)
for epoch in range(9, epochs, 10):
    print(f"epoch {epoch + 1:2d}: {history[epoch]:.4f}")
print(f"{time.perf_counter() - clock:.0f} s")

# %% [markdown]
# ## What it has learnt
#
# The 100 other fields, on four grids, three of which the network has never seen.

# %%
with torch.no_grad():
    for step in (8, 4, 2, 1):
        error = relative_error(model(u0[300:, :, ::step]), u1[300:, :, ::step])
        print(f"{256 // step:3d} points: relative L2 {error.mean():.4f}, worst of 100 {error.max():.4f}")

# %%
with torch.no_grad():
    predicted = model(u0[300:])
    worst = int(relative_error(predicted, u1[300:]).argmax())
figure, (above, below) = plt.subplots(2, 1, figsize=(7, 4), sharex=True, layout="constrained")
above.plot(x, u1[300 + worst, 0], color="black", label="truth")
above.plot(x, predicted[worst, 0], "--", label="prediction")
above.legend(frameon=False)
above.set_title("the worst of the 100")
below.semilogy(x, (predicted - u1[300:])[worst, 0].abs() + 1e-6)
below.set_ylabel("absolute error")
below.set_xlabel("x")
figure.align_ylabels()

# %% [markdown]
# From 64 points on the error does not depend on the grid: what was learnt is a map between functions, held in 12
# Fourier modes. That is also its limit. It does not know Burgers' equation, only this map on fields like those it
# has seen. Give it fields twice as large:

# %%
larger = 2 * u0[300:]
true, _ = solve(larger[:, 0].double(), [1.0], recipe.viscosity, recipe.length)
with torch.no_grad():
    error = relative_error(model(larger), true.float())
print(f"fields twice as large: relative L2 {error.mean():.4f}")

# %% [markdown]
# That is many times the error on fields like those of training: an operator is only as wide as its data. The other
# thing that this page does not tell is what another initialisation would have given. For both, `kitipde` has
# commands:
#
# ```sh
# kitipde generate burgers --samples 448 --resolution 256 --out burgers.h5
# kitipde train fno --data burgers.h5 --config demo --seeds 3 --out runs/fno
# kitipde evaluate runs/fno --resolutions 32,64,128,256
# ```
#
# trains the same kind of network with three seeds, chooses the epoch on a validation split, and tables five kinds
# of error with their spread (`metrics.nc` in the run's folder has the others). The next notebook uses them for a
# question: [does KITI help on my PDE?](verdict.md)
