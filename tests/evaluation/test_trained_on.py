"""Samples that a run was trained on are no test samples, whatever the file that they lie in."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from datagen.equations.airfoil.cases import Airfoil
from datagen.equations.burgers import Burgers
from datagen.equations.heat import Heat
from datagen.equations.navier_stokes import NavierStokes
from datagen.equations.recipe import Recipe
from datagen.equations.registry import physical_settings
from datagen.equations.settings import numerical_settings, setting
from datagen.generation import generate as making
from datagen.generation.machine import Machine
from datagen.geometry import periodic_grid
from datagen.solvers.random_fields import sample_seeds
from datagen.store import Layout, Variable, open_dataset
from datagen.store.layout import DefaultProblem
from datagen.store.writer import write_file
from kitipde.config.load import resolve_config
from kitipde.errors import InputError
from kitipde.evaluation import compare_runs, evaluate_runs
from kitipde.evaluation.predict import predict
from kitipde.evaluation.trained_on import seen_samples
from kitipde.problem.choice import chosen
from kitipde.problem.problem import problem_of
from kitipde.runs import Run, RunFacts, open_run
from tests.evaluation.conftest import instants, train_tiny


def make(recipe: Any, path: Path) -> Path:
    work, machine = making.plan(recipe, path, "cpu"), Machine("cpu", "cpu", 0, 1)
    making.generate(work, recipe, machine)
    making.join(work)
    return path


def make_burgers(path: Path, samples: int, points: int, **more: float) -> Path:
    return make(Burgers(samples=samples, resolution=points, **more), path)


@dataclass(frozen=True)
class Decay(Recipe):
    """An own recipe: u = rate·u0, whatever the settings of its solver are."""

    equation: ClassVar[str] = "decay"

    samples: int = 12
    rate: float = 0.5
    points: int = setting(32, "Points stored.", numerical=True)
    undeclared: float = 1.0

    def layout(self) -> Layout:
        fields = (Variable("u0", ("sample", "x"), "1", "u"), Variable("u", ("sample", "x"), "1", "u later"))
        grid = periodic_grid((self.points,), (1.0,))
        return Layout(self.equation, "", grid, fields, {}, problem=DefaultProblem(("u0",), ("u",)))

    def solve(self, indices: Sequence[int], device: str) -> Mapping[str, np.ndarray]:
        x = np.arange(self.points) / self.points
        seeds = [np.random.default_rng(int(seed)) for seed in sample_seeds(self.seed, indices)]
        u0 = np.array([(rng.normal(size=(3, 1)) * np.sin(2 * np.pi * np.outer((1, 2, 3), x))).sum(0) for rng in seeds])
        return {"u0": u0, "u": self.rate * u0}

    def group(self, device: str) -> int:
        return 4


def write_pairs(path: Path, given: np.ndarray, wanted: np.ndarray, equation: str = "burgers") -> Path:
    """A file from elsewhere: no recipe, no seeds."""
    axes = ("x", "y")[: given.ndim - 1]
    layout = Layout(
        equation,
        "{}",
        periodic_grid(given.shape[1:], (1.0,) * len(axes)),
        (Variable("u0", ("sample", *axes), "1", "u"), Variable("u", ("sample", *axes), "1", "u later")),
        {},
        problem=DefaultProblem(("u0",), ("u",)),
    )
    write_file(path, layout, np.full(len(given), -1), {"u0": given, "u": wanted}, status=1)
    return path


@pytest.fixture(scope="module")
def trained_on_generated(workshop: Path) -> Run:
    """Trained on the first 6 of 10 samples of seed 0, its epoch chosen on the next 2."""
    data = make_burgers(workshop / "made.h5", 10, 32)
    return train_tiny(data, workshop / "generated", "{data: {train: 6, validation: 2, test: 2, resolution: 32}}")


@pytest.fixture(scope="module")
def trained_on_decay(workshop: Path) -> Run:
    data = make(Decay(), workshop / "decay.h5")
    return train_tiny(data, workshop / "decayed", "{data: {train: 6, validation: 2, test: 2}}")


def seen(run: Run, data: Path) -> list[int]:
    with open_dataset(data) as dataset:
        return list(seen_samples(run, dataset).samples)


@pytest.mark.parametrize("moved", [False, True])
def test_samples_of_the_same_seeds_are_not_tested_on(trained_on_generated: Run, tmp_path: Path, moved: bool):
    run = tmp_path / "run"
    shutil.copytree(trained_on_generated.path, run)
    if not moved:
        # A run that does not know the settings of its data looks at the file.
        facts = json.loads((run / "run.json").read_text())
        del facts["dataset_config"], facts["numerical_settings"]
        (run / "run.json").write_text(json.dumps(facts))
    else:
        (run / "run.json").write_text((run / "run.json").read_text().replace("made.h5", "gone.h5"))
    remarks: list[str] = []
    longer = make_burgers(tmp_path / "longer.h5", 12, 64)
    (evaluation,) = evaluate_runs([run], longer, [(32,)], remark=remarks.append)
    assert evaluation.metrics["sample"].values.tolist() == [8, 9, 10, 11]
    assert "8 of its samples are the same by seed and settings" in " ".join(remarks)
    assert "those not trained on, 4 samples" in evaluation.subject.description
    with pytest.raises(InputError, match=r"every sample of .* is in the training or validation split"):
        evaluate_runs([run], make_burgers(tmp_path / "shorter.h5", 8, 64), [(32,)])
    other = make_burgers(tmp_path / "viscous.h5", 8, 64, viscosity=0.2)
    assert evaluate_runs([run], other, [(32,)])[0].metrics.sizes["sample"] == 8


def test_files_and_runs_of_earlier_versions_know_the_settings_of_the_programs_recipes(
    trained_on_generated: Run, tmp_path: Path
) -> None:
    run = replace(trained_on_generated, facts=replace(trained_on_generated.facts, numerical_settings=[]))
    longer = make_burgers(tmp_path / "longer.h5", 12, 64)
    with h5py.File(longer, "r+") as file:
        del file.attrs["numerical_settings"]
    assert seen(run, longer) == list(range(8))


@pytest.mark.parametrize(
    ("recipe", "physical"),
    [
        (Burgers(), {"viscosity", "length"}),
        (Heat(), {"diffusivity", "source", "field", "length"}),
        (NavierStokes(), {"viscosity", "forced", "field", "length"}),
        (Airfoil(), {"airfoil", "least_mach", "most_mach", "least_angle", "most_angle"}),
    ],
)
def test_every_setting_of_the_programs_recipes_is_numerical_or_physical(recipe: Any, physical: set[str]) -> None:
    config = {"equation": recipe.equation, **asdict(recipe), "device": "cpu"}
    for declared in ((), numerical_settings(recipe)):
        assert physical_settings(config, declared).keys() == {"equation", *physical}
    # A setting that nobody knows may change the data.
    assert "more" in physical_settings({**config, "more": 1})
    assert "resolution" in physical_settings({**config, "more": 1, "resolution": 3})


def test_a_recipe_of_ones_own_declares_its_numerical_settings(trained_on_decay: Run, tmp_path: Path) -> None:
    with open_dataset(make(Decay(points=48, samples=14), tmp_path / "finer.h5")) as dataset:
        found = seen_samples(trained_on_decay, dataset)
    assert (found.samples, found.evidence) == (tuple(range(8)), "by seed and settings")


@pytest.mark.parametrize(("more", "expected"), [({"undeclared": 2.0}, list(range(8))), ({"rate": 0.9}, [])])
def test_where_a_recipe_cannot_tell_the_values_do(trained_on_decay: Run, tmp_path: Path, more, expected) -> None:
    other = make(Decay(points=64, samples=14, **more), tmp_path / "other.h5")
    with open_dataset(other) as dataset:
        found = seen_samples(trained_on_decay, dataset)
    assert list(found.samples) == expected
    assert found.evidence == "by their values"


def fields(rng: np.random.Generator, samples: int, *points: int) -> np.ndarray:
    """Smooth random fields at the first points of equal cells."""
    places = np.meshgrid(*(np.arange(n) / n for n in points), indexing="ij")
    phases = rng.uniform(0, 2 * np.pi, (samples, len(points), *(1,) * len(points)))
    waves = [np.sin(2 * np.pi * k * x + phases[:, k - 1]) for k, x in enumerate(places, 1)]
    return 1.0 + sum(waves)


@hypothesis_settings(max_examples=25, deadline=None)
@given(
    points=st.sampled_from([(32, 64), (64, 32), (32, 32), (32, 48), (33, 65), (85, 43)]),
    scale=st.sampled_from([1e-25, 1e-3, 1.0, 1e5]),
    offset=st.sampled_from([0.0, 1.0, 1e3]),
    order=st.permutations(range(12)),
    data=st.data(),
)
def test_imported_samples_are_recognised_wherever_they_lie(
    tmp_path_factory: pytest.TempPathFactory, points, scale, offset, order, data
) -> None:
    folder = tmp_path_factory.mktemp("values")
    coarse, fine = points
    closed = coarse % 2
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    phases = rng.uniform(0, 2 * np.pi, (12, 2, 1))

    def values(count: int) -> np.ndarray:
        x = np.arange(count) / (count - closed)
        return scale * (offset + np.sin(2 * np.pi * x + phases[:, 0]) + np.cos(4 * np.pi * x + phases[:, 1]))

    own, other = values(coarse), values(fine)[list(order)]
    # The last bits differ, as they do between programs.
    other *= 1 + 2e-7 * rng.standard_normal(other.shape)
    run = fake_run(folder, write_pairs(folder / "own.h5", own, own**2 / scale), train=5, validation=2)
    found = seen(run, write_pairs(folder / "other.h5", other, other**2 / scale))
    assert found == sorted(list(order).index(sample) for sample in range(7))


def fake_run(folder: Path, data: Path, train: int, validation: int) -> Run:
    """A run without weights: what it was trained on is in its settings."""
    config = resolve_config({"data": {"path": str(data), "train": train, "validation": validation, "test": 1}})
    with open_dataset(data) as dataset:
        settings, _ = chosen(config.data, dataset)
        facts = RunFacts(str(data), dataset.identity, dataset.equation, problem_of(settings, dataset), "")
    return Run(folder, config, facts)


def test_samples_that_differ_anywhere_are_new(tmp_path: Path) -> None:
    # Two media: few of all values differ, at places that no sparse look would see.
    rng = np.random.default_rng(0)
    own = np.repeat(rng.choice([3.0, 12.0], (8, 4)), 256, axis=1).reshape(8, 32, 32)
    other = own.copy()
    other[:, 17, 5] = 7.0
    run = fake_run(tmp_path, write_pairs(tmp_path / "own.h5", own, own + own.mean((1, 2))[:, None, None]), 6, 1)
    assert seen(run, write_pairs(tmp_path / "other.h5", other, other)) == []


@pytest.mark.parametrize(("change", "expected"), [(1e-3, [0, 1, 2, 3, 4]), (0.5, [])])
def test_the_same_input_with_the_solution_of_another_equation_is_new(tmp_path: Path, change, expected) -> None:
    own = fields(np.random.default_rng(0), 8, 32)
    target = fields(np.random.default_rng(1), 8, 32)
    run = fake_run(tmp_path, write_pairs(tmp_path / "own.h5", own, target), 4, 1)
    assert seen(run, write_pairs(tmp_path / "other.h5", own, 1 + (1 + change) * (target - 1))) == expected


def test_where_all_inputs_are_the_same_the_targets_tell(tmp_path: Path) -> None:
    own, target = np.broadcast_to(np.arange(32.0), (8, 32)), fields(np.random.default_rng(1), 8, 32)
    run = fake_run(tmp_path, write_pairs(tmp_path / "own.h5", own, target), 4, 1)
    new = fields(np.random.default_rng(2), 3, 32)
    assert seen(run, write_pairs(tmp_path / "other.h5", own[:6], np.concatenate([new, target[3:6]]))) == [3, 4]


def test_a_gap_of_known_samples_is_left_out_of_everything(vanilla_run: Run, line_data: Path, tmp_path: Path) -> None:
    with h5py.File(line_data) as file:
        u0, u = file["u0"][()], file["u"][()]
    # Trained on samples 0 to 3, its epoch chosen on 4 and 5.
    chosen = [7, 3, 8, 9, 0, 10, 11]
    data = write_pairs(tmp_path / "mixed.h5", u0[chosen], u[chosen])
    remarks: list[str] = []
    (evaluation,) = evaluate_runs([vanilla_run.path], data, [(32,)], remark=remarks.append)
    assert evaluation.metrics["sample"].values.tolist() == [0, 2, 3, 5, 6]
    assert evaluation.examples.samples[0] == 0
    assert "2 of its samples are the same by their values and are left out" in remarks[0]
    clean = write_pairs(tmp_path / "clean.h5", *(field[[7, 8, 9, 10, 11]] for field in (u0, u)))
    (same,) = evaluate_runs([vanilla_run.path], clean, [(32,)], remark=remarks.append)
    np.testing.assert_array_equal(evaluation.errors("rmse", (32,)), same.errors("rmse", (32,)))
    with pytest.raises(InputError, match=r"every sample of .*known\.h5 is in the .* \(the same by their values\)"):
        evaluate_runs([vanilla_run.path], write_pairs(tmp_path / "known.h5", u0[:6], u[:6]), [(32,)])
    predict(vanilla_run.path, data, tmp_path / "predicted.h5", remark=remarks.append)
    assert "vanilla was trained on 2 of the 7 samples" in remarks[-1]


def test_runs_with_other_training_samples_are_compared_on_what_is_new_to_both(
    vanilla_run: Run, line_data: Path, tmp_path: Path
) -> None:
    more = train_tiny(line_data, tmp_path / "more", "{data: {train: 8, validation: 2}, training: {seeds: 3}}")
    with h5py.File(line_data) as file:
        data = write_pairs(tmp_path / "copy.h5", file["u0"][()], file["u"][()])
    comparison = compare_runs(vanilla_run.path, more.path, data, (32,))
    assert comparison.result.samples == 10
    assert "the 10 samples of copy.h5 that neither run was trained on" in comparison.remarks[0]


def test_a_run_whose_data_are_gone_says_that_nothing_was_searched(vanilla_run: Run, line_data: Path, tmp_path: Path):
    copy = tmp_path / "copy"
    shutil.copytree(vanilla_run.path, copy, ignore=shutil.ignore_patterns("evaluation"))
    facts = copy / "run.json"
    facts.write_text(facts.read_text().replace("line.h5", "gone.h5"))
    with h5py.File(line_data) as file:
        data = write_pairs(tmp_path / "copy.h5", file["u0"][()], file["u"][()])
    remarks: list[str] = []
    evaluate_runs([copy], data, [(32,)], remark=remarks.append)
    assert "unsearched for those that it was trained on" in remarks[0]
    assert "gone.h5, is missing or has changed" in remarks[0]


def test_frames_are_compared_at_the_same_instants(plane_run: Run, plane_data: Path, tmp_path: Path) -> None:
    with h5py.File(plane_data) as file:
        field = file["vorticity"][()]
    layout = Layout(
        "navier-stokes",
        "{}",
        periodic_grid((8, 8), (1.0, 1.0)),
        (Variable("vorticity", ("sample", "time", "x", "y"), "s-1", "vorticity"),),
        {},
        (instants(np.arange(2.0, 6.0)),),
    )
    write_file(tmp_path / "later.h5", layout, np.full(10, -1), {"vorticity": field[::-1, 2:, ::2, ::2]}, status=1)
    assert seen(open_run(plane_run.path), tmp_path / "later.h5") == list(range(4, 10))
