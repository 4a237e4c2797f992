"""A model applied to its own predictions: what is fed back goes by name, what is known comes from the data."""

import torch
from torch import Tensor, nn

from kitipde.models import Normalised, rollout
from kitipde.problem.problem import Domain, Problem

DOUBLE = torch.float64


class Sums(nn.Module):
    """Two fields of the last frame of three, in another order than they are given: v' = 2v + f, u' = u + v + 0.1c."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones((), dtype=DOUBLE))

    def forward(self, channels: Tensor) -> Tensor:
        u, f, v, c = channels[:, -4:].unbind(1)
        return self.weight * torch.stack([2 * v + f, u + v + 0.1 * c], dim=1)


PROBLEM = Problem(("u", "f", "v"), ("v", "u"), ("c",), (), 2, 3, Domain.square(8, 1))


def by_hand(a: Tensor, context: Tensor, known: Tensor, steps: int) -> Tensor:
    """[batch, step, (v, u), x], each field by its name."""
    u, f, v = a[:, -1].unbind(1)
    frames = []
    for step in range(steps):
        u, v = u + v + 0.1 * context[:, 0], 2 * v + f
        frames.append(torch.stack([v, u], dim=1))
        if step < steps - 1:
            f = known[:, step, 0]
    return torch.stack(frames, dim=1)


def given() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 2, 3, 8), (2, 1, 8), (2, 4, 1, 8))
    a, context, known = (torch.randn(shape, generator=generator, dtype=DOUBLE) for shape in shapes)
    return a, context, known


def test_predictions_are_fed_back_by_name_and_a_forcing_comes_from_the_data() -> None:
    a, context, known = given()
    found = rollout(Normalised(Sums(), PROBLEM), a, 5, context, known)
    torch.testing.assert_close(found, by_hand(a, context, known, 5))


def test_each_field_is_fed_back_in_its_own_units() -> None:
    a, context, known = given()
    model = Normalised(Sums(), PROBLEM)
    inputs, outputs, beside = [(3.0, 2.0), (-1e5, 10.0), (0.2, 1e-9)], [(0.1, 1e-9), (5.0, 4.0)], [(7.0, 0.5)]
    model.fit(inputs, outputs, beside)
    found = rollout(model, a, 4, context, known)

    def units(names: tuple[str, ...], moments: list[tuple[float, float]]) -> dict[str, tuple[float, float]]:
        return dict(zip(names, moments, strict=True))

    of, to = units(PROBLEM.inputs, inputs), units(PROBLEM.targets, outputs)
    fields = dict(zip(PROBLEM.inputs, a[:, -1].unbind(1), strict=True))
    c = (context[:, 0] - beside[0][0]) / beside[0][1]
    for step in range(4):
        z = {name: (field - of[name][0]) / of[name][1] for name, field in fields.items()}
        made = {"v": 2 * z["v"] + z["f"], "u": z["u"] + z["v"] + 0.1 * c}
        fields = {name: to[name][1] * field + to[name][0] for name, field in made.items()}
        for place, name in enumerate(PROBLEM.targets):
            torch.testing.assert_close(found[:, step, place], fields[name], rtol=1e-9, atol=0)
        fields["f"] = known[:, step, 0]
