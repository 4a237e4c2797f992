"""What is learnt from a file: the fields chosen, the windows cut, the samples drawn, the geometries that fit."""

import json
from pathlib import Path

import numpy as np
import pytest

from datagen.geometry import Axis, Grid, periodic_grid
from datagen.store import Coordinate, Layout, Variable, open_dataset
from datagen.store.layout import DefaultProblem
from datagen.store.writer import write_file
from kitipde.config import DataConfig
from kitipde.config.load import resolve_config
from kitipde.errors import InputError
from kitipde.problem.choice import chosen
from kitipde.problem.problem import Domain
from kitipde.problem.rollouts import check_rollout, times_used
from kitipde.problem.windows import load_windows, split_samples
from kitipde.training.run import load_data, resolved

TIMES = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])
MOVING = DataConfig(inputs=("w", "f"), targets=("w",), input_frames=2, output_frames=2)


def frames_file(path: Path, times: np.ndarray = TIMES, problem: DefaultProblem | None = None) -> Path:
    """Ten samples of w and f with time, a field that has none and a number; every value tells where it is from."""
    points, count = 8, len(times)
    place = np.arange(points) + 100 * np.arange(count)[:, None] + 10_000 * np.arange(10)[:, None, None]
    fields = {"w": place, "f": -place, "a": place[:, 0], "nu": np.arange(10.0)}
    dims = {"w": ("sample", "time", "x"), "f": ("sample", "time", "x"), "a": ("sample", "x"), "nu": ("sample",)}
    variables = tuple(Variable(name, of, "1", name, "float64") for name, of in dims.items())
    time = Coordinate("time", times, "1", "time", "T")
    settings = json.dumps({"file": path.stem})
    layout = Layout("counting", settings, periodic_grid((points,), (1.0,)), variables, {}, (time,), problem=problem)
    write_file(path, layout, np.arange(10), fields)
    return path


@pytest.mark.parametrize(("start", "stride"), [(0, 1), (1, 1), (2, 2)])
def test_windows_are_slices_of_the_file(tmp_path: Path, start: int, stride: int) -> None:
    config = MOVING.model_copy(update={"start": start, "stride": stride, "static": ("a",), "parameters": ("nu",)})
    with open_dataset(frames_file(tmp_path / "a.h5")) as dataset:
        windows = load_windows(dataset, config, [3, 1])
        w, f = (dataset.read(name, [3, 1]) for name in ("w", "f"))
        a = dataset.read("a", [3, 1])
    given, later = slice(start, start + 2 * stride, stride), slice(start + 2 * stride, start + 4 * stride, stride)
    np.testing.assert_array_equal(windows.inputs, np.stack([w[:, given], f[:, given]], axis=2))
    np.testing.assert_array_equal(windows.targets, w[:, later][:, :, None])
    # The forcing is known in advance, so its later frames are there.
    np.testing.assert_array_equal(windows.known, f[:, later][:, :, None])
    np.testing.assert_array_equal(windows.context, np.stack([a, np.broadcast_to([[3.0], [1.0]], a.shape)], axis=1))


def test_training_takes_every_window_and_validation_the_first(tmp_path: Path) -> None:
    path = frames_file(tmp_path / "a.h5")
    assignments = ["data.windows=all", "data.inputs=w", "data.targets=w", "data.input_frames=2", "data.output_frames=2"]
    with open_dataset(path) as dataset:
        config, _, _ = resolved(resolve_config({}, [*assignments, "model.modes=2"]), dataset)
        data = load_data(config, dataset)
        w = dataset.read("w", range(10))
    assert data.train.samples == tuple(sample for sample in range(8) for _ in range(6))
    for number in range(len(data.train)):
        sample, start = divmod(number, 6)
        np.testing.assert_array_equal(data.train.inputs[number, :, 0], w[sample, start : start + 2])
        np.testing.assert_array_equal(data.train.targets[number, :, 0], w[sample, start + 2 : start + 4])
    assert data.validation.samples == (8,)
    np.testing.assert_array_equal(data.validation.inputs[0, :, 0], w[8, :2])


def test_uneven_instants_behind_the_first_window_are_seen_where_they_are_used(tmp_path: Path) -> None:
    path = frames_file(tmp_path / "a.h5", np.array([0.0, 1, 2, 3, 4, 5, 7, 9, 11]))
    for windows, refused in (("first", False), ("all", True)):
        config = resolve_config({}, [f"data.windows={windows}"])
        config = config.model_copy(update={"data": MOVING.model_copy(update={"windows": windows})})
        with open_dataset(path) as dataset:
            times = times_used(dataset, config.data)
        if refused:
            with pytest.raises(InputError, match="1 to 2 apart"):
                check_rollout(config, path, times)
        else:
            check_rollout(config, path, times)


def test_a_drawn_split_keeps_the_test_samples_and_shares_the_others_out() -> None:
    first, second = (split_samples(40, DataConfig(split_seed=seed)) for seed in (0, 1))
    assert first.test == second.test == range(36, 40)
    assert first.train != second.train
    for split in (first, second):
        assert sorted((*split.train, *split.validation)) == list(range(36))
    assert first == split_samples(40, DataConfig(split_seed=0))


def test_the_problem_of_the_file_holds_unless_other_fields_are_named(tmp_path: Path) -> None:
    own = DefaultProblem(("w",), ("w",), ("a",), ("nu",), 3, 4)
    with open_dataset(frames_file(tmp_path / "a.h5", problem=own)) as dataset:
        for asked in ({}, {"targets": ("w",)}, {"inputs": ("w",)}):
            config, _ = chosen(DataConfig(**asked), dataset)
            found = (config.inputs, config.targets, config.static, config.parameters)
            assert found == (("w",), ("w",), ("a",), ("nu",))
            assert (config.input_frames, config.output_frames) == (3, 4)
        config, _ = chosen(DataConfig(targets=("f",)), dataset)
        assert (config.inputs, config.targets, config.static) == (("f",), ("f",), ())
    with open_dataset(frames_file(tmp_path / "b.h5")) as dataset:
        config, words = chosen(DataConfig(), dataset)
        assert (config.inputs, config.input_frames, config.output_frames) == (("f", "w"), 1, 8)
        assert words == "b.h5: f, w → f, w (8 frames)"


def bounded(coordinates: np.ndarray) -> Grid:
    return Grid((Axis("x", coordinates, (0.0, 1.0), ("wall", "wall")),))


NODES, CELLS = bounded(np.linspace(0, 1, 9)), bounded((np.arange(8) + 0.5) / 8)


@pytest.mark.parametrize(
    ("trained", "other", "message"),
    [
        (NODES, periodic_grid((8,), (1.0,)), "other boundaries"),
        (periodic_grid((8,), (1.0,)), NODES, "other boundaries"),
        (NODES, CELLS, "0.5 steps from the end instead of .* 0 steps"),
        (NODES, periodic_grid((8, 8), (1.0, 1.0)), "is 2-D"),
        (NODES, bounded(np.linspace(0, 1, 33)), None),
        (periodic_grid((8,), (1.0,)), periodic_grid((64,), (2.0,)), None),
    ],
)
def test_a_network_is_applied_where_its_axes_have_the_same_ends(trained, other, message) -> None:
    domain = Domain.of(trained)
    if message is None:
        domain.refuse_other(other, Path("d.h5"), Path("run"))
        return
    with pytest.raises(InputError, match=message):
        domain.refuse_other(other, Path("d.h5"), Path("run"))


@pytest.mark.parametrize("network", ["fno", "oformer"])
def test_unevenly_spaced_points_are_refused_by_networks_that_take_them_for_even(tmp_path: Path, network: str) -> None:
    grid = bounded(np.linspace(0, 1, 9) ** 2)
    variables = tuple(Variable(name, ("sample", "x"), "1", name) for name in ("u0", "u"))
    layout = Layout("uneven", "{}", grid, variables, {}, problem=DefaultProblem(("u0",), ("u",)))
    values = np.random.default_rng(0).standard_normal((10, 9))
    write_file(tmp_path / "a.h5", layout, np.arange(10), {"u0": values, "u": values})
    config = resolve_config({}, [f"model.name={network}"])
    with open_dataset(tmp_path / "a.h5") as dataset, pytest.raises(InputError, match="equally spaced"):
        resolved(config, dataset)
