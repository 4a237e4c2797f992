"""Distances keep the precision of their type in a network that runs in a lower one."""

import pytest
import torch

from kitipde.collisions import make_residual, selection
from kitipde.collisions.precision import full_precision, gram
from kitipde.config import ResidualConfig


@pytest.fixture
def low_precision():
    """What a network in TF32 and bfloat16 runs under."""
    torch.set_float32_matmul_precision("high")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        yield
    torch.set_float32_matmul_precision("highest")


def test_pairs_are_chosen_in_full_precision_whatever_the_network_runs_in(low_precision, monkeypatch):
    seen = []

    def recorded(points):
        seen.append((torch.get_float32_matmul_precision(), torch.is_autocast_enabled("cpu")))
        return centred(points)

    centred = selection._centred
    monkeypatch.setattr(selection, "_centred", recorded)
    module = make_residual(ResidualConfig(kind="kiti", coll_coef=0.9, collision_heads=4), 0, 1)
    module(torch.randn(3, 8, 16), torch.randn(3, 8, 16))
    assert set(seen) == {("highest", False)}
    assert torch.get_float32_matmul_precision() == "high"


def test_who_speaks_to_torch_in_its_newer_words_is_heard():
    backends = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
    held = [backend.fp32_precision for backend in backends]
    inside = []
    try:
        for backend in backends:
            backend.fp32_precision = "tf32"
        with full_precision(torch.device("cpu")):
            inside = [backend.fp32_precision for backend in backends]
        module = make_residual(ResidualConfig(kind="kiti", coll_coef=0.9, collision_heads=4), 0, 1)
        assert module(torch.randn(3, 8, 16), torch.randn(3, 8, 16)).isfinite().all()
        assert [backend.fp32_precision for backend in backends] == ["tf32", "tf32"]
    finally:
        for backend, precision in zip(backends, held, strict=True):
            backend.fp32_precision = precision
    assert inside == ["ieee", "ieee"]


def test_gram_products_are_those_of_their_type(low_precision):
    points = torch.randn(3, 8, 16)
    with torch.autocast("cpu", enabled=False):
        exact = points.double() @ points.double().mT
    torch.testing.assert_close(gram(points).double(), exact, rtol=1e-6, atol=1e-5)
    assert (points @ points.mT).dtype == torch.bfloat16
    stacked = torch.stack([points, 2 * points])
    assert torch.equal(torch.vmap(gram)(stacked), gram(stacked.flatten(0, 1)).unflatten(0, (2, -1)))
