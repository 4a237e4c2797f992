"""The FNO against neuraloperator's, and what KITI may not change."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from datagen.geometry import Axis, Grid, periodic_grid
from kitipde.config import FNOConfig, ResidualConfig
from kitipde.memory import has_points_first
from kitipde.models.fno import FNO
from kitipde.problem.problem import Domain

GRIDS = {1: (32,), 2: (16, 20)}


def model(dimension: int, residual: ResidualConfig | None = None, **settings) -> FNO:
    torch.manual_seed(0)
    config = FNOConfig(**{"modes": (5,), "width": 12, "layers": 3, "projection_width": 24, **settings})
    domain = Domain.of(periodic_grid(GRIDS[dimension], (1.0,) * dimension))
    return FNO(config, residual or ResidualConfig(), in_channels=2, out_channels=1, domain=domain)


def library_model_with_the_weights_of(ours: FNO, dimension: int, activation) -> nn.Module:
    """neuraloperator's FNO in the original's terms; its biases sit in the convolution, ours in the skip."""
    from neuralop.models import FNO as Library

    modes = ours.convolutions[0].modes[0]
    theirs = Library(
        n_modes=(2 * modes,) * (dimension - 1) + (2 * modes - 1,),
        in_channels=2,
        out_channels=1,
        hidden_channels=12,
        n_layers=3,
        lifting_channel_ratio=0,
        projection_channel_ratio=2,
        use_channel_mlp=False,
        non_linearity=activation,
    )
    with torch.no_grad():
        for name in ("lifting", "projection"):
            getattr(theirs, name).load_state_dict(getattr(ours, name).state_dict())
        for layer, (skip, convolution) in enumerate(zip(ours.skips, ours.convolutions, strict=True)):
            theirs.fno_blocks.convs[layer].weight.tensor.copy_(torch.view_as_complex(convolution.weight))
            theirs.fno_blocks.convs[layer].bias.copy_(skip.conv.bias.reshape(-1, *(1,) * dimension))
            theirs.fno_blocks.fno_skips[layer].conv.weight.copy_(skip.conv.weight)
    return theirs


class OnceActivated(nn.Module):
    """GELU on every second call: the library applies it twice in a block without a channel MLP, the FNO paper once."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        in_projection = self.calls == 5
        return nn.functional.gelu(x) if self.calls % 2 == 1 or in_projection else x


@pytest.mark.parametrize("dimension", [1, 2])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_vanilla_equals_neuraloperator_with_the_same_weights(dimension: int, activation: str) -> None:
    ours = model(dimension, activation=activation)
    library_activation = nn.functional.relu if activation == "relu" else OnceActivated()
    theirs = library_model_with_the_weights_of(ours, dimension, library_activation)
    a = torch.randn(3, 2, *GRIDS[dimension])
    torch.testing.assert_close(ours(a), theirs(a), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("dimension", [1, 2])
def test_kiti_in_evaluation_has_the_bits_of_vanilla(dimension: int) -> None:
    vanilla = model(dimension).eval()
    kiti = model(dimension, ResidualConfig(kind="kiti", collision_heads=8)).eval()
    kiti.load_state_dict(vanilla.state_dict())
    a = torch.randn(2, 2, *GRIDS[dimension])
    assert torch.equal(kiti(a), vanilla(a))


def test_kiti_changes_the_training_output_only() -> None:
    kiti = model(1, ResidualConfig(kind="kiti", collision_heads=8, coll_coef=0.9))
    a = torch.randn(2, 2, 32)
    assert not torch.equal(kiti.train()(a), kiti.eval()(a))


@pytest.mark.parametrize("dimension", [1, 2])
def test_collisions_of_whole_points_are_the_same_in_either_order_of_memory(dimension: int) -> None:
    network = model(dimension, ResidualConfig(kind="mixing", collision_heads=24, target_rate=1.0))
    orders: list[bool] = []
    for layer in network.residuals:
        layer.register_forward_hook(lambda _module, _inputs, out: orders.append(has_points_first(out)))
    a = torch.randn(2, 2, *GRIDS[dimension])
    results = []
    for scattered in (False, True):
        network.scattered = scattered
        out = network(a)
        results.append((out, *torch.autograd.grad(out.square().sum(), list(network.parameters()))))
    assert orders == [True] * 3 + [False] * 3
    assert not torch.equal(results[0][0], network.eval()(a))
    for first, second in zip(*results, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


def test_scattered_particles_keep_the_usual_order() -> None:
    assert model(1, ResidualConfig(kind="kiti", collision_heads=8)).scattered
    assert not model(1, ResidualConfig(kind="kiti", collision_heads=36)).scattered
    assert not model(1, ResidualConfig(kind="dropout", collision_heads=8)).scattered
    assert not model(1, ResidualConfig(kind="kiti", layout="token", collision_heads=6)).scattered


@pytest.mark.parametrize("kind", ["plain", "kiti"])
@pytest.mark.parametrize("dimension", [1, 2])
def test_every_parameter_gets_a_gradient(kind: str, dimension: int) -> None:
    network = model(dimension, ResidualConfig(kind=kind, collision_heads=8))
    network(torch.randn(2, 2, *GRIDS[dimension])).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_the_operator_does_not_depend_on_the_grid_of_a_smooth_field() -> None:
    network = model(1).double().eval()
    network.activation = nn.Identity()

    def field(points: int) -> torch.Tensor:
        x = torch.arange(points, dtype=torch.float64) / points
        return torch.stack([torch.sin(2 * torch.pi * x), torch.cos(4 * torch.pi * x)])[None]

    # Coordinates are not band-limited, so they are taken away for an exact statement.
    with torch.no_grad():
        network.lifting.fcs[0].weight[:, 2] = 0.0
    coarse, fine = network(field(32)), network(field(96))
    torch.testing.assert_close(fine[..., ::3], coarse, atol=1e-12, rtol=0)


@pytest.mark.parametrize("dimension", [1, 2])
def test_training_from_the_same_weights_follows_neuraloperator(dimension: int) -> None:
    ours = model(dimension, activation="relu", initialisation="library")
    theirs = library_model_with_the_weights_of(ours, dimension, nn.functional.relu)
    a = torch.randn(12, 2, *GRIDS[dimension])
    target = a[:, :1].roll(3, -1) * a[:, 1:]
    losses: dict[str, list[float]] = {"ours": [], "theirs": []}
    for name, network in (("ours", ours), ("theirs", theirs)):
        optimizer = torch.optim.Adam(network.parameters(), lr=5e-3, weight_decay=1e-4)
        for _ in range(20):
            for batch in range(0, 12, 4):
                optimizer.zero_grad()
                loss = (network(a[batch : batch + 4]) - target[batch : batch + 4]).square().mean()
                loss.backward()
                optimizer.step()
            losses[name].append(loss.item())
    assert losses["ours"][-1] < 0.9 * losses["ours"][0]
    assert losses["ours"] == pytest.approx(losses["theirs"], rel=2e-3)


def test_autocast_to_bfloat16_stays_near_the_float32_operator() -> None:
    network = model(1).eval()
    a = torch.randn(2, 2, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = network(a)
    exact = network(a)
    assert (rough.float() - exact).norm() < 0.03 * exact.norm()


def test_the_double_model_is_double_throughout() -> None:
    network = model(2, ResidualConfig(kind="kiti", collision_heads=8)).double()
    a = torch.randn(1, 2, *GRIDS[2], dtype=torch.float64)
    assert network.train()(a).dtype == network.eval()(a).dtype == torch.float64


def test_bounded_axes_are_padded_behind_their_end_and_periodic_ones_are_not() -> None:
    axes = (
        Axis("x", np.linspace(0, 1, 10), (0.0, 1.0), ("wall", "wall"), "1"),
        periodic_grid((12,), (1.0,)).axes[0],
    )
    domain = Domain.of(Grid((axes[0], dataclasses.replace(axes[1], name="y"))))
    config = FNOConfig(modes=(4,), width=8, layers=2, projection_width=8, coordinates="none", padding=0.25)
    torch.manual_seed(0)
    network = FNO(config, ResidualConfig(), 2, 1, domain).double()
    a = torch.randn(2, 2, 10, 12, dtype=torch.float64)
    padded = FNO(config, ResidualConfig(), 2, 1, Domain.of(periodic_grid((13, 12), (1.0, 1.0)))).double()
    padded.load_state_dict(network.state_dict())
    padded.lifting = nn.Identity()
    expected = padded(nn.functional.pad(network.lifting(a), (0, 0, 0, 3)))[:, :, :10]
    torch.testing.assert_close(network(a), expected, atol=1e-13, rtol=0)
    torch.testing.assert_close(network(a.roll(5, 3)), network(a).roll(5, 3), atol=1e-13, rtol=0)
    assert not torch.allclose(network(a.roll(5, 2)), network(a).roll(5, 2), rtol=1e-4)


@pytest.mark.parametrize(("grid", "modes"), [((16, 24), (3, 9)), ((8, 10, 12), (2, 3, 4)), ((12, 12, 12), (4,))])
def test_modes_differ_by_axis_in_two_and_three_dimensions(grid: tuple[int, ...], modes: tuple[int, ...]) -> None:
    domain = Domain.of(periodic_grid(grid, (1.0,) * len(grid)))
    config = FNOConfig(modes=modes, width=6, layers=2, projection_width=6, coordinates="none")
    network = FNO(config, ResidualConfig(), 1, 1, domain).double()
    network.activation = nn.Identity()
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) / n for n in grid), indexing="ij")
    kept = modes * len(grid) if len(modes) == 1 else modes
    with torch.no_grad():
        for skip in network.skips:
            skip.conv.weight.zero_()
        constant = network(torch.zeros(1, 1, *grid, dtype=torch.float64))
        for axis, x in enumerate(axes):
            # The last wave that is kept passes, the next does not.
            waves = ((2 * torch.pi * k * x).cos()[None, None] for k in (kept[axis] - 1, kept[axis] + 1))
            passes, stops = ((network(wave) - constant).abs().max() for wave in waves)
            assert passes > 1e-6
            assert stops < 1e-12
