"""oneDNN computes the products of a training where it is exact and faster, and nowhere else."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from kitipde.config import TrainingConfig
from kitipde.runs import open_run
from kitipde.training.checkpoint import read_checkpoint, save_checkpoint
from kitipde.training.matrix_products import (
    Product,
    by_default,
    choose_products,
    error_of,
    gain,
    is_exact,
    products_of,
    using_products,
)
from kitipde.training.run import continue_run, train
from tests.training.conftest import StopAfter, new_run, trained

CPU = torch.device("cpu")
SWITCH = getattr(torch.backends.mkldnn, "matmul", None)
needs_switch = pytest.mark.skipif(SWITCH is None, reason="this torch cannot send products to oneDNN")


def rounded(bits: int):
    """Products of factors with as many bits of mantissa: 7 are bfloat16, 10 are TF32."""

    def multiply(product, operands):
        *addend, left, right = operands
        return by_default(product, [*addend, *(round_to(each, bits) for each in (left, right))])

    return multiply


def round_to(values, bits: int):
    mantissa, exponent = torch.frexp(values)
    return torch.ldexp(torch.round(mantissa * 2 ** (bits + 1)) / 2 ** (bits + 1), exponent)


def in_halves(product, operands):
    """Another order of summation."""
    *addend, left, right = operands
    half = left.shape[-1] // 2
    result = left[..., :half] @ right[..., :half, :] + left[..., half:] @ right[..., half:, :]
    scales = dict(product.scales)
    result = scales.get("alpha", 1) * result
    return result + scales.get("beta", 1) * addend[0] if addend else result


class Instantly:
    """The right products, remembered."""

    def __init__(self) -> None:
        self.known: dict = {}

    def __call__(self, product, operands):
        if product not in self.known:
            self.known[product] = by_default(product, operands)
        return self.known[product]


@st.composite
def products(draw) -> Product:
    """Any operation, the factors stored by rows or by columns, the addend whole or a row."""
    m, n = draw(st.integers(4, 80)), draw(st.integers(4, 80))
    k = draw(st.sampled_from([4, 7, 32, 33, 300, 4096]))
    operation = draw(st.sampled_from(["mm", "addmm", "bmm", "baddbmm"]))
    batch = (draw(st.integers(1, 3)),) if "bmm" in operation else ()

    def layout(rows: int, columns: int):
        strides = (columns, 1) if draw(st.booleans()) else (1, rows)
        return (*batch, rows, columns), (*(rows * columns for _ in batch), *strides)

    layouts = [layout(m, k), layout(k, n)]
    scales = ()
    if "add" in operation:
        layouts.insert(0, draw(st.sampled_from([layout(m, n), ((n,), (1,))])))
        scales = draw(st.sampled_from([(), (("beta", 0),), (("alpha", -2.5),), (("beta", 0.5), ("alpha", 3))]))
    return Product(operation, tuple(layouts), scales)


@settings(deadline=None, max_examples=40)
@given(products())
def test_rounded_factors_are_found_and_another_order_of_summation_is_none(product: Product) -> None:
    assert is_exact(product, by_default)
    assert is_exact(product, in_halves)
    assert not is_exact(product, rounded(7))
    assert not is_exact(product, rounded(10))
    assert not is_exact(product, lambda *each: math.nan * by_default(*each))


@settings(deadline=None, max_examples=20)
@given(products())
def test_errors_are_relative_to_float64(product: Product) -> None:
    assert error_of(product) < 1e-6
    assert error_of(product, lambda *each: 1.01 * by_default(*each)) > 1e-4


def test_products_of_a_step_are_those_forward_and_backward() -> None:
    linear, inputs = nn.Linear(3, 5), torch.randn(7, 3, requires_grad=True)
    rows, columns = (lambda m, n: ((m, n), (n, 1))), (lambda m, n: ((m, n), (1, m)))

    def step() -> None:
        for _ in range(2):
            linear(inputs).square().sum().backward()

    assert products_of(step) == {
        Product("addmm", (((5,), (1,)), rows(7, 3), columns(3, 5))): 2,
        Product("mm", (rows(7, 5), rows(5, 3))): 2,
        Product("mm", (columns(5, 7), rows(7, 3))): 2,
    }


def test_products_of_stacked_seeds_are_batched_and_those_in_place_count() -> None:
    weights, inputs = torch.randn(4, 3, 5), torch.randn(4, 7, 3)
    (stacked,) = products_of(lambda: torch.func.vmap(torch.mm)(inputs, weights))
    assert stacked.operation == "bmm"
    assert stacked.operations == 2 * 4 * 7 * 3 * 5
    (added,) = products_of(lambda: torch.ones(7, 5).addmm_(inputs[0], weights[0], beta=0.5))
    assert (added.operation, added.scales) == ("addmm", (("beta", 0.5),))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_products_in_other_precisions_do_not_count(dtype: torch.dtype) -> None:
    matrix = torch.ones(4, 4, dtype=dtype)
    assert not products_of(lambda: matrix @ matrix)


def test_the_gain_is_the_ratio_of_times() -> None:
    product = Product("mm", (((300, 300), (300, 1)),) * 2)
    assert gain({product: 3}, lambda *each: torch.stack([by_default(*each) for _ in range(4)])) < 0.5
    assert gain({product: 3}, Instantly()) > 2


@needs_switch
@pytest.mark.parametrize("held", ["none", "ieee", "tf32"])
def test_the_setting_of_torch_is_put_back(held: str) -> None:
    before = SWITCH.fp32_precision
    try:
        SWITCH.fp32_precision = held
        with using_products("default"):
            assert SWITCH.fp32_precision == held
        with using_products("onednn"):
            assert SWITCH.fp32_precision == "bf16"
        with pytest.raises(ZeroDivisionError), using_products("onednn"):
            1 / 0  # noqa: B018
        assert SWITCH.fp32_precision == held
    finally:
        SWITCH.fp32_precision = before


WAYS = {"faster": Instantly(), "as fast": by_default, "rounded": rounded(7)}


def choose(setting: str, recorded: str | None, way: str, elsewhere: bool = False, **more) -> tuple[str, list[str]]:
    a, b, remarks = torch.randn(512, 256), torch.randn(256, 512), []
    mode = choose_products(
        TrainingConfig(matrix_products=setting, **more.get("config", {})),
        recorded,
        more.get("device", CPU),
        more.get("step", lambda: a @ b),
        lambda mine: mine or elsewhere,
        remarks.append,
        WAYS[way],
    )
    return mode, remarks


@needs_switch
@pytest.mark.parametrize(
    ("setting", "recorded", "way", "mode", "remark"),
    [
        ("auto", None, "faster", "onednn", None),
        ("auto", None, "as fast", "default", None),
        ("auto", None, "rounded", "default", None),
        # An interrupted run keeps what it had, whatever the times are now.
        ("auto", "onednn", "as fast", "onednn", None),
        ("auto", "default", "faster", "default", None),
        ("auto", "onednn", "rounded", "default", "rounds them to bfloat16"),
        ("default", None, "faster", "default", None),
        ("default", "onednn", "faster", "default", "until now"),
        ("onednn", None, "as fast", "onednn", None),
        ("onednn", "default", "as fast", "onednn", "until now"),
        ("onednn", None, "rounded", "default", "onednn is not used (oneDNN rounds them"),
        ("onednn", "default", "rounded", "default", "onednn is not used (oneDNN rounds them"),
    ],
)
def test_the_choice_and_what_is_said_of_it(setting, recorded, way, mode, remark) -> None:
    chosen, remarks = choose(setting, recorded, way)
    assert chosen == mode
    assert len(remarks) == (remark is not None)
    assert all(remark in each for each in remarks)


@needs_switch
def test_all_processes_do_what_each_of_them_can() -> None:
    assert choose("auto", None, "faster", elsewhere=True)[0] == "default"
    mode, remarks = choose("auto", "onednn", "faster", elsewhere=True)
    assert mode == "default"
    assert len(remarks) == 1


@needs_switch
def test_small_steps_are_not_tried_for_speed() -> None:
    small = torch.ones(32, 32)
    assert choose("auto", None, "faster", step=lambda: small @ small) == ("default", [])


@pytest.mark.parametrize(
    "where", [{"device": torch.device("cuda")}, {"config": {"precision": "bf16"}}, {"config": {"precision": "tf32"}}]
)
def test_gpus_and_other_precisions_take_no_step(where: dict) -> None:
    def step() -> None:
        raise AssertionError

    assert choose("auto", None, "faster", step=step, **where) == ("default", [])
    mode, (remark,) = choose("onednn", None, "faster", step=step, **where)
    assert mode == "default"
    assert "is not used" in remark


COUNTING = ("residual.kind=kiti", "residual.target_rate=0.5", "training.input_noise=0.1", "training.epochs=2")


def test_trying_the_products_of_a_step_leaves_no_trace(tmp_path: Path, burgers_file: Path) -> None:
    # Random keys and tallies of collisions are counted on by every step.
    runs = [
        trained(burgers_file, tmp_path / mode, *COUNTING, "training.seeds=2", f"training.matrix_products={mode}")
        for mode in ("default", "onednn")
    ]
    for plain, tried in zip(*(run.replicas for run in runs), strict=True):
        weights, others = load_file(plain.best_path), load_file(tried.best_path)
        same = tried.facts()["matrix_products"] == "default"
        for name, tensor in weights.items():
            torch.testing.assert_close(others[name], tensor, rtol=0 if same else 1e-3, atol=0 if same else 1e-5)


@needs_switch
def test_training_leaves_products_as_they_were(tmp_path: Path, burgers_file: Path) -> None:
    trained(burgers_file, tmp_path / "run", "training.matrix_products=onednn")
    assert SWITCH.fp32_precision == "ieee", "as training.precision=float32 has it"


def test_the_library_is_recorded_and_a_change_is_remarked(tmp_path: Path, burgers_file: Path) -> None:
    run = new_run(burgers_file, tmp_path / "run", "training.matrix_products=default")
    with pytest.raises(KeyboardInterrupt):
        train(run, StopAfter(2), print)
    (replica,) = open_run(run.path).replicas
    assert replica.facts()["matrix_products"] == "default"
    name = max(replica.checkpoints_path.iterdir()).name
    state = read_checkpoint(replica.checkpoints_path, name)
    assert state.rest["matrix_products"] == "default"
    state.rest["matrix_products"] = "onednn"
    save_checkpoint(replica.checkpoints_path, name, state, 2)
    remarks: list[str] = []
    train(continue_run(run.path), StopAfter(), remarks.append)
    assert len([remark for remark in remarks if "matrix products" in remark]) == 1
    assert replica.facts()["matrix_products"] == "default"


def test_states_from_before_it_was_recorded_stay_with_the_default(tmp_path: Path, burgers_file: Path) -> None:
    run = new_run(burgers_file, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        train(run, StopAfter(2), print)
    (replica,) = open_run(run.path).replicas
    name = max(replica.checkpoints_path.iterdir()).name
    state = read_checkpoint(replica.checkpoints_path, name)
    del state.rest["matrix_products"]
    save_checkpoint(replica.checkpoints_path, name, state, 2)
    remarks: list[str] = []
    train(continue_run(run.path), StopAfter(), remarks.append)
    assert replica.facts()["matrix_products"] == "default"
    assert not any("matrix products" in remark for remark in remarks)


def test_later_seeds_do_as_the_first_did(tmp_path: Path, burgers_file: Path) -> None:
    run = trained(burgers_file, tmp_path / "run")
    facts = run.replicas[0].path / "facts.json"
    facts.write_text(facts.read_text().replace('"matrix_products": "default"', '"matrix_products": "onednn"'))
    remarks: list[str] = []
    train(continue_run(run.path, seeds=2), StopAfter(), remarks.append)
    kept = open_run(run.path).replicas[1].facts()["matrix_products"] == "onednn"
    assert kept != any("matrix products" in remark for remark in remarks)
