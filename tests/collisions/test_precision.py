"""Distances keep the precision of their type in a network that runs in a lower one."""

import pytest
import torch

from kitipde.collisions import make_residual
from kitipde.collisions.backends.precision import full_precision, gram, product, solve_upper
from kitipde.config import ResidualConfig
from kitipde.optim.collisions import hard_collisions, hard_collisions_in_law, soft_collisions


@pytest.fixture
def low_precision():
    """What a network in TF32 and bfloat16 runs under."""
    torch.set_float32_matmul_precision("high")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        yield
    torch.set_float32_matmul_precision("highest")


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


def tf32(a):
    """Ten bits of mantissa."""
    return ((a.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


def like_a_gpu(a, b):
    """a b as a GPU computes it, factors rounded where this process allows it."""
    if torch.backends.cuda.matmul.fp32_precision == "tf32" and a.dtype == torch.float32:
        a, b = tf32(a), tf32(b)
    return (a[..., :, :, None] * b[..., None, :, :]).sum(-2)


WAYS = {
    "set_float32_matmul_precision": lambda: torch.set_float32_matmul_precision("high"),
    "allow_tf32": lambda: setattr(torch.backends.cuda.matmul, "allow_tf32", True),
    "fp32_precision": lambda: setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32"),
}


@pytest.fixture(params=WAYS)
def in_and_out_of_tf32(request):
    """Calls a function as it is and in TF32, on matrix products like those of a GPU."""
    library = torch.library.Library("aten", "IMPL")

    def added(c, a, b, *, beta=1, alpha=1):
        return beta * c + alpha * like_a_gpu(a, b)

    for name, function in {
        "bmm": like_a_gpu,
        "mm": like_a_gpu,
        "baddbmm": added,
        "baddbmm_": lambda c, a, b, **factors: c.copy_(added(c, a, b, **factors)),
    }.items():
        library.impl(name, function, "CPU")

    def both(function):
        exact = function()
        held = torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision
        try:
            WAYS[request.param]()
            a, b = torch.randn(2, 3, 5), torch.randn(2, 5, 4)
            assert not torch.equal(a @ b, like_a_gpu(a.double(), b.double()).float()), "products are rounded here"
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return exact, function()
        finally:
            if request.param != "fp32_precision":
                torch.set_float32_matmul_precision("highest")
            torch.backends.cuda.matmul.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision = held

    yield both
    library._destroy()


@pytest.mark.filterwarnings("ignore:Warning only once for all operators")
@pytest.mark.parametrize("settings", [{"noise": "gaussian"}, {}, {"kind": "gaussian"}])
@pytest.mark.parametrize("control", [{"coll_coef": 0.9}, {"target_rate": 0.5}])
def test_collisions_and_their_gradients_are_the_same_in_tf32(in_and_out_of_tf32, settings, control):
    module = make_residual(ResidualConfig(**{"kind": "kiti", "collision_heads": 4, **settings, **control}), 0, 1)
    x, v = (torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(k)) for k in range(2))
    # Sums of numbers that are large for what they differ by.
    x, v = (0.3 * x).requires_grad_(), (v + 100).requires_grad_()

    def step():
        torch.manual_seed(0)
        out = module(x, v)
        return out.detach(), *torch.autograd.grad(out.square().sum(), (x, v))

    for exact, found in zip(*in_and_out_of_tf32(step), strict=True):
        assert torch.equal(exact, found)


@pytest.mark.filterwarnings("ignore:Warning only once for all operators")
def test_collisions_of_gradients_are_the_same_in_tf32(in_and_out_of_tf32):
    w, g = (torch.randn(1, 9, 5, generator=torch.Generator().manual_seed(k)) for k in range(2))
    g = g + 100

    def step():
        generators = [torch.Generator().manual_seed(3)]
        return (
            hard_collisions(0.2 * w, g, 0.9, None, generators)[0],
            hard_collisions(0.2 * w, g, None, 0.5, generators)[0],
            hard_collisions_in_law(0.2 * w, g, 0.9, generators)[0],
            soft_collisions(w, g - 100, 0.1, False),
        )

    for exact, found in zip(*in_and_out_of_tf32(step), strict=True):
        assert torch.equal(exact, found)


def test_products_have_gradients_of_their_own_and_batch_over_replicas():
    a, b = torch.randn(2, 3, 4, dtype=torch.float64), torch.randn(2, 4, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(product, (a.requires_grad_(), b.requires_grad_()))
    wide = torch.stack([b, 2 * b]).detach()
    torch.testing.assert_close(torch.vmap(product, (None, 0))(a.detach(), wide), a.detach() @ wide)
    upper = torch.randn(2, 4, 4, dtype=torch.float64).triu() + 4 * torch.eye(4)
    found = torch.vmap(solve_upper, (None, 0))(upper, wide)
    torch.testing.assert_close(upper @ found, wide)


def test_what_was_set_for_one_backend_is_not_set_for_another_afterwards():
    try:
        torch.backends.cuda.matmul.allow_tf32 = True
        before = torch.backends.mkldnn.matmul.fp32_precision
        gram(torch.randn(2, 3, 4))
        assert torch.backends.mkldnn.matmul.fp32_precision == before
        assert torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False
