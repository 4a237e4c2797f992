"""Units do not matter: fields of any size, about any mean, with targets at rest among them."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datagen.equations.burgers import Burgers
from datagen.equations.heat import Heat
from datagen.equations.navier_stokes import NavierStokes
from datagen.geometry import periodic_grid
from datagen.store import Coordinate, Layout, Variable
from datagen.store.layout import DefaultProblem
from datagen.store.writer import write_file
from kitipde.errors import InputError
from kitipde.evaluation import evaluate_runs
from kitipde.models.normalised import Normalised
from kitipde.models.rollout import rollout
from kitipde.problem.problem import Domain, Problem
from kitipde.problem.statistics import FieldStatistics, in_units
from kitipde.training.losses import FLOOR, loss_units, relative_l2
from kitipde.training.run import start_run
from tests.training.conftest import new_run, trained

AMPLITUDES = st.floats(-30, 30).map(lambda exponent: 10.0**exponent)


def waves(samples: int = 20, frames: int = 1, points: int = 32) -> np.ndarray:
    """Random sines that travel and decay a little, of size 1: [samples, frames, points]."""
    rng = np.random.default_rng(0)
    x, t = np.arange(points) / points, np.arange(frames)[:, None] / 8
    phases, amplitudes = rng.uniform(0, 6.28, (2, samples, 1, 1)), rng.uniform(0.5, 1.5, (2, samples, 1, 1))
    terms = [a * np.sin(2 * np.pi * k * (x - t) + p) for k, a, p in zip((1, 3), amplitudes, phases, strict=True)]
    return np.exp(-t / 4) * (terms[0] + terms[1])


def line_file(path: Path, u0: np.ndarray, u: np.ndarray) -> Path:
    """A float64 dataset of an operator between two fields."""
    grid = periodic_grid(u.shape[-1:], (1.0,))
    names = tuple(Variable(name, ("sample", "x"), "1", name, "float64") for name in ("u0", "u"))
    layout = Layout(
        "advection", json.dumps({"file": path.stem}), grid, names, {}, problem=DefaultProblem(("u0",), ("u",))
    )
    write_file(path, layout, np.arange(len(u)), {"u0": u0, "u": u})
    return path


def frames_file(path: Path, w: np.ndarray, times: np.ndarray | None = None) -> Path:
    """A float64 dataset of two fields w and v with frames, equal in value."""
    times = np.arange(w.shape[1], dtype=float) if times is None else times
    grid, time = periodic_grid(w.shape[-1:], (1.0,)), Coordinate("time", times, "1", "time", "T")
    names = tuple(Variable(name, ("sample", "time", "x"), "1", name, "float64") for name in ("w", "v"))
    layout = Layout("advection", json.dumps({"file": path.stem}), grid, names, {}, (time,))
    write_file(path, layout, np.arange(len(w)), {"w": w, "v": w})
    return path


U0, U = waves(frames=2)[:, 0], waves(frames=2)[:, 1]
STANDARD = "data.normalize=standard"
FRAMES = ("data.inputs=w", "data.targets=w", "data.input_frames=2", "data.output_frames=3")


@settings(max_examples=25, deadline=None)
@given(AMPLITUDES, st.floats(-1e6, 1e6))
def test_statistics_are_exact_for_every_size_and_mean(amplitude: float, offset: float) -> None:
    unit = waves(5, 3)
    found = FieldStatistics.of(torch.from_numpy(amplitude * (unit + offset)))
    assert math.isclose(found.deviation, amplitude * unit.std(ddof=1), rel_tol=1e-8)
    assert math.isclose(found.mean, amplitude * (unit.mean() + offset), rel_tol=1e-12, abs_tol=1e-12 * amplitude)
    sizes = np.sqrt(((unit - unit.mean()) ** 2).mean(2)) / unit.std(ddof=1)
    np.testing.assert_allclose(found.sizes(found.mean, found.deviation), sizes, rtol=1e-8)


@settings(max_examples=25, deadline=None)
@given(AMPLITUDES, st.floats(0, 0.9), st.floats(0, 1e-12))
def test_targets_at_rest_change_neither_scale_nor_floor(amplitude: float, share: float, rest: float) -> None:
    sizes = torch.rand(200, 2, dtype=torch.float64) + 0.5
    expected = loss_units(amplitude * sizes)
    at_rest = torch.cat([sizes, torch.full((int(200 * share / (1 - share)), 2), rest, dtype=torch.float64)])
    scale, floor = loss_units(amplitude * at_rest)
    assert math.frexp(scale)[0] == 0.5, "a power of two"
    assert math.isclose(floor / scale, expected[1] / expected[0], rel_tol=1e-12)
    assert 0.03 < scale * amplitude < 30


def test_a_target_at_rest_has_an_error_beside_the_typical_target() -> None:
    target = torch.randn(9, 2, 1, 16, dtype=torch.float64)
    target[4] *= 1e-20
    scale, floor = loss_units(FieldStatistics.of(target[:, :, 0]).sizes(0.0, 1.0))
    errors = relative_l2(target + 0.01, target, scale, floor)
    assert errors.max() < 0.01 / (FLOOR * 0.5)
    # Everywhere else it is the error without a floor, bit for bit.
    usual = torch.arange(9) != 4
    assert torch.equal(errors[usual], relative_l2(target + 0.01, target)[usual])


@pytest.mark.parametrize(("amplitude", "offset"), [(1e-30, 0), (1e30, 0), (1, 1e3), (1e9, 1e6)])
def test_training_and_nrmse_are_the_same_in_every_unit(tmp_path, unit_run, amplitude: float, offset: float) -> None:
    data = line_file(tmp_path / "data.h5", amplitude * (U0 + offset), amplitude * (U + offset))
    run = trained(data, tmp_path / "run", STANDARD)
    losses, expected = ([row["train_loss"] for row in each.replicas[0].metrics()] for each in (run, unit_run))
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    (found,), (unit,) = (evaluate_runs([each.path], None, [(32,)]) for each in (run, unit_run))
    for metric in ("nrmse", "relative_l2_deviation"):
        np.testing.assert_allclose(found.errors(metric, (32,)), unit.errors(metric, (32,)), rtol=1e-4)


@pytest.fixture(scope="module")
def unit_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unit")
    return trained(line_file(folder / "data.h5", U0, U), folder / "run", STANDARD)


@pytest.mark.parametrize("unroll", ["autoregressive", "teacher-forcing", "one-step", "pushforward"])
def test_rollouts_are_the_same_in_every_unit(tmp_path, unroll: str) -> None:
    losses, nrmse = [], []
    for name, amplitude, offset in (("unit", 1.0, 0.0), ("other", 1e-20, 1e6)):
        data = frames_file(tmp_path / f"{name}.h5", amplitude * (waves(frames=5) + offset))
        more = (f"training.unroll={unroll}", "training.input_noise=0.01", "training.seeds=2")
        run = trained(data, tmp_path / name, STANDARD, *FRAMES, *more)
        losses.append([[row["train_loss"], row["validation_loss"]] for row in run.replicas[1].metrics()])
        nrmse.append(evaluate_runs([run.path], None, [(32,)])[0].errors("nrmse", (32,)))
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    np.testing.assert_allclose(nrmse[1], nrmse[0], rtol=1e-4)


@pytest.mark.parametrize("normalize", ["standard", "none"])
@pytest.mark.parametrize("share", [0.05, 0.6])
def test_samples_at_rest_leave_the_others_their_training(tmp_path, normalize: str, share: float) -> None:
    moving = np.ones(60, bool)
    moving[: int(60 * share)] = False
    moving = np.random.default_rng(0).permutation(moving)[:, None]
    fields = waves(60, 2)
    options = (f"data.normalize={normalize}", "training.epochs=6", "optimizer.learning_rate=0.01")
    runs = [
        trained(line_file(tmp_path / f"{name}.h5", *(fields[:, t] * keep for t in (0, 1))), tmp_path / name, *options)
        for name, keep in (("all", 1.0), ("some", moving))
    ]
    whole, resting = ([row["validation_loss"] for row in run.replicas[0].metrics()] for run in runs)
    assert max(resting) < 10
    assert resting[-1] < max(1.5 * whole[-1], 1.0)


@pytest.mark.parametrize("normalize", ["standard", "none"])
def test_no_dataset_of_the_papers_reaches_the_floor(normalize: str) -> None:
    targets: dict[str, Callable[[], np.ndarray]] = {
        "burgers": lambda: Burgers(samples=40, resolution=64, solve_resolution=256).solve(range(40), "cpu")["u"][
            :, None
        ],
        "navier-stokes": lambda: NavierStokes(samples=4, resolution=32, frames=20).solve(range(4), "cpu")["vorticity"],
        "heat": lambda: Heat(samples=4, resolution=32, frames=20).solve(range(4), "cpu")["temperature"],
    }
    for name, solve in targets.items():
        frames = torch.from_numpy(solve())
        statistics = FieldStatistics.of(frames if name == "burgers" else frames[:, 10:])
        units = (statistics.mean, statistics.deviation) if normalize == "standard" else (0.0, 1.0)
        sizes = statistics.sizes(*units)
        scale, floor = loss_units(sizes)
        # With room for more samples than these.
        assert (scale * sizes).min() > 2 * floor, name


@pytest.mark.parametrize(
    ("u0", "u", "normalize", "message"),
    [
        (0 * U0 + 3, U, "standard", r"data.inputs=u0 is 3 everywhere .* data.normalize=none"),
        (U0, 0 * U - 0.1, "standard", r"data.targets=u is -0.1 everywhere"),
        (U0 * 2e-11 + 1e5, U, "standard", r"data.inputs=u0 varies by .* rounding of float64"),
        (U0, 0 * U, "none", r"data.targets=u is zero in every training sample"),
        (U0, 0 * U, "standard", r"data.targets=u is zero in every training sample"),
        (U0 * 1e40, U, "none", r"data.inputs=u0 has values of size .*e\+40.* data.normalize=standard"),
        (U0, U * 1e-40, "none", r"data.targets=u has values of size .*e-41.* data.normalize=standard"),
    ],
)
def test_fields_that_cannot_be_scaled_are_refused_before_training(tmp_path, u0, u, normalize, message) -> None:
    data = line_file(tmp_path / "data.h5", u0, u)
    with pytest.raises(InputError, match=message):
        new_run(data, tmp_path / "run", f"data.normalize={normalize}")
    assert not (tmp_path / "run").exists()


def test_a_network_that_learnt_nothing_says_so_once_with_what_would_help(tmp_path) -> None:
    from kitipde.training.run import train
    from tests.training.conftest import StopAfter

    still = ("optimizer.learning_rate=1e-12", "training.seeds=2", "training.epochs=1")
    for name, size, more, words in (
        ("small", 1e-6, (), "values of size 9.8e-07: set data.normalize=standard"),
        ("usual", 1.0, (STANDARD,), "no better than predicting the mean of the training targets; train longer"),
    ):
        remarks: list[str] = []
        data = line_file(tmp_path / f"{name}.h5", size * U0, size * U)
        train(new_run(data, tmp_path / name, *still, *more), StopAfter(), remarks.append)
        assert len(remarks) == 1, remarks
        assert words in remarks[0]


class Halving(torch.nn.Module):
    """The next frame is half the last one."""

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        return 0.5 * window[:, -1:]


@settings(max_examples=25, deadline=None)
@given(AMPLITUDES, st.floats(-1e6, 1e6))
def test_a_rollout_keeps_the_digits_of_a_field_beside_its_mean(amplitude: float, offset: float) -> None:
    model = Normalised(Halving(), Problem(("u",), ("u",), (), (), 2, 3, Domain.square(32, 1)))
    model.fit([(amplitude * offset, amplitude)], [(amplitude * (offset + 0.5), 2 * amplitude)])
    unit = torch.from_numpy(waves(3, 2))[:, :, None]
    found = rollout(model, amplitude * (unit + offset), 3) / amplitude - offset
    window, expected = unit, []
    for _ in range(3):
        expected.append(window[:, -1:] + 0.5)
        window = torch.cat([window[:, 1:], expected[-1]], dim=1)
    torch.testing.assert_close(found, torch.cat(expected, dim=1), rtol=1e-6, atol=1e-6)


def test_weights_of_earlier_versions_predict_as_before() -> None:
    """Their statistics are float32; without normalisation a network sees, and gives, the same bits."""
    problem = Problem(("u",), ("u",), (), (), 2, 1, Domain.square(8, 1))
    model, fields = Normalised(Halving(), problem), torch.randn(2, 2, 1, 8)
    assert torch.equal(model(fields), 0.5 * fields[:, -1:])
    assert in_units(fields, 2, [(0.0, 1.0)]) is fields
    # One mean and one deviation, as numbers; no context.
    kept = ("input_mean", "input_std", "output_mean", "output_std")
    old = {name: model.state_dict()[name].float()[0] + 0.1 for name in kept}
    model.load_state_dict(dict(old))
    assert model.input_mean.dtype == torch.float64
    expected = 0.5 * (fields[:, -1:] - old["input_mean"]) / old["input_std"] * old["output_std"] + old["output_mean"]
    torch.testing.assert_close(model(fields), expected)


UNEVEN = np.array([0.0, 1.0, 2.0, 4.0, 8.0])


@pytest.mark.parametrize(
    ("times", "more", "message"),
    [
        (None, ("data.targets=v",), r"data.output_frames=3: predictions of 'v' cannot follow each other"),
        (UNEVEN, (), r"1 to 4 apart, .* data.allow_uneven_times=true"),
        (UNEVEN, ("training.unroll=one-step",), r"1 to 4 apart"),
        (UNEVEN, ("data.allow_uneven_times=true",), None),
        (UNEVEN, ("data.output_frames=1",), None),
        (UNEVEN, ("data.input_frames=1", "data.output_frames=2"), None),
        (UNEVEN + 1e-5 * np.arange(5), ("data.output_frames=1", "data.targets=v"), None),
        (np.arange(5) * 0.1 + 1e-6, (), None),
    ],
)
def test_a_repeated_map_needs_its_target_and_one_time_step(tmp_path, times, more, message) -> None:
    data = frames_file(tmp_path / "data.h5", waves(frames=5), times)
    if message is None:
        new_run(data, tmp_path / "run", *FRAMES, *more)
        return
    with pytest.raises(InputError, match=message):
        new_run(data, tmp_path / "run", *FRAMES, *more)


def test_a_network_that_marches_may_have_another_target_and_uneven_frames(tmp_path) -> None:
    from kitipde.config.load import resolve_config

    data = frames_file(tmp_path / "data.h5", waves(frames=5), UNEVEN)
    tree = {"model": {"name": "oformer", "width": 8, "latent_width": 8, "marching_width": 8, "rope_scales": [1]}}
    start_run(resolve_config(tree, [f"data.path={data}", *FRAMES, "data.targets=v"]), tmp_path / "run")
