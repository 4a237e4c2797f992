"""What a loaded model says to inputs that it cannot take, and that it may be exported with a free batch."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from kitipde.config.load import resolve_config
from kitipde.errors import InputError
from kitipde.models import build_model
from kitipde.models.inputs import InputCheck

FNO = ("model.modes=3", "model.width=8", "model.layers=2", "model.projection_width=8")
OFORMER = (
    "model.name=oformer",
    "model.width=8",
    "model.latent_width=8",
    "model.cross_heads=2",
    "model.marching_width=8",
    "model.rope_scales=[4.0]",
)
AIRFOIL = ("model.name=oformer-airfoil", "data.inputs=flow", "data.targets=flow", "data.input_frames=2")
NODES = 12


def loaded(settings: tuple[str, ...], dimension: int) -> nn.Module:
    config = resolve_config({}, list(settings))
    torch.manual_seed(0)
    model = build_model(config, dimension, NODES).eval()
    model.register_forward_pre_hook(InputCheck.of(config, dimension, NODES))
    return model


MODELS = {
    "fno 1-D": (FNO, 1, (1, 16)),
    "oformer 2-D": (OFORMER, 2, (1, 6, 6)),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_exported_with_a_free_batch(name: str) -> None:
    settings, dimension, shape = MODELS[name]
    model = loaded(settings, dimension)
    batch = torch.export.Dim("batch")
    program = torch.export.export(model, (torch.randn(3, *shape),), dynamic_shapes={"a": {0: batch}}).module()
    for samples in (1, 2, 7):
        a = torch.randn(samples, *shape)
        torch.testing.assert_close(program(a), model(a), rtol=1e-4, atol=1e-6)


@given(shape=st.lists(st.integers(1, 6), max_size=5))
def test_a_wrong_shape_is_answered_with_the_right_one(shape: list[int]) -> None:
    check, model = InputCheck(2, ("x", "y")), loaded((*FNO, "data.input_frames=2"), 2)
    a = torch.zeros(shape)
    if len(shape) == 4 and shape[1] == 2:
        check(model, (a,))
        return
    with pytest.raises(InputError, match=re.escape(f"[batch, 2 frames, x, y], not {shape}")):
        check(model, (a,))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((1, 1, 16)), "shape [batch, 1 frame, x], not a numpy.ndarray; convert it with torch.as_tensor"),
        ([[[0.0]]], "not a list"),
        (torch.zeros(1, 1, 16, dtype=torch.float16), "a torch tensor of torch.float32 or torch.float64 and shape"),
        (torch.zeros(1, 1, 16, dtype=torch.long), "not torch.int64; convert with a.to(torch.float32)"),
        (torch.zeros(1, 1, 16, device="meta"), "the model is on cpu and its input on meta"),
    ],
)
def test_another_kind_of_array_is_named_with_its_remedy(given: object, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        loaded(FNO, 1)(given)


@pytest.mark.parametrize("weights", [torch.float32, torch.float64])
@pytest.mark.parametrize("given", [torch.float32, torch.float64])
def test_single_and_double_precision_are_taken_and_given_back(weights: torch.dtype, given: torch.dtype) -> None:
    model = loaded(FNO, 1).to(weights)
    assert model(torch.zeros(1, 1, 16, dtype=given)).dtype == given


def test_a_mesh_has_its_nodes_and_fields() -> None:
    with pytest.raises(InputError, match=re.escape(f"[batch, 2 frames, {NODES} nodes, 4 fields], not [1, 2, 11, 4]")):
        loaded(AIRFOIL, 2)(torch.zeros(1, 2, 11, 4))
