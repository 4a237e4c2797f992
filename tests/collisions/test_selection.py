"""How many pairs collide in each sample when a rate asks for a fraction of one."""

import pytest
import torch

from kitipde.collisions.pairs import even_roundings


@pytest.mark.parametrize("samples", [1, 2, 5, 20, 128, 2560])
@pytest.mark.parametrize("wished", [0.03, 0.5, 3.2])
def test_a_batch_has_the_wished_number_of_pairs_within_a_few(samples, wished):
    for start in torch.linspace(0, 0.99, 34, dtype=torch.float64):
        numbers = torch.floor(wished + even_roundings(start[None], samples))
        # Independent roundings would err by twenty of 2560.
        assert abs(float(numbers.sum()) - wished * samples) < 2.5


def test_each_sample_is_rounded_up_with_the_right_probability():
    starts = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    ups = torch.stack([torch.floor(0.3 + even_roundings(start[None], 7)) for start in starts])
    torch.testing.assert_close(ups.mean(0), torch.full((7,), 0.3, dtype=torch.float64), atol=2e-3, rtol=0)


def test_neighbouring_points_do_not_all_collide_together():
    # 32 x 32 points of a batch of 20, each with one pair that collides with probability 1/2.
    ups = torch.floor(0.5 + even_roundings(torch.tensor([0.2], dtype=torch.float64), 32 * 32 * 20)).view(32, 32, 20)
    for axis in range(3):
        blocks = ups.unfold(axis, 5, 1).sum(-1)
        assert blocks.min() >= 1
        assert blocks.max() <= 4
