"""What a loaded model says to inputs that it cannot take, and that it may be exported with a free batch."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from kitipde.config.load import resolve_config
from kitipde.errors import InputError
from kitipde.models import build_model
from kitipde.models.inputs import InputCheck
from kitipde.problem.problem import Domain, Problem

FNO = ("model.modes=3", "model.width=8", "model.layers=2", "model.projection_width=8")
OFORMER = (
    "model.name=oformer",
    "model.width=8",
    "model.latent_width=8",
    "model.cross_heads=2",
    "model.marching_width=8",
    "model.rope_scales=[4.0]",
)
FLOW = ("velocity_x", "velocity_y", "density", "pressure")
NODES = 12

LINE = Problem(("u",), ("u",), (), (), 1, 1, Domain.square(16, 1))
PLANE = Problem(("u",), ("u",), (), (), 1, 1, Domain.square(6, 2))
TWO_FIELDS = Problem(("u", "v"), ("v",), ("k",), ("nu",), 2, 1, Domain.square(6, 2))
MESH = Problem(FLOW, FLOW, (), (), 2, 1, Domain("mesh", (NODES,), 2))


def loaded(assignments: tuple[str, ...], problem: Problem) -> nn.Module:
    config = resolve_config({}, list(assignments))
    torch.manual_seed(0)
    model = build_model(config, problem).eval()
    model.register_forward_pre_hook(InputCheck(problem))
    return model


MODELS = {
    "fno 1-D": (FNO, LINE, (1, 1, 16)),
    "oformer 2-D": (OFORMER, PLANE, (1, 1, 6, 6)),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_exported_with_a_free_batch(name: str) -> None:
    assignments, problem, shape = MODELS[name]
    model = loaded(assignments, problem)
    batch = torch.export.Dim("batch")
    program = torch.export.export(model, (torch.randn(3, *shape),), dynamic_shapes={"a": {0: batch}}).module()
    for samples in (1, 2, 7):
        a = torch.randn(samples, *shape)
        torch.testing.assert_close(program(a), model(a), rtol=1e-4, atol=1e-6)


@settings(deadline=None)
@given(shape=st.lists(st.integers(1, 6), max_size=6))
def test_a_wrong_shape_is_answered_with_the_right_one(shape: list[int]) -> None:
    check, model = InputCheck(TWO_FIELDS), loaded(FNO, TWO_FIELDS)
    a, context = torch.zeros(shape), torch.zeros(1, 2, 6, 6)
    if len(shape) == 5 and shape[1:3] == [2, 2]:
        check(model, (a, context))
        return
    with pytest.raises(InputError, match=re.escape(f"[batch, 2 frames, 2 fields (u, v), x, y], not {shape}")):
        check(model, (a, context))


def test_a_context_that_is_missing_or_of_another_shape_is_named() -> None:
    model, a = loaded(FNO, TWO_FIELDS), torch.zeros(1, 2, 2, 6, 6)
    with pytest.raises(InputError, match=re.escape("takes a context too, [batch, 2 channels (k, nu), *space]")):
        model(a)
    with pytest.raises(InputError, match=re.escape("[batch, 2 channels (k, nu), x, y], not [1, 3, 6, 6]")):
        model(a, torch.zeros(1, 3, 6, 6))
    assert model(a, torch.zeros(1, 2, 6, 6)).shape == (1, 1, 1, 6, 6)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            np.zeros((1, 1, 1, 16)),
            "shape [batch, 1 frame, 1 field (u), x], not a numpy.ndarray; convert it with torch.as_tensor",
        ),
        ([[[0.0]]], "not a list"),
        (torch.zeros(1, 1, 1, 16, dtype=torch.float16), "a torch tensor of torch.float32 or torch.float64 and shape"),
        (torch.zeros(1, 1, 1, 16, dtype=torch.long), "not torch.int64; convert with a.to(torch.float32)"),
        (torch.zeros(1, 1, 1, 16, device="meta"), "the model is on cpu and its input on meta"),
    ],
)
def test_another_kind_of_array_is_named_with_its_remedy(given: object, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        loaded(FNO, LINE)(given)


@pytest.mark.parametrize("weights", [torch.float32, torch.float64])
@pytest.mark.parametrize("given", [torch.float32, torch.float64])
def test_single_and_double_precision_are_taken_and_given_back(weights: torch.dtype, given: torch.dtype) -> None:
    model = loaded(FNO, LINE).to(weights)
    assert model(torch.zeros(1, 1, 1, 16, dtype=given)).dtype == given


def test_a_mesh_has_its_nodes_and_fields() -> None:
    model = loaded(("model.name=oformer-airfoil",), MESH)
    wanted = f"[batch, 2 frames, 4 fields ({', '.join(FLOW)}), {NODES} nodes], not [1, 2, 4, 11]"
    with pytest.raises(InputError, match=re.escape(wanted)):
        model(torch.zeros(1, 2, 4, 11))
