"""Condensation of small networks, with KITI's collisions between features and with KO's between gradients.

The task is that of both papers: y = Σ_k 3.5 sin(5 x_k + 1), x uniform in [−4, 2]⁵, 80 training samples. Parameters
start normal with a small deviation, Adam takes full batches, so that an epoch is a step.

    three-layer   h = σ(W₁ x), v = σ(W₂ h), y = W₃ r    r = v alone, h + v, or R(h, v) with KITI's collisions
    six-layer     h₁ = σ(W₁ x), h_{l+1} = R_l(h_l, σ(W_{l+1} h_l)), l = 1…4, y = W₆ h₅      R_l adds, or collides
    two-layer     h = σ(W₁ x), y = W₂ h; Adam, or KO over Adam in W₁

All maps have biases. Watched is the weight of the last hidden layer: that of the layer that collides. KITI's paper does
not say how a feature vector becomes particles (here 10 in R⁵), which learning rate was used, or what a layer without a
skip was replaced by: `h + v` stands beside KITI to tell the effect of a skip from that of collisions, and a penalty on
the norms of all neurons (L2) to tell whether networks that condense generalise, or collide, for the same reason.

References:
    KITINet, section 5.7 and appendix H; KO, section 4.1.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from kitipde.collisions import key_noise, make_residual
from kitipde.config import ResidualConfig
from kitipde.optim import KO
from kitipde.optim.condensation import degree, ordered_cosines

__all__ = [
    "ACTIVATIONS",
    "MAP_EPOCHS",
    "NETWORKS",
    "Outcome",
    "Setting",
    "Task",
    "Trainings",
    "make_task",
    "run_study",
    "train_network",
]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "ReLU": nn.ReLU,
    "LeakyReLU": nn.LeakyReLU,
    "Sigmoid": nn.Sigmoid,
    "Tanh": nn.Tanh,
}
MAP_EPOCHS = (1, 10, 50, 100)
INPUTS, TEST_SAMPLES = 5, 1000


@dataclass(frozen=True)
class Variant:
    """What is different about a network.

    Attributes:
        residuals: of the hidden layers that read hidden ones; None where a layer has no skip.
        collisions: options of KO; None for Adam alone.
        weight_decay: λ of the loss's term λ/2 Σ |w|², the squared norms of all neurons' weights.
    """

    residuals: tuple[ResidualConfig | None, ...] = ()
    collisions: Mapping[str, object] | None = None
    weight_decay: float = 0.0


@dataclass(frozen=True)
class Setting:
    """How networks are made and trained.

    Attributes:
        width: m, neurons of a hidden layer.
        deviation: of the initial parameters; None for the papers' own, 1/m² (the variance 1/m^γ, γ = 4) and, for the
            two-layer network, 0.005.
        learning_rate: of Adam.
        epochs: steps.
        samples: of the training set.
    """

    width: int = 50
    deviation: float | None = None
    learning_rate: float = 1e-3
    epochs: int = 100
    samples: int = 80

    def deviation_of(self, network: str) -> float:
        """The deviation of a network's initial parameters."""
        if self.deviation is not None:
            return self.deviation
        return 0.005 if network == "two-layer" else float(self.width) ** -2


@dataclass(frozen=True)
class Task:
    """Samples of the target function."""

    inputs: Float[Tensor, "samples 5"]
    targets: Float[Tensor, "samples 1"]
    test_inputs: Float[Tensor, "test 5"]
    test_targets: Float[Tensor, "test 1"]


@dataclass(frozen=True)
class Outcome:
    """One training.

    Attributes:
        degrees: ρ of the watched layer after each epoch.
        maps: its cosines, ordered by cluster, at each of `MAP_EPOCHS` that was reached.
        train_loss: mean squared error on the training set at the end, without collisions.
        test_loss: the same on the test set.
    """

    degrees: tuple[float, ...]
    maps: dict[int, Float[np.ndarray, "m m"]]
    train_loss: float
    test_loss: float


@dataclass(frozen=True)
class Trainings:
    """One network over the seeds.

    Attributes:
        network: of `NETWORKS`.
        activation: of `ACTIVATIONS`.
        variant: of the network's.
        outcomes: one for each seed.
    """

    network: str
    activation: str
    variant: str
    outcomes: tuple[Outcome, ...]

    @property
    def degrees(self) -> Float[np.ndarray, "seeds epochs"]:
        """ρ of the watched layer."""
        return np.array([outcome.degrees for outcome in self.outcomes])

    @property
    def test_losses(self) -> Float[np.ndarray, "seeds"]:
        """Mean squared errors on the test sets."""
        return np.array([outcome.test_loss for outcome in self.outcomes])

    @property
    def train_losses(self) -> Float[np.ndarray, "seeds"]:
        """Mean squared errors on the training sets."""
        return np.array([outcome.train_loss for outcome in self.outcomes])


_PLAIN = ResidualConfig()
_KITI = ResidualConfig(kind="kiti", collision_heads=5, coll_coef=0.9)


def _kiti_at(rate: float) -> ResidualConfig:
    return ResidualConfig(kind="kiti", collision_heads=5, coll_coef="auto", target_rate=rate)


_RARE = _kiti_at(0.2)

NETWORKS: dict[str, dict[str, Variant]] = {
    "three-layer": {
        "no skip": Variant((None,)),
        "skip": Variant((_PLAIN,)),
        "KITI": Variant((_KITI,)),
        "KITI, rate 0.2": Variant((_RARE,)),
        "KITI, rate 1": Variant((_kiti_at(1.0),)),
        "KITI, rate 4": Variant((_kiti_at(4.0),)),
        "L2 0.03": Variant((None,), weight_decay=0.03),
        "L2 0.3": Variant((None,), weight_decay=0.3),
    },
    "six-layer": {
        "skips": Variant((_PLAIN,) * 4),
        "KITI, last": Variant((*(_PLAIN,) * 3, _KITI)),
        "KITI, last two": Variant((*(_PLAIN,) * 2, *(_KITI,) * 2)),
        "KITI, last two, rate 0.2": Variant((*(_PLAIN,) * 2, *(_RARE,) * 2)),
    },
    "two-layer": {
        "Adam": Variant(),
        "soft 0.02": Variant(collisions={"kind": "soft", "coll_coef": 0.02}),
        "soft 0.1": Variant(collisions={"kind": "soft", "coll_coef": 0.1}),
        "soft 1": Variant(collisions={"kind": "soft", "coll_coef": 1.0}),
        "hard, rate 0.2": Variant(collisions={"kind": "hard", "target_rate": 0.2}),
        "hard 0.1": Variant(collisions={"kind": "hard", "coll_coef": 0.1}),
        "hard 0.5": Variant(collisions={"kind": "hard", "coll_coef": 0.5}),
    },
}


class SmallNetwork(nn.Module):
    """A first hidden layer, then layers that are joined to what they read by a residual or stand alone."""

    def __init__(self, width: int, activation: str, residuals: tuple[ResidualConfig | None, ...]) -> None:
        super().__init__()
        self.first = nn.Linear(INPUTS, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in residuals)
        self.residuals = nn.ModuleList(
            nn.Identity() if each is None else make_residual(each, layer, len(residuals))
            for layer, each in enumerate(residuals)
        )
        self.joins = tuple(each is not None for each in residuals)
        self.output = nn.Linear(width, 1)
        self.activation = ACTIVATIONS[activation]()

    @property
    def watched(self) -> nn.Linear:
        """The last hidden layer."""
        last = self.hidden[-1] if len(self.hidden) else self.first
        assert isinstance(last, nn.Linear)
        return last

    def forward(self, x: Float[Tensor, "samples 5"]) -> Float[Tensor, "samples 1"]:
        """y(x)."""
        h = self.activation(self.first(x))
        for layer, residual, joins in zip(self.hidden, self.residuals, self.joins, strict=True):
            v = self.activation(layer(h))
            h = residual(h, v) if joins else v
        return self.output(h)


def run_study(
    seeds: int, setting: Setting, progress: Callable[[int, int, str], None] = lambda done, total, note: None
) -> list[Trainings]:
    """Every network with every activation, variant and seed.

    Args:
        seeds: how many, from 0 on.
        setting: how networks are trained.
        progress: called with (trainings done, all, what is next).
    """
    cases = [
        (network, activation, variant)
        for network, variants in NETWORKS.items()
        for activation in ACTIVATIONS
        for variant in variants
    ]
    found = []
    for network, activation, variant in cases:
        progress(len(found) * seeds, len(cases) * seeds, f"{network}, {activation}, {variant}")
        outcomes = tuple(train_network(network, activation, variant, seed, setting) for seed in range(seeds))
        found.append(Trainings(network, activation, variant, outcomes))
    progress(len(cases) * seeds, len(cases) * seeds, "")
    return found


def make_task(seed: int, samples: int) -> Task:
    """Training and test samples of y = Σ_k 3.5 sin(5 x_k + 1)."""
    generator = torch.Generator().manual_seed(seed)
    x = 6 * torch.rand(samples + TEST_SAMPLES, INPUTS, generator=generator) - 4
    y = (3.5 * torch.sin(5 * x + 1)).sum(1, keepdim=True)
    return Task(x[:samples], y[:samples], x[samples:], y[samples:])


def train_network(network: str, activation: str, variant: str, seed: int, setting: Setting) -> Outcome:
    """Train one network; samples and initial parameters depend on the seed alone, so that variants are paired.

    Args:
        network: of `NETWORKS`.
        activation: of `ACTIVATIONS`.
        variant: of the network's.
        seed: of samples, parameters and collisions.
        setting: how it is trained.
    """
    chosen = NETWORKS[network][variant]
    task = make_task(seed, setting.samples)
    model = SmallNetwork(setting.width, activation, chosen.residuals)
    # Not the numbers that the samples were drawn with.
    generator = torch.Generator().manual_seed(seed + 1_000_003)
    for parameter in model.parameters():
        nn.init.normal_(parameter, 0.0, setting.deviation_of(network), generator=generator)
    key_noise(model, seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=setting.learning_rate, weight_decay=chosen.weight_decay)
    if chosen.collisions is not None:
        optimizer = KO(optimizer, model, layers="first", key=seed, **chosen.collisions)  # pyright: ignore[reportArgumentType]
    degrees, maps = [], {}
    model.train()
    for epoch in range(1, setting.epochs + 1):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(task.inputs), task.targets).backward()
        optimizer.step()
        degrees.append(degree(model.watched.weight))
        if epoch in MAP_EPOCHS:
            maps[epoch] = ordered_cosines(model.watched.weight)
    model.eval()
    with torch.no_grad():
        train_loss = nn.functional.mse_loss(model(task.inputs), task.targets)
        test_loss = nn.functional.mse_loss(model(task.test_inputs), task.test_targets)
    return Outcome(tuple(degrees), maps, float(train_loss), float(test_loss))
