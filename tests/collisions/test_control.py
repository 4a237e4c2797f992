"""The control of `kiti`: noise as large as the collisions that would happen, in every layout."""

import pytest
import torch

from kitipde.collisions import make_residual
from kitipde.config import ResidualConfig
from kitipde.memory import points_first

LAYOUTS = [("flat", 4), ("flat", 16), ("token", 4), ("token", 2), ("channel", 1)]
CONTROLS = [{"target_rate": 0.5}, {"target_rate": 0.1}, {"coll_coef": 0.7}]


def residual(kind, layout, heads, **settings):
    config = ResidualConfig(kind=kind, layout=layout, collision_heads=heads, **settings)
    return make_residual(config, 0, 1)


def features(copies, dtype=torch.float64):
    """Positions and velocities of one sample, so many times."""
    generator = torch.Generator().manual_seed(3)
    x, v = (torch.randn(8, 16, generator=generator, dtype=torch.float64) for _ in range(2))
    return (0.2 * x).to(dtype).expand(copies, 8, 16), v.to(dtype).expand(copies, 8, 16)


def squares(kind, layout, heads, copies=1500, **settings):
    """|v' − v|² of each of many draws."""
    torch.manual_seed(11)
    x, v = features(copies)
    # The control is of the velocities' change.
    out = residual(kind, layout, heads, update_position=False, **settings)(x, v)
    return (out - x - v).square().sum((1, 2))


@pytest.mark.parametrize("settings", CONTROLS)
@pytest.mark.parametrize(("layout", "heads"), LAYOUTS)
def test_noise_is_as_large_as_the_collisions_that_were_chosen(layout, heads, settings):
    kiti, gaussian = (squares(kind, layout, heads, **settings) for kind in ("kiti", "gaussian"))
    assert kiti.mean() > 0.1
    error = ((kiti.var() + gaussian.var()) / len(kiti)).sqrt()
    assert abs(kiti.mean() - gaussian.mean()) < 4 * error
    assert error < 0.06 * kiti.mean()


def test_noise_is_independent_and_equally_large_in_all_particles_of_a_sample():
    torch.manual_seed(2)
    x, v = features(4000)
    noise = (residual("gaussian", "flat", 4, target_rate=0.5)(x, v) - x - v).flatten(1)
    covariance = noise.T @ noise / len(noise)
    variance = covariance.diagonal().mean()
    assert (covariance.diagonal() / variance - 1).abs().max() < 0.15
    assert (covariance - covariance.diagonal().diag()).abs().max() < 0.1 * variance


def test_noise_does_not_depend_on_the_order_of_a_feature_map_in_memory():
    x, v = (torch.randn(3, 8, 24, generator=torch.Generator().manual_seed(k)) for k in range(2))
    results = []
    for order in (torch.clone, points_first):
        torch.manual_seed(1)
        results.append(residual("gaussian", "flat", 16, target_rate=0.5)(order(0.2 * x), order(v)))
    assert not torch.equal(results[0], 0.2 * x + v)
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("settings", CONTROLS[::2])
def test_gradients_follow_the_size_of_the_noise(settings):
    x, v = (each[:, :, :6].clone().requires_grad_() for each in features(1))

    def forward(x, v):
        torch.manual_seed(5)
        return residual("gaussian", "flat", 4, **settings)(x, v)

    assert not torch.equal(forward(x, v), x + v)
    assert torch.autograd.gradcheck(forward, (x, v), fast_mode=True)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["x", "v"])
def test_a_sample_with_a_bad_value_has_no_noise_and_the_others_have_theirs(bad, where):
    x, v = (each.clone() for each in features(3))
    (x if where == "x" else v)[1, 2, 3] = bad
    out = residual("gaussian", "flat", 4, target_rate=0.5)(x, v)
    torch.testing.assert_close(out[1], (x + v)[1], rtol=0, atol=0, equal_nan=True)
    assert out[0].isfinite().all()
    assert not torch.equal(out[0], (x + v)[0])
