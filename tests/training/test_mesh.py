"""Training on a mesh: the loss, the curriculum, exact resuming, seeds at once, and mistakes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from datagen.store import open_dataset
from kitipde.config import RunConfig, TrainingConfig
from kitipde.config.load import read_config, resolve_config
from kitipde.errors import InputError
from kitipde.models import Normalised, build_model, parameter_count
from kitipde.models.dropout import KeyedDropout, key_dropout
from kitipde.models.oformer_airfoil import AirfoilOFormer
from kitipde.problem.problem import Problem, problem_of
from kitipde.problem.windows import Batch, Windows, load_windows
from kitipde.runs import Run, open_run
from kitipde.training.ensemble import Ensemble, Weights
from kitipde.training.objective import fit, make_objective
from kitipde.training.run import continue_run, start_run, train
from kitipde.training.schedule import frames_wanted
from kitipde.training.standing import TrainingData
from tests.data.mesh_files import RECIPE, write_mesh_data
from tests.training.conftest import StopAfter
from tests.training.test_replicas import assert_close_runs
from tests.training.test_resume import assert_same

TINY = (
    "data.output_frames=3",
    "training.epochs=3",
    "training.batch_size=2",
    "training.curriculum_frames=1",
    "training.curriculum_share=0.5",
)

# Of a gradient, by its largest component: 84 units in the last place of float32.
ROUNDING = 1e-5


@pytest.fixture(scope="module")
def mesh_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven samples of noise on 240 nodes: five for training."""
    return write_mesh_data(tmp_path_factory.mktemp("mesh") / "mesh.h5", samples=7)


def airfoil_config(data: Path, *assignments: str) -> RunConfig:
    return resolve_config(read_config("oformer-airfoil"), [*TINY, f"data.path={data}", *assignments])


def trained(data: Path, out: Path, *assignments: str) -> Run:
    train(start_run(airfoil_config(data, *assignments), out), StopAfter(), lambda _text: None)
    return open_run(out)


def windows_of(data: Path, config: RunConfig) -> tuple[Problem, Windows]:
    with open_dataset(data) as dataset:
        return problem_of(config.data, dataset), load_windows(dataset, config.data, range(5))


def fitted(data: Path, *assignments: str) -> tuple[Normalised, Windows]:
    config = airfoil_config(data, *assignments)
    problem, windows = windows_of(data, config)
    torch.manual_seed(0)
    model = build_model(config, problem)
    fit(config, model, TrainingData(windows, windows))
    return model.eval(), windows


def errors_of(model: Normalised, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """What training minimises, of fields in physical units."""
    network = model.network
    assert isinstance(network, AirfoilOFormer)
    return network.errors(*(model.standardised(each) for each in (prediction, target)))


def test_the_operator_has_the_published_number_of_parameters(mesh_file) -> None:
    assert parameter_count(fitted(mesh_file)[0]) == 1_370_116


def test_the_loss_is_its_formula_written_out(mesh_file) -> None:
    model, windows = fitted(mesh_file)
    target = windows.targets[:2]
    prediction = target * 1.1 + 0.3
    mean, deviation = (each.numpy()[:, None] for each in (model.output_mean, model.output_std))
    z, t = ((field.double().numpy() - mean) / deviation for field in (prediction, target))
    expected = np.zeros((2, 3))
    inside = np.flatnonzero(model.network.region.numpy())
    for sample in range(2):
        for frame in range(3):
            everywhere = np.mean([((z - t)[sample, frame, :, node] ** 2).sum() for node in range(240)])
            near = [
                (z[sample, frame, c, n] * z[sample, frame, 2, n] - t[sample, frame, c, n] * t[sample, frame, 2, n]) ** 2
                for n in inside
                for c in range(2)
            ]
            expected[sample, frame] = everywhere + 2 * np.mean(near)
    np.testing.assert_allclose(errors_of(model, prediction, target), expected, rtol=1e-4)
    assert not errors_of(model, target, target).any()


def test_predictions_are_in_physical_units_and_longer_ones_begin_as_shorter_ones(mesh_file) -> None:
    model, windows = fitted(mesh_file)
    with torch.no_grad():
        three, one = model(windows.inputs, None, 3), model(windows.inputs)
    torch.testing.assert_close(three[:, :1], one)
    assert 3e4 < float(three[:, :, 3].mean()) < 3e5
    assert float(three[:, :, 0].mean()) < 100


def test_collisions_act_in_training_only_and_leave_the_bits_of_evaluation(mesh_file) -> None:
    (vanilla, windows), (kiti, _) = fitted(mesh_file), fitted(mesh_file, "residual.kind=kiti")
    with torch.no_grad():
        assert torch.equal(vanilla(windows.inputs, None, 3), kiti(windows.inputs, None, 3))
        without_dropout = kiti.train()
        without_dropout.network.dropout.eval()
        assert not torch.equal(vanilla(windows.inputs, None, 3), without_dropout(windows.inputs, None, 3))


def test_keyed_dropout_has_its_rate_mean_and_the_same_choices_for_the_same_key() -> None:
    layer, x = KeyedDropout(0.25), torch.ones(200_000)
    key_dropout(layer, 7)
    first, second = layer(x), layer(x)
    assert not torch.equal(first, second)
    assert float((first == 0).double().mean()) == pytest.approx(0.25, abs=0.005)
    assert float(first.mean()) == pytest.approx(1.0, abs=0.01)
    assert first.unique().tolist() == pytest.approx([0.0, 4 / 3])
    key_dropout(layer, 7)
    assert torch.equal(layer(x), first)
    assert torch.equal(layer.eval()(x), x)


def test_the_curriculum_grows_linearly_and_ends_with_all_frames() -> None:
    config = TrainingConfig(curriculum_frames=8, curriculum_share=0.2)
    lengths = [frames_wanted(config, 22, step, 1000) for step in range(1000)]
    assert (lengths[0], lengths[100], lengths[199], lengths[200], lengths[-1]) == (8, 15, 21, 22, 22)
    assert lengths == sorted(lengths)
    assert {frames_wanted(TrainingConfig(), 22, step, 1000) for step in range(1000)} == {22}
    assert frames_wanted(config, 5, 0, 1000) == 5


def test_the_first_step_learns_from_the_first_frames_alone(mesh_file, tmp_path) -> None:
    run = trained(mesh_file, tmp_path / "run", "training.epochs=1", "training.batch_size=5", "model.dropout=0")
    model, windows = fitted(mesh_file, "model.dropout=0")
    with torch.no_grad():
        errors = errors_of(model, model(windows.inputs, None, 3), windows.targets).mean(0)
    assert run.replicas[0].metrics()[0]["train_loss"] == pytest.approx(float(errors[0]), rel=1e-5)
    assert errors[0] != pytest.approx(float(errors.mean()), rel=1e-5)


@pytest.mark.parametrize("stop", [1, 4])
def test_a_stopped_run_continues_with_the_same_bits(mesh_file, tmp_path, stop: int) -> None:
    options = ("residual.kind=kiti", "training.seeds=2", "training.seeds_at_once=2")
    trained(mesh_file, tmp_path / "whole", *options)
    stopped = start_run(airfoil_config(mesh_file, *options), tmp_path / "stopped")
    with pytest.raises(KeyboardInterrupt):
        train(stopped, StopAfter(stop), lambda _text: None)
    train(continue_run(stopped.path), StopAfter(), lambda _text: None)
    assert_same(tmp_path / "whole", tmp_path / "stopped")


@pytest.mark.parametrize("kind", ["plain", "kiti"])
def test_seeds_at_once_are_seeds_alone(mesh_file, tmp_path, kind: str) -> None:
    options = (f"residual.kind={kind}", "training.seeds=2", "training.input_noise=0.01")
    together = trained(mesh_file, tmp_path / "together", *options, "training.seeds_at_once=2")
    alone = trained(mesh_file, tmp_path / "alone", *options, "training.seeds_at_once=1")
    assert together.replicas[0].facts()["trained_together"] == [0, 1]
    # Where a gradient is nothing but rounding, Adam's step is as long as any and of either sign.
    assert_close_runs(together, alone, as_a_whole=True)
    seeds = [replica.metrics()[-1]["train_loss"] for replica in alone.replicas]
    assert seeds[0] != seeds[1]


def first_gradients(path: Path, run: Run, seeds: range) -> tuple[Weights, Weights]:
    """Errors and gradients of the first step, stacked along the seeds, which the optimizer has not touched yet."""
    _, windows = windows_of(path, run.config)
    data = TrainingData(windows, windows)
    ensemble = Ensemble([make_objective(run.config, run.replica(seed), data) for seed in seeds]).train()
    # Each seed has a batch of its own.
    batches = torch.stack([torch.arange(seed, seed + 2) for seed in seeds])
    errors = ensemble(Batch(*(each[batches] for each in ensemble.fields(windows))))
    errors.sum().backward()
    gradients = {}
    for name, parameter in ensemble.trained().items():
        assert parameter.grad is not None, name
        gradients[name] = parameter.grad if len(seeds) > 1 else parameter.grad[None]
    return {"errors": errors.detach()}, gradients


# At coll_coef 1 every pair collides: rounding has no pair to decide about.
@pytest.mark.parametrize("kind", [("plain",), ("kiti", "residual.target_rate=null", "residual.coll_coef=1")])
def test_first_gradients_of_seeds_at_once_are_those_of_seeds_alone(mesh_file, tmp_path, kind: tuple[str, ...]) -> None:
    options = (f"residual.kind={kind[0]}", *kind[1:], "training.seeds=3", "training.input_noise=0.01")
    run = start_run(airfoil_config(mesh_file, *options), tmp_path / "run")
    together = first_gradients(mesh_file, run, range(3))
    for seed in range(3):
        for stacked, single in zip(together, first_gradients(mesh_file, run, range(seed, seed + 1)), strict=True):
            for name, values in single.items():
                # Sums over frames, samples and nodes in another order: rounding is that of their largest terms.
                error = float((stacked[name][seed] - values[0]).abs().max())
                assert error <= ROUNDING * float(values.abs().max()), name
    assert all(not torch.equal(gradient[0], gradient[1]) for gradient in together[1].values())


def test_every_site_collides_at_the_rate_that_was_asked_for(mesh_file, tmp_path) -> None:
    constant = ("residual.kind=kiti", "residual.target_rate=0.1", "residual.schedule=constant")
    run = trained(mesh_file, tmp_path / "run", *constant)
    rates = [each["collisions_per_particle"] for each in run.replicas[0].metrics()[-1]["collisions"].values()]
    assert len(rates) == 10
    assert all(0.05 < rate < 0.2 for rate in rates)


def test_a_checkpoint_knows_its_mesh_and_its_data(mesh_file, tmp_path) -> None:
    run = trained(mesh_file, tmp_path / "run", "training.epochs=1")
    model, (expected, _) = run.replicas[0].load_model(), fitted(mesh_file)
    found = dict(model.named_buffers())
    for name, buffer in expected.named_buffers():
        if name in expected.state_dict():
            assert torch.equal(found[name], buffer), name
    assert (run.facts.dimension, run.facts.resolution) == (2, (RECIPE.around * RECIPE.layers,))


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("data.output_frames=22", "has 7 frames"),
        ("data.normalize=none", "data.normalize=none"),
        ("training.unroll=one-step", "curriculum_frames=1 needs unroll=autoregressive"),
        ("residual.collision_heads=24", "24"),
        ("data.train=100", "has 7 samples"),
        ("training.precision=bf16", "training.precision=bf16 cannot tell the nodes"),
    ],
)
def test_a_mistake_is_told_before_anything_is_written(mesh_file, tmp_path, assignment: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        start_run(airfoil_config(mesh_file, "residual.kind=kiti", assignment), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_one_step_at_a_time_is_refused_without_a_curriculum_too(mesh_file, tmp_path) -> None:
    config = airfoil_config(mesh_file, "training.curriculum_frames=null", "training.unroll=teacher-forcing")
    with pytest.raises(InputError, match="marches in its latent space"):
        start_run(config, tmp_path / "run")
