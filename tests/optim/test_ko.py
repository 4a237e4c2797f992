"""KO over torch's optimizers: same bits without collisions, resumable, schedulable, the same stacked as alone."""

import copy
import io
import math

import pytest
import torch
from torch import nn

from kitipde.config import FNOConfig, ResidualConfig
from kitipde.config.optimizer_collisions import OptimizerCollisionsConfig
from kitipde.errors import InputError
from kitipde.models.fno import FNO
from kitipde.models.spectral import SpectralConv
from kitipde.optim import KO, with_collisions
from kitipde.optim.collisions import soft_collisions
from kitipde.optim.layers import Layer, find_layers, from_blocks, from_rows, to_blocks, to_rows
from kitipde.problem.problem import Domain

BASES = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=1e-3),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
}
FORMS = {
    "soft": {"kind": "soft", "coll_coef": 0.2},
    "hard": {"kind": "hard", "coll_coef": 0.8},
    "hard, by rate": {"kind": "hard", "target_rate": 0.5},
    "hard, in law": {"kind": "hard", "coll_coef": 0.8, "noise": "gaussian"},
}


class Mixed(nn.Module):
    """A spectral layer, an ordinary convolution, a transposed one, a complex weight and two linear layers."""

    def __init__(self):
        super().__init__()
        self.spectral = SpectralConv(2, 6, (3,))
        self.convolution = nn.Conv1d(6, 4, 3, padding=1, groups=2)
        self.transposed = nn.ConvTranspose1d(4, 6, 3, padding=1, groups=2)
        self.weights1 = nn.Parameter(torch.randn(6, 5, 3, dtype=torch.cfloat) / 5)
        self.hidden = nn.Linear(5, 8)
        self.output = nn.Linear(8, 1)

    def forward(self, x):
        h = self.transposed(torch.relu(self.convolution(self.spectral(x))))
        modes = torch.einsum("bim,iom->bom", torch.fft.rfft(h, norm="forward")[..., :3], self.weights1)
        h = torch.fft.irfft(modes, n=x.shape[-1], norm="forward")
        return self.output(torch.tanh(self.hidden(h.mT))).squeeze(-1)


def network(seed=0):
    torch.manual_seed(seed)
    return Mixed()


def batch(step):
    generator = torch.Generator().manual_seed(step)
    return torch.randn(4, 2, 16, generator=generator), torch.randn(4, 16, generator=generator)


def train(model, optimizer, steps, first=0):
    for step in range(first, first + steps):
        inputs, targets = batch(step)
        optimizer.zero_grad()
        (model(inputs) - targets).square().mean().backward()
        optimizer.step()
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def equal(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_without_collisions_the_step_is_the_base_optimizers_bit_for_bit(base, kind):
    plain, ours = network(), network()
    expected = train(plain, BASES[base](plain.parameters()), 4)
    optimizer = KO(BASES[base](ours.parameters()), ours, kind=kind, coll_coef=0.0, layers="all")
    assert equal(train(ours, optimizer, 4), expected)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("base", BASES)
def test_collisions_change_the_chosen_layers_first(base, form):
    plain, ours = network(), network()
    expected = train(plain, BASES[base](plain.parameters()), 1)
    found = train(ours, KO(BASES[base](ours.parameters()), ours, layers=["hidden", "weights1"], **form), 1)
    changed = {name for name in expected if not torch.equal(expected[name], found[name])}
    assert changed == {"hidden.weight", "weights1"}


def test_the_base_steps_on_the_gradients_of_algorithm_2_and_backwards_gradients_stay():
    model = network()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = KO(torch.optim.SGD(model.parameters(), lr=1.0), model, coll_coef=0.3, layers="all")
    inputs, targets = batch(0)
    (model(inputs) - targets).square().mean().backward()
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    optimizer.step()
    for layer in find_layers(model):
        w, g = to_rows(before[layer.name][None], layer), to_rows(gradients[layer.name][None], layer)
        moved = before[layer.name] - from_rows(soft_collisions(w, g, 0.3, False), before[layer.name][None], layer)[0]
        expected = moved if layer.neurons > 1 else before[layer.name] - gradients[layer.name]
        torch.testing.assert_close(dict(model.named_parameters())[layer.name].detach(), expected)
    assert equal(gradients, {name: parameter.grad for name, parameter in model.named_parameters()})


def test_neurons_are_the_outputs_of_each_kind_of_weight():
    model = network()
    found = {layer.name: (layer.kind, layer.neurons) for layer in find_layers(model)}
    assert found == {
        "weights1": ("spectral", 5),
        "spectral.weight": ("spectral", 6),
        "convolution.weight": ("convolutional", 4),
        "transposed.weight": ("convolutional", 6),
        "hidden.weight": ("dense", 8),
        "output.weight": ("dense", 1),
    }
    for layer in find_layers(model):
        weight = dict(model.named_parameters())[layer.name].detach()[None]
        assert torch.equal(from_rows(to_rows(weight, layer), weight, layer), weight)
        assert torch.equal(from_blocks(to_blocks(weight, layer), weight, layer), weight)
        strided = weight.transpose(1, 2).contiguous().transpose(1, 2)
        for other in [strided] if weight.is_complex() else [strided, weight.to(torch.bfloat16)]:
            assert torch.equal(from_blocks(to_blocks(other, layer), other, layer), other)


def test_blocks_are_rows_without_the_copy():
    for layer, shape in (
        (Layer("", "spectral", 1, 1, 6), (2, 4, 6, 5, 5, 2)),
        (Layer("", "dense", 0, 1, 6), (2, 6, 4)),
    ):
        w, g = torch.randn(shape), torch.randn(shape)
        in_blocks = from_blocks(soft_collisions(to_blocks(w, layer), to_blocks(g, layer), 0.3, False), g, layer)
        in_rows = from_rows(soft_collisions(to_rows(w, layer), to_rows(g, layer), 0.3, False), g, layer)
        torch.testing.assert_close(in_blocks, in_rows)
        assert to_blocks(w, layer).data_ptr() == w.data_ptr()


def test_a_neuron_of_a_transposed_convolution_holds_what_feeds_one_output():
    """Only the particle of output o changes what channel o is."""
    layer_module = nn.ConvTranspose1d(4, 6, 3, groups=2, bias=False)
    (layer,) = find_layers(layer_module)
    inputs = torch.randn(1, 4, 7)
    reference = layer_module(inputs)
    for output in range(6):
        rows = to_rows(layer_module.weight.detach()[None], layer)
        rows[:, output] += 1
        changed = copy.deepcopy(layer_module)
        changed.weight.data.copy_(from_rows(rows, layer_module.weight[None], layer)[0])
        differing = (changed(inputs) != reference).any(2)[0].nonzero().flatten().tolist()
        assert differing == [output]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(form):
    def make(model):
        optimizer = KO(BASES["adam"](model.parameters()), model, layers="all", key=3, **form)
        return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6)

    whole = network()
    expected = train(whole, make(whole)[0], 6)
    first = network()
    optimizer, _ = make(first)
    train(first, optimizer, 3)
    saved = io.BytesIO()
    torch.save({"model": first.state_dict(), "optimizer": optimizer.state_dict()}, saved)
    saved.seek(0)
    state = torch.load(saved, weights_only=True)
    second = network(1)
    second.load_state_dict(state["model"])
    optimizer, _ = make(second)
    optimizer.load_state_dict(state["optimizer"])
    torch.manual_seed(99)  # the global generator has no part in it
    assert equal(train(second, optimizer, 3, first=3), expected)


def test_the_state_is_the_base_optimizers_and_a_count():
    model = network()
    optimizer = KO(BASES["adam"](model.parameters()), model)
    train(model, optimizer, 2)
    state = optimizer.state_dict()
    assert set(state) == {*optimizer.base.state_dict(), "collision_steps"}
    assert state["collision_steps"] == 2
    plain = BASES["adam"](model.parameters())
    plain.load_state_dict(state)
    optimizer.load_state_dict(plain.state_dict())
    assert optimizer.steps == 0


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_stacked_replicas_step_as_they_do_alone(base, form):
    seeds = (4, 9, 11)
    solo = []
    for seed in seeds:
        model = network(seed)
        solo.append(train(model, KO(BASES[base](model.parameters()), model, layers="all", key=seed, **form), 3))
    models = [network(seed) for seed in seeds]
    parameters = {
        name: torch.stack([dict(model.named_parameters())[name].detach() for model in models]).requires_grad_()
        for name, _ in models[0].named_parameters()
    }
    skeleton = network()
    optimizer = KO(
        BASES[base](parameters.values()), skeleton, layers="all", replicas=seeds, parameters=parameters, **form
    )
    for step in range(3):
        inputs, targets = batch(step)
        optimizer.zero_grad()
        for k in range(len(seeds)):
            own = {name: parameter[k] for name, parameter in parameters.items()}
            (torch.func.functional_call(skeleton, own, (inputs,)) - targets).square().mean().backward()
        optimizer.step()
    for k, expected in enumerate(solo):
        for name, parameter in parameters.items():
            torch.testing.assert_close(parameter.detach()[k], expected[name], rtol=2e-5, atol=2e-6)


def test_schedulers_scale_the_base_optimizers_steps():
    model = network()
    optimizer = KO(BASES["adam"](model.parameters()), model)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=10)
    rates = []
    for step in range(9):
        train(model, optimizer, 1, first=step)
        schedule.step()
        rates.append(optimizer.base.param_groups[0]["lr"])
    assert max(rates) == pytest.approx(0.1, rel=0.05)
    assert rates[-1] < 1e-3


def test_an_optimizer_that_evaluates_by_itself_sees_every_gradient_collide():
    model = network()
    optimizer = KO(torch.optim.LBFGS(model.parameters(), max_iter=3), model, coll_coef=0.05)
    inputs, targets = batch(0)

    def closure():
        optimizer.zero_grad()
        loss = (model(inputs) - targets).square().mean()
        loss.backward()
        return loss

    first = optimizer.step(closure)
    assert optimizer.step(closure) < first


def test_a_gradient_scaler_leaves_the_step_of_a_fused_optimizer_as_it_is():
    def stepped(scale):
        torch.manual_seed(0)
        model = FNO(
            FNOConfig(modes=(3,), width=6, layers=1, projection_width=8), ResidualConfig(), 1, 1, Domain.square(16, 1)
        )
        optimizer = KO(torch.optim.SGD(model.parameters(), lr=0.1, fused=True), model, layers="all", coll_coef=0.3)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale, enabled=scale > 1)
        scaler.scale(model(torch.ones(1, 1, 16)).square().sum()).backward()
        scaler.step(optimizer)
        return {name: parameter.detach() for name, parameter in model.named_parameters()}

    torch.testing.assert_close(stepped(1024.0), stepped(1.0))


def test_fabric_takes_it():
    from lightning_fabric import Fabric

    model, plain = network(), network()
    expected = train(plain, KO(BASES["adam"](plain.parameters()), plain, kind="hard", coll_coef=0.9), 3)
    fabric = Fabric(accelerator="cpu", devices=1)
    wrapped, optimizer = fabric.setup(model, KO(BASES["adam"](model.parameters()), model, kind="hard", coll_coef=0.9))
    for step in range(3):
        inputs, targets = batch(step)
        optimizer.zero_grad(set_to_none=True)
        fabric.backward((wrapped(inputs) - targets).square().mean())
        optimizer.step()
    assert equal({name: parameter.detach() for name, parameter in model.named_parameters()}, expected)
    assert optimizer.state_dict()["collision_steps"] == 3
    for group in optimizer.param_groups:
        group["lr"] = 0.5
    assert optimizer.base.param_groups[0]["lr"] == 0.5


def test_a_copy_steps_alone():
    model = network()
    optimizer = KO(BASES["adam"](model.parameters()), model, kind="hard", coll_coef=0.9)
    # A scheduler puts a method of its own into the optimizer.
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    train(model, optimizer, 1)
    other_model, other = copy.deepcopy((model, optimizer))
    assert equal(train(other_model, other, 2, first=1), train(model, optimizer, 2, first=1))


def test_the_last_linear_layer_of_an_fno_is_the_last_with_neurons_to_collide():
    model = FNO(
        FNOConfig(modes=(3,), width=6, layers=2, projection_width=8), ResidualConfig(), 1, 1, Domain.square(16, 1)
    )
    optimizer = KO(BASES["adam"](model.parameters()), model)
    assert [(layer.name, layer.neurons) for layer, _ in optimizer.layers] == [("projection.fcs.0.weight", 8)]
    spectral = KO(BASES["adam"](model.parameters()), model, layers="spectral")
    assert [layer.name for layer, _ in spectral.layers] == ["convolutions.0.weight", "convolutions.1.weight"]


def test_neuraloperators_complex_weights_are_spectral():
    from neuralop.models import FNO as LibraryFNO

    model = LibraryFNO(n_modes=(4, 4), in_channels=1, out_channels=1, hidden_channels=6, n_layers=2)
    found = [layer for layer in find_layers(model) if layer.kind == "spectral"]
    assert [layer.neurons for layer in found] == [6, 6]
    optimizer = KO(torch.optim.Adam(model.parameters()), model, layers="spectral", kind="hard", target_rate=0.5)
    model(torch.randn(2, 1, 8, 8)).square().mean().backward()
    optimizer.step()
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    assert all(float(rate) > 0 for rate in optimizer.collision_rates.values())


def test_numbers_of_single_modes_are_no_neurons():
    from neuralop.models import FNO as LibraryFNO

    model = LibraryFNO(n_modes=(4, 4), in_channels=1, out_channels=1, hidden_channels=8, n_layers=2, separable=True)
    assert not [layer for layer in find_layers(model) if layer.kind == "spectral"]


def test_parameters_without_gradients_and_frozen_layers_are_left_alone():
    model = network()
    model.hidden.weight.requires_grad_(False)
    optimizer = KO(
        BASES["adam"]([p for p in model.parameters() if p.requires_grad]), model, layers=["all"], coll_coef=0.3
    )
    assert "hidden.weight" not in [layer.name for layer, _ in optimizer.layers]
    optimizer.step()
    train(model, optimizer, 1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "sofft"}, "sofft"),
        ({"kind": "hard", "coll_coef": 1.5}, "1.5"),
        ({"coll_coef": math.nan}, "nan"),
        ({"coll_coef": -0.1}, "-0.1"),
        ({"noise": "none"}, "none"),
        ({"target_rate": 0.1}, "target_rate"),
        ({"kind": "hard", "target_rate": 0.1, "coll_coef": 0.5}, "give one"),
        ({"kind": "hard", "noise": "gaussian"}, "needs coll_coef"),
        ({"kind": "soft", "coll_coef": 0.1, "noise": "gaussian"}, "for kind=hard"),
        ({"kind": "hard", "self_similarity": True}, "for kind=soft"),
        ({"layers": "hiddn"}, "hidden"),
        ({"layers": {"hidden.weight": 2}}, "axis 2"),
        ({"layers": {"hidden.weigth": 0}}, "hidden.weight"),
        ({"layers": ()}, "two or more neurons"),
        ({"replicas": [1, 2]}, "2 replicas"),
    ],
)
def test_wrong_settings_are_named(options, words):
    model = network()
    with pytest.raises(InputError, match=words):
        KO(BASES["adam"](model.parameters()), model, **options)


def test_sparse_gradients_are_refused():
    model = nn.Sequential(nn.Embedding(5, 3, sparse=True))
    optimizer = KO(torch.optim.SGD(model.parameters(), lr=0.1), model, layers={"0.weight": 0})
    model(torch.tensor([1, 2])).sum().backward()
    with pytest.raises(InputError, match="sparse"):
        optimizer.step()


def test_settings_make_the_optimizer():
    model = network()
    base = BASES["adam"](model.parameters())
    assert with_collisions(base, model, OptimizerCollisionsConfig()) is base
    made = with_collisions(
        base, model, OptimizerCollisionsConfig(kind="hard", target_rate=0.3, layers=("hidden",)), key=7
    )
    assert isinstance(made, KO)
    assert (made.kind, made.target_rate, made.keys) == ("hard", 0.3, [7])


@pytest.mark.parametrize(("kind", "expected"), [("none", (None, None)), ("soft", (0.1, None)), ("hard", (None, 0.2))])
def test_what_is_not_given_is_the_same_in_settings_and_in_python(kind, expected):
    config = OptimizerCollisionsConfig(kind=kind)
    assert (config.coll_coef, config.target_rate) == expected
    assert OptimizerCollisionsConfig.model_validate(config.model_dump()) == config
    if kind != "none":
        model = network()
        made = KO(BASES["adam"](model.parameters()), model, kind=kind)
        assert (made.coll_coef, made.target_rate) == expected
