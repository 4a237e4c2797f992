"""A Fourier layer as one: the numbers of its parts, and only where nobody wants to see these."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from datagen.geometry import periodic_grid
from kitipde.collisions import key_noise
from kitipde.config import FNOConfig, ResidualConfig
from kitipde.memory import points_first
from kitipde.models import fno
from kitipde.models.cpu.joined import joined
from kitipde.models.fno import FNO
from kitipde.problem.problem import Domain

GRIDS = {1: (18,), 2: (9, 16)}
COUPLES = {"layout": "token", "collision_heads": 4, "coll_coef": "auto"}


def model(dimension: int, **residual) -> FNO:
    torch.manual_seed(0)
    config = FNOConfig(modes=(5,), width=8, layers=3, projection_width=8)
    domain = Domain.of(periodic_grid(GRIDS[dimension], (1.0,) * dimension))
    network = FNO(config, ResidualConfig(**residual), in_channels=2, out_channels=1, domain=domain).double()
    key_noise(network, 3)
    return network


def field(dimension: int) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(3, 2, *GRIDS[dimension], dtype=torch.float64)


def counted(monkeypatch) -> list[int]:
    """Filled by one number a layer that is computed as one."""
    calls: list[int] = []

    def joined(*arguments):
        calls.append(1)
        return original(*arguments)

    original = fno.joined
    monkeypatch.setattr(fno, "joined", joined)
    return calls


def results(network: FNO, a: Tensor) -> list[Tensor]:
    """Prediction, gradients, what was counted, and where the next random numbers come from."""
    out = network(a)
    gradients = torch.autograd.grad(out.sin().sum(), list(network.parameters()))
    return [out.detach(), *gradients, *(buffer.clone() for _, buffer in network.named_buffers())]


def in_both_ways(network: Callable[[], FNO], a: Tensor, monkeypatch) -> list[list[Tensor]]:
    together = results(network(), a)
    monkeypatch.setattr(fno, "can_join", lambda *_: False)
    return [together, results(network(), a)]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dimension", [1, 2])
def test_plain_layers_are_the_sum_of_their_parts(dimension, training, monkeypatch) -> None:
    calls = counted(monkeypatch)
    pair = in_both_ways(lambda: model(dimension).train(training), field(dimension), monkeypatch)
    assert len(calls) == 3
    torch.testing.assert_close(*pair, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("update", [True, False])
@pytest.mark.parametrize("kind", ["kiti", "kiti-published", "mixing"])
@pytest.mark.parametrize("dimension", [1, 2])
def test_couples_collide_as_they_do_apart(dimension, kind, update, monkeypatch) -> None:
    calls = counted(monkeypatch)
    # Few enough that the couples come in several parts.
    monkeypatch.setattr("kitipde.collisions.backends.two_particles.CHUNK", 30)
    settings = {**COUPLES, "kind": kind, "target_rate": 0.6, "update_position": update}
    pair = in_both_ways(lambda: model(dimension, **settings), field(dimension), monkeypatch)
    assert len(calls) == 3
    torch.testing.assert_close(*pair, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(pair[0][0], model(dimension)(field(dimension)))


@pytest.mark.parametrize("layout", ["flat", "token", "channel"])
def test_a_call_without_pairs_is_a_sum_and_counts(layout, monkeypatch) -> None:
    calls = counted(monkeypatch)
    heads = {"flat": 48, "token": 2, "channel": 1}[layout]
    settings = {"kind": "kiti", "layout": layout, "collision_heads": heads, "target_rate": 1e-9}
    pair = in_both_ways(lambda: model(1, **settings), field(1), monkeypatch)
    assert len(calls) == (0 if layout == "channel" else 3)
    torch.testing.assert_close(*pair, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "kiti", "collision_heads": 48, "target_rate": 0.5},
        {"kind": "kiti", "collision_heads": 48, "coll_coef": 0.9},
        {"kind": "kiti-acceleration", **COUPLES, "target_rate": 0.5},
        {"kind": "gaussian", **COUPLES, "target_rate": 0.5},
        {"kind": "kiti", **COUPLES, "target_rate": 0.5, "noise": "gaussian"},
        {"kind": "kiti", **COUPLES, "target_rate": 0.5, "dt": 0.5},
        {"kind": "dropout", "dropout": 0.5},
        {"kind": "plain", "dt": 0.5},
    ],
)
def test_what_needs_positions_and_velocities_gets_them(settings, monkeypatch) -> None:
    calls = counted(monkeypatch)
    model(1, **settings)(field(1))
    assert not calls


def test_without_keys_the_random_numbers_are_torchs(monkeypatch) -> None:
    calls = counted(monkeypatch)
    network = model(1, kind="kiti", **COUPLES, target_rate=0.5)
    for residual in network.residuals:
        residual.keyed = False
    network(field(1))
    assert not calls


def test_who_listens_to_a_part_hears_it(monkeypatch) -> None:
    calls = counted(monkeypatch)
    network, heard = model(1), []
    handle = network.skips[1].conv.register_forward_hook(lambda *_: heard.append(1))
    network(field(1))
    assert (len(calls), len(heard)) == (2, 1)
    handle.remove()
    network(field(1))
    assert (len(calls), len(heard)) == (5, 1)


def test_transforms_autocast_and_half_precision_follow_the_parts(monkeypatch) -> None:
    calls = counted(monkeypatch)
    networks = [model(1), model(1)]
    stacked, _ = stack_module_state(networks)
    a = field(1)
    out = vmap(lambda tensors: functional_call(networks[0], tensors, (a,)))(stacked)
    with torch.autocast("cpu", torch.bfloat16):
        networks[0].float()(a.float())
    networks[0].bfloat16()(a.bfloat16())
    assert not calls
    torch.testing.assert_close(out[1], networks[1](a))
    assert len(calls) == 3


def test_the_gradient_has_a_gradient_where_nothing_collides() -> None:
    network, a = model(1), field(1)[:1, :, :8].requires_grad_()
    assert torch.autograd.gradgradcheck(lambda a: network(a).sin(), (a,))
    network.requires_grad_(False)
    assert torch.autograd.gradgradcheck(lambda a: network(a).sin(), (a,))


def test_collisions_can_be_differentiated_once() -> None:
    network, a = model(1, kind="kiti", **COUPLES, target_rate=0.6), field(1).requires_grad_()
    with pytest.raises(NotImplementedError, match="once"):
        torch.autograd.grad(network(a).sum(), a, create_graph=True)


def test_a_graph_that_is_kept_gives_the_same_gradients_again() -> None:
    network, a = model(1, kind="kiti", **COUPLES, target_rate=0.6), field(1).requires_grad_()
    loss = network(a).sin().sum()
    first, second = (torch.autograd.grad(loss, a, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("dimension", [1, 2])
def test_the_gradient_that_is_given_stays_as_it_is(dimension) -> None:
    network = model(dimension, kind="kiti", **COUPLES, target_rate=0.6)
    h = points_first(torch.randn(3, 8, *GRIDS[dimension], dtype=torch.float64)).requires_grad_()
    residual, convolution = network.residuals[0], network.convolutions[0]
    y = joined(h, network.skips[0], convolution, residual.in_sum(h))
    given = points_first(torch.randn_like(y))
    before, version = given.clone(), given._version
    torch.autograd.grad(y, h, given)
    assert torch.equal(given, before)
    assert given._version == version
