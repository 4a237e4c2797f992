"""KITI in neuraloperator's own models: nothing of theirs changes but the sums while training."""

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import kitipde
from kitipde.collisions import advance, collect
from kitipde.config import ResidualConfig
from kitipde.errors import InputError

KITI = ResidualConfig(kind="kiti", collision_heads=4, coll_coef=0.9)

VARIANTS: dict[str, dict[str, Any]] = {
    "1-d": {"n_modes": (8,)},
    "2-d": {"n_modes": (6, 6)},
    "no channel mlp": {"n_modes": (6, 6), "use_channel_mlp": False},
    "preactivation": {"n_modes": (6, 6), "preactivation": True},
    "instance norm": {"n_modes": (6, 6), "norm": "instance_norm"},
    "group norm": {"n_modes": (6, 6), "norm": "group_norm"},
    "norm and preactivation": {"n_modes": (6, 6), "norm": "group_norm", "preactivation": True},
    "identity skip": {"n_modes": (6, 6), "fno_skip": "identity"},
    "soft gating skip": {"n_modes": (6, 6), "fno_skip": "soft-gating"},
    "stabilised": {"n_modes": (6, 6), "stabilizer": "tanh"},
    "tucker": {"n_modes": (6, 6), "factorization": "tucker", "rank": 0.5},
    "finer output": {"n_modes": (6, 6), "resolution_scaling_factor": [1, 1, 2]},
}


def library_model(variant: str) -> nn.Module:
    from neuralop.models import FNO

    torch.manual_seed(0)
    return FNO(in_channels=2, out_channels=1, hidden_channels=8, n_layers=3, **VARIANTS[variant])


def inputs(variant: str) -> torch.Tensor:
    return torch.randn(2, 2, *(16,) * len(VARIANTS[variant]["n_modes"]))


@pytest.mark.parametrize("variant", VARIANTS)
def test_evaluation_keeps_the_bits_and_training_collides(variant: str) -> None:
    model, a = library_model(variant), inputs(variant)
    stock = {mode: model.train(mode)(a) for mode in (False, True)}
    keys = list(model.state_dict())
    attachment = kitipde.attach(model, KITI)
    assert torch.equal(model.eval()(a), stock[False])
    assert not torch.equal(model.train()(a), stock[True])
    assert list(model.state_dict()) == keys
    assert all(statistics.collisions_per_particle > 0 for statistics in collect(attachment.residuals).values())
    attachment.remove()
    assert torch.equal(model.train()(a), stock[True])


def test_a_norm_that_is_frozen_takes_no_skip_away() -> None:
    from neuralop.models import FNO

    torch.manual_seed(0)
    model = FNO((6, 6), in_channels=2, out_channels=1, hidden_channels=8, n_layers=3, norm="batch_norm")
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    a = inputs("2-d")
    stock = model(a)
    attachment = kitipde.attach(model, ResidualConfig())
    torch.testing.assert_close(model(a), stock, atol=1e-6, rtol=1e-5)
    attachment.remove()
    kitipde.attach(model, KITI)
    assert not torch.allclose(model(a), stock, rtol=1e-3)


def test_a_schedule_reaches_the_residuals_through_the_model() -> None:
    model = library_model("2-d").train()
    names = [name for name, _ in model.named_modules()]
    rule = ResidualConfig(kind="kiti", collision_heads=4, target_rate=0.5, schedule="annealed")
    attachment = kitipde.attach(model, rule)
    rates = []
    for done, learning_rate in ((0.0, 1.0), (0.5, 0.5), (1.0, 0.0)):
        advance(model, done, learning_rate)
        model(inputs("2-d"))
        rates.append([each.collisions_per_particle for each in collect(model).values()])
    assert rates == [pytest.approx([rate] * 3, abs=0.02) for rate in (0.5, 0.125, 0.0)]
    with pytest.raises(InputError, match="has residuals already"):
        kitipde.attach(model, rule)
    attachment.remove()
    assert [name for name, _ in model.named_modules()] == names
    kitipde.attach(model, rule)
    # The first attachment is gone already.
    attachment.remove()
    model(inputs("2-d"))
    assert len(collect(model)) == 3


@pytest.mark.parametrize("variant", ["2-d", "instance norm", "finer output"])
def test_plain_residuals_are_the_models_own_sum(variant: str) -> None:
    model, a = library_model(variant), inputs(variant)
    stock = model.train()(a)
    kitipde.attach(model, ResidualConfig())
    torch.testing.assert_close(model(a), stock, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_parameter_that_had_a_gradient_has_one(variant: str) -> None:
    model, a = library_model(variant), inputs(variant)
    model.train()(a).square().sum().backward()
    before = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad()
    kitipde.attach(model, KITI)
    model(a).square().sum().backward()
    assert {name for name, parameter in model.named_parameters() if parameter.grad is not None} == before


def test_states_load_both_ways() -> None:
    stock, attached = library_model("2-d"), library_model("2-d")
    kitipde.attach(attached, KITI)
    with torch.no_grad():
        for parameter in attached.parameters():
            parameter.add_(1.0)
    a = inputs("2-d")
    state = {name: value for name, value in attached.state_dict().items() if name != "_metadata"}
    stock.load_state_dict(state)
    assert torch.equal(stock.eval()(a), attached.eval()(a))


def test_a_copy_collides_by_itself() -> None:
    model = library_model("2-d")
    attachment = kitipde.attach(model, KITI)
    twin = copy.deepcopy(model).train()
    twin(inputs("2-d"))
    assert not any(statistics.collisions_per_particle for statistics in collect(attachment.residuals).values())
    a = inputs("2-d")
    assert torch.equal(twin.eval()(a), model.eval()(a))


def test_a_saved_model_collides_after_loading() -> None:
    model = library_model("2-d")
    kitipde.attach(model, KITI)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    loaded, a = torch.load(buffer, weights_only=False), inputs("2-d")
    assert torch.equal(loaded.eval()(a), model.eval()(a))
    assert not torch.equal(loaded.train()(a), loaded(a))


def test_the_u_shaped_model_takes_them_too() -> None:
    from neuralop.models import UNO

    model = UNO(
        in_channels=2,
        out_channels=1,
        hidden_channels=8,
        n_layers=3,
        uno_out_channels=[8, 8, 8],
        uno_n_modes=[[5, 5]] * 3,
        uno_scalings=[[1.0, 1.0], [0.5, 0.5], [2.0, 2.0]],
        channel_mlp_skip="linear",
    )
    a = torch.randn(2, 2, 16, 16)
    expected = model.eval()(a)
    kitipde.attach(model, KITI)
    assert torch.equal(model.eval()(a), expected)
    assert not torch.equal(model.train()(a), expected)


def test_a_model_without_fourier_layers_is_refused() -> None:
    with pytest.raises(InputError, match="no Fourier layer"):
        kitipde.attach(nn.Linear(2, 2), KITI)


def _train_one_step(rank: int, store: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    model = library_model("2-d")
    kitipde.attach(model, KITI)
    parallel = nn.parallel.DistributedDataParallel(model)
    torch.manual_seed(rank)
    parallel(inputs("2-d")).square().sum().backward()
    grads = torch.cat([parameter.grad.abs().flatten().float() for parameter in model.parameters()])
    both = [torch.empty_like(grads) for _ in range(2)]
    torch.distributed.all_gather(both, grads)
    assert torch.equal(both[0], both[1])
    assert grads.sum() > 0
    torch.distributed.destroy_process_group()


def test_two_processes_train_one_model(tmp_path) -> None:
    torch.multiprocessing.spawn(_train_one_step, args=(str(tmp_path / "store"),), nprocs=2)


CONTAINERS: dict[str, Callable[[nn.Module, nn.Module], nn.Module]] = {
    "sequential": lambda one, other: nn.Sequential(one, other),
    "nested": lambda one, other: nn.Sequential(nn.Sequential(nn.Identity(), one), nn.Sequential(other)),
    "list": lambda one, other: nn.ModuleList([one, other]),
    "dict": lambda one, other: nn.ModuleDict({"one": one, "other": other}),
    "list of blocks": lambda one, other: nn.ModuleList([one.fno_blocks, other.fno_blocks]),
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_a_container_stays_as_it_is(kind: str) -> None:
    from neuralop.models import FNO

    torch.manual_seed(0)
    one, other = (FNO((8,), in_channels=2, out_channels=2, hidden_channels=8, n_layers=2) for _ in range(2))
    container = CONTAINERS[kind](one, other)
    members, keys = list(container), list(container.state_dict())
    rule = ResidualConfig(kind="kiti", layout="token", target_rate=0.5, schedule="annealed")
    attachment = kitipde.attach(container, rule)
    assert list(container) == members
    assert list(container.state_dict()) == keys
    with pytest.raises(InputError, match="has residuals already"):
        kitipde.attach(container, rule)
    a = torch.randn(3, 2, 32)

    def run(network: nn.Module) -> torch.Tensor:
        return network(a) if isinstance(network, nn.Sequential) else other(one(a))

    before = run(container.eval())
    run(container.train())
    assert len(collect(container)) == 4
    advance(container, 1.0, 0.0)
    assert all(each.collision_strength == 0 for each in attachment.residuals)
    copied = pickle.loads(pickle.dumps(copy.deepcopy(container))).to("cpu")
    if isinstance(copied, nn.Sequential):
        copied.train()(a)
        assert torch.equal(copied.eval()(a), before)
    attachment.remove()
    assert torch.equal(run(container.eval()), before)
    assert not any("kiti" in name for name, _ in container.named_modules())


def test_a_model_whose_container_is_attached_to_has_residuals_already() -> None:
    model = library_model("2-d")
    kitipde.attach(nn.Sequential(model), KITI)
    with pytest.raises(InputError, match="has residuals already"):
        kitipde.attach(model, KITI)
