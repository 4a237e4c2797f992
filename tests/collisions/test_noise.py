"""Random numbers from a key: their law, and that they depend on nothing else."""

import numpy as np
import pytest
import torch
from scipy import stats

from kitipde.collisions.backends.counter_rng import normal_like, uniform, uniform_like

COUNT = 200_000


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("key", [0, 1, -5, 1 << 61])
def test_the_numbers_have_the_law_they_claim(dtype, key):
    like = torch.empty(COUNT, dtype=dtype)
    even, normal = (draw(torch.tensor(key), like).double().numpy() for draw in (uniform_like, normal_like))
    assert even.min() >= 0
    assert even.max() < 1
    for numbers, law in ((even, stats.uniform), (normal, stats.norm)):
        assert stats.kstest(numbers, law.cdf).pvalue > 1e-3
        assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 5 / COUNT**0.5
        assert abs(np.corrcoef(numbers[: COUNT // 2], numbers[COUNT // 2 :])[0, 1]) < 5 / (COUNT / 2) ** 0.5


def test_neighbouring_keys_have_numbers_of_their_own():
    first, second = (uniform(torch.tensor(key), COUNT, torch.float64).numpy() for key in (10, 11))
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / COUNT**0.5
    assert len(np.intersect1d(first, second)) == 0


def test_splitmix64_as_published():
    """The first outputs of the reference generator from state 0 are the mixed multiples of its constant."""
    from kitipde.collisions.backends import counter_rng

    outputs = counter_rng._mixed(torch.arange(1, 3) * counter_rng._GOLDEN)
    assert [each % (1 << 64) for each in outputs.tolist()] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]


def test_the_type_and_the_shape_follow():
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        like = torch.empty(3, 5, 7, dtype=dtype)
        for draw in (uniform_like, normal_like):
            drawn = draw(torch.tensor(3), like)
            assert drawn.dtype == dtype
            assert drawn.shape == like.shape
    assert uniform_like(torch.tensor(3), torch.empty(0)).numel() == 0
