"""The Euler solver: exact solutions, budgets, symmetry, and the known lift and drag of NACA 0012."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from datagen.equations.airfoil.air import GAMMA
from datagen.equations.airfoil.euler import Duals, Euler, Stream, conserved, primitive, uniform
from datagen.equations.airfoil.marching import march, steady
from datagen.equations.airfoil.o_grid import o_grid


def _numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _euler(wall: bool = True, around: int = 64, layers: int = 20, vortex: bool = False) -> Euler:
    duals = Duals.of(o_grid("2412", around, layers, 50.0).z)
    return Euler(duals, Stream(_numbers(0.3, 0.7), _numbers(0.4, -0.1), vortex), wall)


def test_a_uniform_flow_stays_one() -> None:
    euler = _euler(wall=False)
    start = uniform(euler.duals, euler.stream)
    _, state = march(euler, start, 0.1, 1.0)
    assert float((state - start).abs().max()) < 1e-12


def test_mass_momentum_and_energy_change_by_what_crosses_the_boundaries() -> None:
    euler = _euler()
    _, state = march(euler, uniform(euler.duals, euler.stream), 0.05, 1.0)
    fields = primitive(state)
    change = (euler.rate(state) * euler.duals.volume).sum((2, 3))
    crossing = euler.inner_flux(fields).sum(-1) + euler.outer_flux(fields).sum(-1)
    assert float((change + crossing).abs().max()) < 1e-11
    assert float(euler.inner_flux(fields)[[0, 3]].abs().max()) == 0
    lift, drag = euler.force(fields)
    force = euler.inner_flux(fields)[1:3].sum(-1)
    turned = torch.complex(force[0], force[1]) * torch.exp(-1j * euler.stream.angle)
    np.testing.assert_allclose(torch.complex(drag, lift) * 0.5 * euler.stream.mach**2, turned, rtol=1e-12)


def test_what_flows_out_over_time_is_what_is_missing() -> None:
    euler = _euler()
    state = uniform(euler.duals, euler.stream)
    step, out = 2e-4, torch.zeros(4, 2, dtype=torch.float64)
    before = (state * euler.duals.volume).sum((2, 3))

    def crossing(one: Tensor) -> Tensor:
        fields = primitive(one)
        return euler.inner_flux(fields).sum(-1) + euler.outer_flux(fields).sum(-1)

    for _ in range(20):
        first = state + step * euler.rate(state)
        second = 0.75 * state + 0.25 * (first + step * euler.rate(first))
        # The weights with which the three stages enter the step.
        out += step * (crossing(state) / 6 + crossing(first) / 6 + crossing(second) * 2 / 3)
        state = euler.advance(state, step)
    after = (state * euler.duals.volume).sum((2, 3))
    assert float(((before - after) - out).abs().max()) < 1e-13 * float(before.abs().max())


def _vortex(x: Tensor, y: Tensor, stream: Stream, time: float) -> Tensor:
    """A vortex in radial equilibrium, v_θ = κ r e^{(1−r²)/2}, carried by the stream: isentropic, exact."""
    u = float(stream.mach[0] * torch.cos(stream.angle[0]))
    v = float(stream.mach[0] * torch.sin(stream.angle[0]))
    dx, dy = x - 9.0 - u * time, y - v * time
    strength = 0.4 * torch.exp(0.5 * (1 - dx**2 - dy**2))
    squared = 1 - 0.5 * (GAMMA - 1) * strength**2
    density = squared ** (1 / (GAMMA - 1))
    fields = torch.stack([density, u - strength * dy, v + strength * dx, density * squared / GAMMA])
    return conserved(fields[:, None])


def test_a_carried_vortex_converges_with_second_order() -> None:
    stream, errors = Stream(_numbers(0.5), _numbers(1.2)), []
    for around in (40, 80, 160):
        # Stretched and skewed rings; the vortex moves across both families of lines.
        ring = np.linspace(0, 1, around // 2 + 1)
        radius = 4 * 3.5 ** (ring + 0.05 * np.sin(2 * np.pi * ring))
        turn = 2 * np.pi * np.arange(around) / around + 0.1 * np.sin(2 * np.pi * ring)[:, None]
        duals = Duals.of(radius[:, None] * np.exp(1j * turn))
        euler = Euler(duals, stream, wall=False)
        _, state = march(euler, _vortex(duals.x, duals.y, stream, 0.0), 1.0, 0.8)
        gap = primitive(state) - primitive(_vortex(duals.x, duals.y, stream, 1.0))
        errors.append(float((gap**2 * duals.volume).sum().sqrt()))
    orders = [math.log2(one / other) for one, other in itertools.pairwise(errors)]
    assert orders[-1] >= 1.8


def test_no_angle_gives_no_lift_at_any_time() -> None:
    euler = Euler(Duals.of(o_grid("0012", 64, 20, 50.0).z), Stream(_numbers(0.5, 0.8), _numbers(0.0, 0.0)))
    state = uniform(euler.duals, euler.stream)
    for _ in range(3):
        _, state = march(euler, state, 0.1, 1.0)
        assert float(euler.force(primitive(state))[0].abs().max()) < 1e-3


def test_opposite_angles_give_mirrored_flows() -> None:
    euler = Euler(Duals.of(o_grid("0012", 48, 16, 50.0).z), Stream(_numbers(0.5, 0.5), _numbers(0.2, -0.2)))
    _, state = march(euler, uniform(euler.duals, euler.stream), 0.3, 1.0)
    up, down = primitive(state).unbind(1)
    mirrored = down.flip(-1).roll(1, -1)
    np.testing.assert_allclose(up[[0, 1, 3]], mirrored[[0, 1, 3]], atol=1e-6)
    np.testing.assert_allclose(up[2], -mirrored[2], atol=1e-6)


def test_one_flow_does_not_depend_on_another_beside_it() -> None:
    both = _euler()
    alone = Euler(both.duals, Stream(both.stream.mach[1:], both.stream.angle[1:]))
    start = uniform(both.duals, both.stream)
    np.testing.assert_array_equal(both.advance(start, 1e-4)[:, 1:], alone.advance(start[:, 1:], 1e-4))


def test_the_steady_far_field_knows_the_lift() -> None:
    euler = _euler(vortex=True)
    state = uniform(euler.duals, euler.stream)
    _, state = march(_euler(), state, 0.2, 1.0)
    euler.feel_lift(state)
    felt = euler._stream_at(-1, primitive(state)[:, :, -1])
    # On top of the far field the vortex of a lifting body blows along the stream, below it against it.
    top = int(euler.duals.y[-1].argmax())
    lift, _ = euler.force(primitive(state))
    for row in range(2):
        u = float(euler.stream.mach[row] * torch.cos(euler.stream.angle[row]))
        assert math.copysign(1, float(felt[1, row, top]) - u) == math.copysign(1, float(lift[row]))
    total = GAMMA / (GAMMA - 1) * felt[3] / felt[0] + 0.5 * (felt[1] ** 2 + felt[2] ** 2)
    np.testing.assert_allclose(total, (1 / (GAMMA - 1) + 0.5 * euler.stream.mach**2)[:, None].expand_as(total))


@pytest.mark.slow
def test_known_lift_and_drag_of_naca_0012() -> None:
    found = steady("0012", [(0.5, 1.25), (0.8, 1.25), (0.8, 0.0)], 192, 48, steps=2000, compiled=True)
    assert found.lift[0] == pytest.approx(0.1798, rel=0.03)
    assert abs(found.drag[0]) < 0.0010
    assert found.lift[1] == pytest.approx(0.355, rel=0.03)
    assert found.drag[1] == pytest.approx(0.0230, rel=0.05)
    assert abs(found.lift[2]) < 1e-3


@pytest.mark.slow
def test_the_standard_mesh_is_fine_enough_for_them() -> None:
    found = steady("0012", [(0.5, 1.25), (0.8, 1.25)], steps=2000, compiled=True)
    assert found.lift == pytest.approx([0.1798, 0.355], rel=0.03)
    assert abs(found.drag[0]) < 0.0010
    assert found.drag[1] == pytest.approx(0.0230, rel=0.05)
