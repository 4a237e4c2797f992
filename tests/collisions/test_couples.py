"""Two particles in a sample: the results of equations (2)-(5) as they are for any number."""

import pytest
import torch

from kitipde.collisions.backends.two_particles import collide_couples, collide_couples_adjoint, couples
from kitipde.collisions.rules import LAWS, collide, collide_adjoint

SAMPLES = 7


def cloud(shape: tuple[int, ...], order: str) -> torch.Tensor:
    """Particles [samples, 2, *shape] that lie in memory as they are, or with the two beside each other."""
    points = torch.randn(SAMPLES, 2, *shape, dtype=torch.float64)
    return points if order == "apart" else points.movedim(1, -1).contiguous().movedim(-1, 1)


def random() -> torch.Generator:
    return torch.Generator().manual_seed(11)


@pytest.mark.parametrize("order", ["apart", "beside"])
@pytest.mark.parametrize("shape", [(1,), (5,), (3, 2)])
@pytest.mark.parametrize("update", [True, False])
@pytest.mark.parametrize("law", sorted(LAWS))
def test_results_and_gradients_are_those_of_any_number_of_particles(law, update, shape, order, monkeypatch) -> None:
    # Few enough that the pairs come in several parts.
    monkeypatch.setattr("kitipde.collisions.rules.CHUNK", 12)
    monkeypatch.setattr("kitipde.collisions.backends.two_particles.CHUNK", 12)
    torch.manual_seed(3)
    x, v, gradient = (cloud(shape, order) for _ in range(3))
    pairs = couples(torch.tensor([True, False, True, True, False, True, True]))
    rest = (LAWS[law], 0.7, update)
    expected, counted = collide(x, v, pairs, random(), *rest)
    found = x + 0.7 * v
    statistics, sample, kept = collide_couples(x, v, [pairs.sample], [random()], *rest, found)
    assert sample.tolist() == [0, 2, 3, 5, 6]
    torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(statistics[0], counted, rtol=1e-12, atol=1e-13)
    found = gradient.clone(), 0.7 * gradient
    collide_couples_adjoint(gradient, sample, kept, *rest, found)
    for ours, theirs in zip(found, collide_adjoint(gradient, v, pairs, random(), *rest), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("law", sorted(LAWS))
def test_what_is_not_finite_or_at_rest_does_not_collide(law) -> None:
    torch.manual_seed(4)
    x, v = cloud((4,), "beside"), cloud((4,), "beside")
    v[1, 1] = v[1, 0]
    x[3, 0, 2] = torch.inf
    v[6, 1, 0] = torch.nan
    out = x + v
    _, sample, kept = collide_couples(x, v, [torch.arange(SAMPLES)], [random()], LAWS[law], 1.0, True, out)
    assert sample.tolist() == [0, 2, 4, 5]
    assert kept.shape == (2, 4 if LAWS[law].scatter else 0, 4)
    assert kept.isfinite().all()
    for each in (1, 3, 6):
        torch.testing.assert_close(out[each], (x + v)[each], rtol=0, atol=0, equal_nan=True)
    assert not torch.isclose(out, x + v).all(dim=(1, 2))[[0, 2, 4, 5]].any()


def test_replicas_at_once_are_what_each_is_alone() -> None:
    torch.manual_seed(5)
    x, v = (torch.randn(3, SAMPLES, 2, 4, dtype=torch.float64) for _ in range(2))
    v[1, 2, 1] = v[1, 2, 0]
    wanted = [torch.tensor([0, 4]), torch.tensor([1, 2, 6]), torch.empty(0, dtype=torch.long)]
    generators = [torch.Generator().manual_seed(seed) for seed in range(3)]
    together = (x + v).flatten(0, 1)
    shifted = [own + number * SAMPLES for number, own in enumerate(wanted)]
    rest = LAWS["kiti"], 1.0, True
    counted, sample, _ = collide_couples(x.flatten(0, 1), v.flatten(0, 1), shifted, generators, *rest, together)
    assert sample.tolist() == [0, 4, SAMPLES + 1, SAMPLES + 6]
    for number, own in enumerate(wanted):
        alone = x[number] + v[number]
        generator = torch.Generator().manual_seed(number)
        statistics, _, _ = collide_couples(x[number], v[number], [own], [generator], *rest, alone)
        torch.testing.assert_close(together.view_as(x)[number], alone, rtol=1e-14, atol=1e-14)
        torch.testing.assert_close(counted[number], statistics[0], rtol=1e-12, atol=1e-14)


def test_no_pair_and_no_sample() -> None:
    x = cloud((4,), "beside")
    none = torch.empty(0, dtype=torch.long)
    for points in (x, x[:0]):
        out = 2 * points
        statistics, sample, _ = collide_couples(points, points, [none], [random()], LAWS["kiti"], 1.0, True, out)
        assert torch.equal(out, 2 * points)
        assert (statistics.tolist(), len(sample)) == ([[0, 0, 0, 0]], 0)
