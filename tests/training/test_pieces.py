"""Loss, schedule and batch order against their definitions."""

import math

import pytest
import torch

from kitipde.config import DataConfig, ScheduleConfig
from kitipde.data.windows import split_samples
from kitipde.errors import InputError
from kitipde.training.batches import batch_order
from kitipde.training.losses import relative_l2
from kitipde.training.schedule import learning_rate


def test_the_relative_error_of_a_scaled_field_is_the_scaling() -> None:
    target = torch.randn(3, 2, 16)
    torch.testing.assert_close(relative_l2(1.25 * target, target), torch.full((3, 2), 0.25))


def test_the_gradient_is_finite_at_an_exact_fit_and_at_a_zero_target() -> None:
    target = torch.stack([torch.randn(8), torch.zeros(8)])[:, None]
    prediction = target.clone().requires_grad_()
    relative_l2(prediction, target).sum().backward()
    assert prediction.grad is not None
    assert torch.isfinite(prediction.grad).all()


def test_schedules_follow_their_formulas() -> None:
    step = ScheduleConfig(name="step", every=100, factor=0.5)
    assert [learning_rate(step, 1.0, epoch, 1000) for epoch in (0, 99, 100, 250)] == [1.0, 1.0, 0.5, 0.25]
    cosine = ScheduleConfig(name="cosine")
    assert learning_rate(cosine, 2.0, 0, 10) == 2.0
    assert math.isclose(learning_rate(cosine, 2.0, 5, 10), 1.0)
    assert learning_rate(ScheduleConfig(name="constant"), 3.0, 7, 10) == 3.0


def test_each_epoch_visits_every_sample_once_in_its_own_order() -> None:
    orders = [batch_order(0, epoch, 50) for epoch in range(3)]
    assert all(sorted(order.tolist()) == list(range(50)) for order in orders)
    assert not torch.equal(orders[0], orders[1])
    assert torch.equal(batch_order(0, 1, 50), orders[1])
    assert not torch.equal(batch_order(1, 0, 50), orders[0])


def test_no_sample_is_in_two_splits() -> None:
    split = split_samples(25, DataConfig(train=10, validation=4, test=6))
    assert (split.train, split.validation, split.test) == (range(10), range(10, 14), range(19, 25))
    default = split_samples(25, DataConfig())
    assert [len(part) for part in (default.train, default.validation, default.test)] == [21, 2, 2]


def test_a_file_with_too_few_samples_says_what_is_needed() -> None:
    with pytest.raises(InputError, match=r"has 10 samples, but .* 8 \+ 2 \+ 3 = 13"):
        split_samples(10, DataConfig(train=8, validation=2, test=3))
