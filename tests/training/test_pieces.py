"""Loss, schedule and batch order against their definitions."""

import math

import pytest
import torch
from torch import nn

from kitipde.config import DataConfig, OptimizerConfig, ScheduleConfig, TrainingConfig
from kitipde.errors import InputError
from kitipde.models import Normalised, rollout
from kitipde.problem.problem import Domain, Problem
from kitipde.problem.windows import Batch, split_samples
from kitipde.training.batches import Fields, batch_order, draw
from kitipde.training.losses import relative_l2
from kitipde.training.objective import Objective
from kitipde.training.optimizer import MovingAverage, clip_gradients, join_states, make_optimizer, state_of
from kitipde.training.schedule import learning_rate
from tests.training.conftest import trained


def test_the_relative_error_of_a_scaled_field_is_the_scaling() -> None:
    target = torch.randn(3, 2, 1, 16)
    torch.testing.assert_close(relative_l2(1.25 * target, target), torch.full((3, 2), 0.25))


def test_the_gradient_is_finite_at_an_exact_fit_and_at_a_zero_target() -> None:
    target = torch.stack([torch.randn(8), torch.zeros(8)])[:, None, None]
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


def test_one_cycle_is_that_of_torch() -> None:
    schedule = ScheduleConfig(name="onecycle", rise=0.2, start_divisor=1e2, end_divisor=1e3)
    epochs, steps = 7, 5
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    # torch counts to the last step, this program to the end of it: one step more.
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.3, total_steps=epochs * steps + 1, pct_start=0.2 + 0.8 / (epochs * steps + 1),
        div_factor=1e2, final_div_factor=1e3, cycle_momentum=False,
    )  # fmt: skip
    for step in range(epochs * steps):
        ours = learning_rate(schedule, 0.3, step / steps, epochs)
        assert math.isclose(ours, optimizer.param_groups[0]["lr"], rel_tol=0.02), step
        optimizer.step()
        reference.step()
    assert math.isclose(learning_rate(schedule, 0.3, epochs, epochs), 0.3 / 1e5)


def named(parameters: list[nn.Parameter]) -> dict[str, torch.Tensor]:
    return {str(place): parameter for place, parameter in enumerate(parameters)}


def grown(replicas: int) -> list[nn.Parameter]:
    """Parameters of stacked replicas with gradients, the first replica's long and the second's short."""
    generator = torch.Generator().manual_seed(0)
    parameters = [nn.Parameter(torch.randn(replicas, *shape, generator=generator)) for shape in ((3, 4), (5,))]
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator)
        parameter.grad[1:] *= 0.01
    return parameters


def test_each_replica_is_clipped_as_torch_clips_it_alone() -> None:
    parameters = grown(2)
    alone = [[nn.Parameter(parameter[k].detach().clone()) for parameter in parameters] for k in range(2)]
    for k, each in enumerate(alone):
        for own, parameter in zip(each, parameters, strict=True):
            own.grad = parameter.grad[k].clone()  # pyright: ignore[reportOptionalSubscript]
        torch.nn.utils.clip_grad_norm_(each, 0.7)
    clip_gradients(parameters, 2, 0.7)
    for k, each in enumerate(alone):
        for own, parameter in zip(each, parameters, strict=True):
            torch.testing.assert_close(parameter.grad[k], own.grad)  # pyright: ignore[reportOptionalSubscript]


def test_the_state_of_stacked_replicas_comes_apart_and_together_again() -> None:
    parameters = grown(2)
    optimizer = make_optimizer(OptimizerConfig(), nn.Identity(), named(parameters), (0, 1))
    optimizer.step()
    state = optimizer.state_dict()
    alone = [nn.Parameter(parameter[1].detach().clone()) for parameter in parameters]
    solo = make_optimizer(OptimizerConfig(), nn.Identity(), named(alone), (1,))
    solo.load_state_dict(state_of(state, 1, 2))
    for own, parameter in zip(alone, parameters, strict=True):
        own.grad = parameter.grad[1]  # pyright: ignore[reportOptionalSubscript]
    solo.step()
    optimizer.step()
    for own, parameter in zip(alone, parameters, strict=True):
        torch.testing.assert_close(own, parameter[1])
    joined = join_states([state_of(state, k, 2) for k in range(2)])
    for place, values in state["state"].items():
        assert all(torch.equal(value, joined["state"][place][name]) for name, value in values.items())


def test_the_moving_average_follows_its_formula_and_leaves_the_weights() -> None:
    parameter = nn.Parameter(torch.tensor([1.0]))
    average, expected = MovingAverage([parameter], 0.8), 1.0
    for step, value in enumerate((2.0, -1.0, 5.0, *range(50))):
        parameter.data.fill_(value)
        average.update(step)
        decay = min(0.8, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    with average.in_place():
        assert math.isclose(parameter.item(), expected, rel_tol=1e-6)
    assert parameter.item() == 49.0


class Halving(nn.Module):
    """The next frame is a weight times the last plus a tenth of the one before, of two frames as channels."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5))

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        return self.weight * window[:, -1:] + 0.1 * window[:, -2:-1]


PROBLEM = Problem(("u",), ("u",), (), (), 2, 5, Domain.square(16, 1))


def objective(unroll: str, **settings) -> Objective:
    model = Normalised(Halving(), PROBLEM)
    return Objective(model, TrainingConfig.model_validate({"unroll": unroll, **settings})).train()


FRAMES = torch.randn(4, 7, 1, 16, generator=torch.Generator().manual_seed(3))
GIVEN, WANTED = FRAMES[:, :2], FRAMES[:, 2:]
BATCH = Batch(GIVEN, WANTED, torch.zeros(4, 0, 16), torch.zeros(4, 5, 0, 16))


def slope(module: Objective, errors: torch.Tensor) -> torch.Tensor:
    """Derivative with respect to the only weight."""
    (weight,) = module.model.parameters()
    return torch.autograd.grad(errors.sum(), weight)[0]


def test_teacher_forcing_sees_the_true_frames() -> None:
    module = objective("teacher-forcing")
    by_hand = torch.cat(
        [relative_l2(module.model(FRAMES[:, t : t + 2]), FRAMES[:, t + 2 : t + 3]) for t in range(5)], dim=1
    )
    torch.testing.assert_close(module(BATCH), by_hand)


def test_one_step_predicts_the_frame_that_was_drawn() -> None:
    module, starts = objective("one-step"), torch.tensor([0, 4, 2, 1])
    forced = objective("teacher-forcing")(BATCH)
    torch.testing.assert_close(module(BATCH, starts), forced.gather(1, starts[:, None]))


def test_pushforward_passes_frames_without_gradient() -> None:
    module = objective("pushforward")
    passed = rollout(module.model, GIVEN, 3).detach()
    window = torch.cat([GIVEN, passed], dim=1)[:, -2:]
    by_hand = relative_l2(module.model(window), WANTED[:, 3:4])
    torch.testing.assert_close(module(BATCH, 3), by_hand)
    ours = slope(module, module(BATCH, 3))
    torch.testing.assert_close(ours, slope(module, by_hand))
    through_all = relative_l2(rollout(module.model, GIVEN, 4), WANTED[:, :4])[:, 3]
    assert not torch.isclose(ours, slope(module, through_all), rtol=1e-3)


@pytest.mark.parametrize("unroll", ["autoregressive", "teacher-forcing", "one-step", "pushforward"])
def test_noise_is_for_training_and_evaluation_is_the_whole_rollout(unroll: str) -> None:
    module = objective(unroll, input_noise=0.1)
    starts = torch.zeros(4, dtype=torch.long) if unroll == "one-step" else 0
    first, second = module(BATCH, starts), module(BATCH, starts)
    assert not torch.equal(first, second), "each step has noise of its own"
    module.noise_key.zero_()
    assert torch.equal(module(BATCH, starts), first)
    plain = relative_l2(rollout(module.model, GIVEN, 5), WANTED)
    assert torch.equal(module.eval()(BATCH), plain)


def test_the_noise_has_the_deviation_that_was_asked_for() -> None:
    module = objective("autoregressive", input_noise=0.25)
    module.noise_size.fill_(2.0)
    noisy = module._noisy(torch.zeros(50, 4, 1, 1000))
    assert math.isclose(float(noisy.std()), 0.25 * 2.0, rel_tol=0.01)


@pytest.mark.parametrize("resident", [True, False])
def test_batches_come_in_order_whether_held_on_the_device_or_fetched(resident: bool) -> None:
    fields = Fields(BATCH, torch.device("cpu"), resident)
    indices = [torch.tensor([[0, 3], [1, 1]]), torch.tensor([[2], [0]])]
    got = list(fields.batches(indices))
    assert len(got) == 2
    for index, batch in zip(indices, got, strict=True):
        assert torch.equal(batch.inputs, GIVEN[index])
        assert torch.equal(batch.targets, WANTED[index])
    assert list(fields.batches([])) == []


def test_numbers_drawn_depend_on_their_seeds_alone() -> None:
    assert torch.equal(draw(10, 100, 3, 4), draw(10, 100, 3, 4))
    assert not torch.equal(draw(10, 100, 3, 4), draw(10, 100, 4, 3))
    assert set(draw(3, 100, 0).tolist()) == {0, 1, 2}


def test_the_documented_average_is_as_good_as_the_weights_after_300_steps(tmp_path, burgers_file) -> None:
    options = ("training.epochs=75", "training.validate_every=75", "data.normalize=standard", "schedule.name=cosine")
    raw, averaged = (
        trained(burgers_file, tmp_path / name, *options, *more).replicas[0].metrics()[-1]["validation_loss"]
        for name, more in (("raw", ()), ("averaged", ("training.ema=0.999",)))
    )
    assert averaged < 1.05 * raw
