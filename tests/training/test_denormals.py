"""Numbers that a CPU is slow with do not come up."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from kitipde.denormals import denormals_flushed, without_denormals
from kitipde.models.weights import pack_weights
from kitipde.training.loop import Trainer
from tests.evaluation.conftest import write_plane_data
from tests.training.conftest import trained

TINY, SMALLEST = 1e-40, torch.finfo(torch.float32).tiny


def product() -> float:
    return (torch.full((64,), SMALLEST) * 0.5).max().item()


def test_results_that_would_be_denormal_are_zero_and_only_within() -> None:
    assert product() > 0
    with denormals_flushed():
        with denormals_flushed():
            assert product() == 0
        assert product() == 0
    assert product() > 0


def test_training_has_none_and_leaves_the_processor_as_it_was(tmp_path: Path, monkeypatch) -> None:
    products: list[float] = []
    original = Trainer.run

    def run(*arguments) -> None:
        products.append(product())
        original(*arguments)

    monkeypatch.setattr(Trainer, "run", run)
    data = write_plane_data(tmp_path / "data.h5")
    trained(data, tmp_path / "run", "data.inputs=vorticity", "data.targets=vorticity")
    assert products == [0]
    assert product() > 0


def test_denormal_weights_become_zero_and_others_stay() -> None:
    layer = torch.nn.Linear(2, 2)
    before = torch.tensor([[TINY, -TINY], [SMALLEST, -0.5]])
    layer.weight.data.copy_(before)
    layer.register_buffer("count", torch.tensor([3]))
    without_denormals(layer)
    assert layer.weight.tolist() == [[0, 0], [before[1, 0].item(), -0.5]]
    assert layer.get_buffer("count").tolist() == [3]


def test_a_trained_model_is_read_without_them(tmp_path: Path) -> None:
    data = write_plane_data(tmp_path / "data.h5")
    (replica,) = trained(data, tmp_path / "run", "data.inputs=vorticity", "data.targets=vorticity").replicas
    weights = load_file(replica.best_path)
    name = next(name for name in weights if name.endswith("skips.0.conv.weight"))
    weights[name][0] = TINY
    replica.best_path.write_bytes(pack_weights(weights))
    read = replica.load_model().state_dict()[name]
    assert read[0].abs().max() == 0
    assert torch.equal(read[1:], weights[name][1:])
