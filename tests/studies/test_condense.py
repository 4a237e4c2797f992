"""The study of small networks: paired, repeatable, with tables whose intervals are Student's; the theorem's process."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from kitipde.studies.condensation.experiments import (
    NETWORKS,
    Setting,
    SmallNetwork,
    make_task,
    run_study,
    train_network,
)
from kitipde.studies.condensation.tables import as_document, as_markdown, paired_interval, rows_of, target_variance
from kitipde.studies.condensation.two_phase import two_phases

SHORT = Setting(width=10, epochs=10, samples=20)


@pytest.fixture(scope="module")
def study():
    return run_study(2, SHORT)


@pytest.fixture(scope="module")
def dynamics():
    return [two_phases(seed, rate=0.04) for seed in range(3)]


def test_the_target_is_that_of_the_papers():
    task = make_task(0, 20_000)
    torch.testing.assert_close(task.targets[:, 0], sum(3.5 * torch.sin(5 * task.inputs[:, k] + 1) for k in range(5)))
    assert float(task.inputs.min()) == pytest.approx(-4, abs=0.01)
    assert float(task.inputs.max()) == pytest.approx(2, abs=0.01)
    assert float(task.targets.var()) == pytest.approx(target_variance(), rel=0.03)


def test_networks_compute_what_the_study_says():
    x = torch.randn(6, 5)
    for network, variant, expected in (
        ("three-layer", "no skip", lambda h, v: v),
        ("three-layer", "skip", lambda h, v: h + v),
        ("three-layer", "KITI", lambda h, v: h + v),
    ):
        model = SmallNetwork(10, "Tanh", NETWORKS[network][variant].residuals).eval()
        h = torch.tanh(model.first(x))
        torch.testing.assert_close(model(x), model.output(expected(h, torch.tanh(model.hidden[0](h)))))
    for variant in NETWORKS["six-layer"].values():
        model = SmallNetwork(10, "ReLU", variant.residuals)
        assert sum(isinstance(module, nn.Linear) for module in model.modules()) == 6


@pytest.mark.parametrize(("network", "variant"), [("six-layer", "KITI, last two"), ("two-layer", "hard 0.5")])
def test_a_training_is_a_function_of_its_seed(network, variant):
    first = train_network(network, "Tanh", variant, 3, SHORT)
    torch.manual_seed(1)
    again = train_network(network, "Tanh", variant, 3, SHORT)
    assert first.degrees == again.degrees
    assert first.test_loss == again.test_loss
    assert first.degrees != train_network(network, "Tanh", variant, 4, SHORT).degrees


def test_tables_have_every_network_and_compare_with_its_first_variant(study, dynamics):
    rows = rows_of(study, "two-layer")
    assert len(rows) == 4 * len(NETWORKS["two-layer"])
    assert rows[0][6] == "—"
    a = next(each for each in study if each.variant == "soft 1")
    b = next(each for each in study if each.variant == "Adam")
    middle, half = paired_interval(a.degrees[:, -1], b.degrees[:, -1])
    assert next(row for row in rows if row[1] == "soft 1")[6] == f"{middle:+.2f} ± {half:.2f}"
    text = as_markdown(study, dynamics, SHORT)
    assert all(variant in text for variants in NETWORKS.values() for variant in variants)
    json.dumps(as_document(study, dynamics, SHORT), allow_nan=False)


def test_one_seed_has_no_interval(study, dynamics):
    alone = [replace(each, outcomes=each.outcomes[:1]) for each in study]
    text = as_markdown(alone, dynamics[:1], SHORT)
    assert "inf" not in text
    assert "±" not in "".join(line for line in text.splitlines() if line.startswith("|"))
    assert text.startswith("1 seed, ")
    assert "without intervals" in text


def test_the_interval_is_students():
    a = np.array([1.0, 2.0, 4.0])
    middle, half = paired_interval(a, np.zeros(3))
    assert middle == pytest.approx(7 / 3)
    assert half == pytest.approx(4.302653 * np.std(a, ddof=1) / np.sqrt(3), rel=1e-6)
    assert paired_interval(a[:1], a[1:2])[1] == np.inf


def test_descent_converges_exponentially_and_keeps_the_size_of_the_weights(dynamics):
    """Theorem J.1."""
    for each in dynamics:
        assert each.descent.errors[-1] < 1e-6 * each.descent.errors[0]
        assert each.descent.squares[-1] > 0.5 * each.descent.squares[0]


def test_collisions_make_the_weights_small_within_the_bound(dynamics):
    """Lemma J.5: the mean of |w|² is at most √η at some step up to 1/η²."""
    for each in dynamics:
        assert each.first_small is not None
        assert each.first_small <= each.bound
        assert each.after_small is not None
        assert each.after_small.squares[0] <= each.threshold
