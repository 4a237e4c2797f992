"""Float32 matrix products of a training on a CPU: by torch's default library, or by oneDNN where that is faster.

On x86 torch computes float32 products with MKL. It also contains oneDNN; which of them is faster depends on the
processor. torch's public switch to oneDNN *permits* bfloat16 inside of float32 products: processors with AMX make use
of the permission, others compute in float32. Therefore the products of the run's own step, forward and backward, are
tried before training: each against float64, then both libraries against each other in time.

The switch is on within the training loop alone. Evaluation does not use it: the errors of a network then do not depend
on how busy a machine was when it started.
"""

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from kitipde.config import TrainingConfig

__all__ = [
    "Multiply",
    "Product",
    "by_default",
    "by_onednn",
    "choose_products",
    "error_of",
    "gain",
    "is_exact",
    "products_of",
    "recorded_products",
    "using_products",
]

# Steps with fewer operations in their products, about a millisecond's, have nothing to gain.
LEAST_OPERATIONS = 10**8
# How many times faster oneDNN has to be. Near 1 the next trial could choose otherwise, and little would be gained.
LEAST_GAIN = 1.2
ROUNDS = 5
# An order of summation may cost a few times the error of another; bfloat16 costs more than a hundred times.
ERRORS_ALLOWED = 8
ROWS_COMPARED = 64

_LIBRARIES = {"default": "torch's default library", "onednn": "oneDNN"}
_OPERATIONS = ("mm", "addmm", "bmm", "baddbmm")


@dataclass(frozen=True)
class Product:
    """A matrix product of a step: β C + α A B, for `mm` and `bmm` without C.

    Attributes:
        operation: `mm`, `addmm`, `bmm` or `baddbmm`.
        layouts: size and stride of each operand, in the order of the operation's arguments.
        scales: β and α by torch's names, where they are given.
    """

    operation: str
    layouts: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    scales: tuple[tuple[str, float], ...] = ()

    @property
    def operations(self) -> int:
        """Floating-point operations of A B."""
        (left, _), (right, _) = self.layouts[-2:]
        return 2 * torch.Size(left).numel() * right[-1]

    def operands(self) -> list[Tensor]:
        """Normal random numbers in the same layout, the same for the same product."""
        generator = torch.Generator().manual_seed(0)
        operands = []
        for size, stride in self.layouts:
            length = 1 + sum((points - 1) * step for points, step in zip(size, stride, strict=True))
            operands.append(torch.randn(length, generator=generator).as_strided(size, stride))
        return operands


Multiply = Callable[[Product, Sequence[Tensor]], Tensor]


def by_default(product: Product, operands: Sequence[Tensor]) -> Tensor:
    """The product as torch is set now."""
    return getattr(torch, product.operation)(*operands, **dict(product.scales))


def by_onednn(product: Product, operands: Sequence[Tensor]) -> Tensor:
    """The product by oneDNN."""
    with using_products("onednn"):
        return by_default(product, operands)


@contextmanager
def using_products(mode: str) -> Iterator[None]:
    """In this block oneDNN computes float32 products if the mode is `onednn`; any other changes nothing."""
    if mode != "onednn":
        yield
        return
    switch = torch.backends.mkldnn.matmul  # pyright: ignore[reportAttributeAccessIssue]
    held = switch.fp32_precision
    switch.fp32_precision = "bf16"
    try:
        yield
    finally:
        switch.fp32_precision = held


def products_of(step: Callable[[], object]) -> Counter[Product]:
    """The float32 matrix products that a step makes on a CPU, and how often it makes each."""
    with _Record() as record:
        step()
    return record.products


class _Record(TorchDispatchMode):
    """Counts the products below autograd and `vmap`, as they are computed."""

    def __init__(self) -> None:
        super().__init__()
        self.products: Counter[Product] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        # In place or into a given tensor, the product is the same.
        name = func.name().removeprefix("aten::").partition(".")[0].removesuffix("_")
        options = kwargs or {}
        if name in _OPERATIONS:
            operands = [each for each in args if isinstance(each, Tensor)]
            if all(each.dtype == torch.float32 and each.is_cpu and each.numel() for each in operands):
                layouts = tuple((tuple(each.shape), each.stride()) for each in operands)
                scales = tuple((key, options[key]) for key in ("beta", "alpha") if key in options)
                self.products[Product(name, layouts, scales)] += 1
        return func(*args, **options)


def error_of(product: Product, multiply: Multiply = by_default) -> float:
    """The error of the result's first rows against float64: its norm as a share of that of |β C| + |α| |A| |B|."""
    operands = product.operands()
    result = multiply(product, operands)
    scales = dict(product.scales)
    *addend, left, right = (each.double() for each in operands)
    left = scales.get("alpha", 1) * left[..., :ROWS_COMPARED, :]
    exact, size = left @ right, left.abs() @ right.abs()
    if addend:
        added = scales.get("beta", 1) * addend[0].expand(result.shape)[..., :ROWS_COMPARED, :]
        exact, size = exact + added, size + added.abs()
    return float((result[..., :ROWS_COMPARED, :] - exact).norm() / size.norm())


def is_exact(product: Product, multiply: Multiply) -> bool:
    """Whether a product has an error of float32's size: at most a few times that of torch's default."""
    smallest = torch.finfo(torch.float32).eps / 2
    return error_of(product, multiply) <= ERRORS_ALLOWED * max(error_of(product), smallest)


def gain(products: Mapping[Product, int], multiply: Multiply) -> float:
    """How many times longer the products of a step take by default.

    Taken from processor time, which other programs on the machine hardly change, in alternating rounds.

    Args:
        products: and how often each is made.
        multiply: the other way to compute them.
    """
    ways = (by_default, multiply)
    totals = [0.0 for _ in ways]
    for product, count in products.items():
        operands, times = product.operands(), [[] for _ in ways]
        # The first round prepares kernels and caches.
        for _ in range(1 + ROUNDS):
            for way, its_times in zip(ways, times, strict=True):
                started = time.process_time()
                way(product, operands)
                its_times.append(time.process_time() - started)
        for place, its_times in enumerate(times):
            totals[place] += count * statistics.median(its_times[1:])
    return totals[0] / totals[1]


def choose_products(
    config: TrainingConfig,
    recorded: str | None,
    device: torch.device,
    step: Callable[[], object],
    in_any_process: Callable[[bool], bool],
    remark: Callable[[str], None],
    onednn: Multiply = by_onednn,
) -> str:
    """How a training computes its float32 products: `default` or `onednn`, the same in all of its processes.

    What the run has used until now is kept where it can be, so that an interruption changes no bits.

    Args:
        config: settings of the training.
        recorded: what the run has used until now; None if it is new.
        device: where it is trained.
        step: takes a step forward and backward that changes nothing.
        in_any_process: whether something holds in any of the run's processes.
        remark: called with what the user should know.
        onednn: computes a product by oneDNN.
    """
    wanted = recorded if config.matrix_products == "auto" else config.matrix_products
    mode, reason = "default", None
    if wanted != "default":
        reason = _obstacle(config, device) or _objection(products_of(step), wanted is None, onednn)
        if not in_any_process(reason is not None):
            mode = "onednn"
    because = f" ({reason})" if reason else ""
    if recorded not in (None, mode):
        remark(
            f"matrix products are computed by {_LIBRARIES[mode]} from here on, and were by {_LIBRARIES[recorded]} "
            f"until now{because}: the result will differ by rounding from that of an uninterrupted run"
        )
    elif mode != wanted == "onednn":
        remark(f"training.matrix_products=onednn is not used{because}: torch's default library computes the products")
    return mode


def recorded_products(record: Mapping[str, Any]) -> str:
    """How products were computed, from a saved state or the facts of a seed; by default before that was recorded."""
    return "onednn" if record.get("matrix_products") == "onednn" else "default"


def _obstacle(config: TrainingConfig, device: torch.device) -> str | None:
    """Why products cannot be sent to oneDNN, whatever their shapes."""
    if device.type != "cpu":
        return "oneDNN is for CPUs"
    if config.precision != "float32":
        return f"training.precision={config.precision} rounds them"
    if not hasattr(torch.backends.mkldnn, "matmul"):
        return f"torch {torch.__version__} has no setting for it"
    return None


def _objection(products: Mapping[Product, int], must_be_faster: bool, onednn: Multiply) -> str | None:
    """Why these products should not be computed by oneDNN."""
    operations = sum(count * product.operations for product, count in products.items())
    if must_be_faster and operations < LEAST_OPERATIONS:
        return "they are few"
    if not all(is_exact(product, onednn) for product in products):
        return "oneDNN rounds them to bfloat16 on this processor"
    if must_be_faster and gain(products, onednn) < LEAST_GAIN:
        return "oneDNN is not faster on this processor"
    return None
