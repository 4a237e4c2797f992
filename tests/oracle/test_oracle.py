"""The program does what its first edition did: the frozen oracle.

`reference.npz` holds what commit 18223ba, the last before the redesign, computed: errors of the trained networks that
ship, the loss of twenty steps of each shipped configuration, samples of each recipe, and every metric on random
arrays. It is never written again. `program.py` alone knows the program; `cases.py` says what is asked of it.

Float32 rounds differently from processor to processor. How much was measured with PyTorch's kernels held to no vector
instructions (ATEN_CPU_CAPABILITY=default), and with those for AVX2 while MKL and oneDNN were held to SSE
(MKL_CBWR=COMPATIBLE, ONEDNN_MAX_CPU_ISA=SSE41); the reference is of AVX-512. Samples were the same to the byte.
"""

from pathlib import Path

import numpy as np
import pytest

from tests.oracle import cases

REFERENCE = dict(np.load(cases.REFERENCE))
GROUPS = cases.groups()


def names(family: str) -> list[str]:
    return [name for name in GROUPS if name.split("/")[0] == family]


def reference(name: str) -> dict[str, np.ndarray]:
    """What the first edition found for a group."""
    return {key.removeprefix(f"{name}/"): value for key, value in REFERENCE.items() if key.startswith(f"{name}/")}


def assert_same(found: dict[str, np.ndarray], name: str, tolerance: float) -> None:
    """All arrays of the reference are there, each as close as the tolerance times its largest finite value."""
    expected = reference(name)
    assert expected
    assert not expected.keys() - found.keys()
    for key, value in expected.items():
        finite = np.abs(value[np.isfinite(value)])
        np.testing.assert_allclose(found[key], value, rtol=0, atol=tolerance * finite.max(initial=0), err_msg=key)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where networks are trained: each dataset is made once."""
    return tmp_path_factory.mktemp("oracle")


@pytest.mark.parametrize("name", ["checkpoints", "first_edition"])
def test_trained_networks_have_the_errors_that_they_had(name: str, tmp_path: Path) -> None:
    # Measured: 2.6e-5 for the drift of the mean square, below 7e-6 for all errors that are norms.
    assert_same(GROUPS[name](tmp_path), name, 1e-4)


@pytest.mark.parametrize("name", names("losses"))
def test_training_takes_the_steps_that_it_took(name: str, workshop: Path) -> None:
    # Measured: up to 3.4e-6, 1e-7 for most.
    np.testing.assert_allclose(GROUPS[name](workshop)["loss"], reference(name)["loss"], rtol=1e-5)


@pytest.mark.parametrize("name", ["metrics", "flows"])
def test_metrics_have_the_values_that_they_had(name: str, tmp_path: Path) -> None:
    # Measured: 1.2e-15.
    assert_same(GROUPS[name](tmp_path), name, 1e-12)


@pytest.mark.parametrize("name", names("recipes"))
def test_recipes_give_the_samples_that_they_gave(name: str, tmp_path: Path) -> None:
    found, expected = GROUPS[name](tmp_path), reference(name)
    same_bytes = cases.machine()["machine"] == REFERENCE["machine"]
    for key, value in expected.items():
        if key.endswith("/values"):
            np.testing.assert_allclose(found[key], value, rtol=0, atol=1e-5 * value.std(), err_msg=key)
        elif same_bytes or key == "identity":
            np.testing.assert_array_equal(found[key], value, err_msg=key)


def test_errors_of_shipped_recipes_can_be_pooled_with_those_kept(tmp_path: Path) -> None:
    found, expected = GROUPS["identities"](tmp_path), reference("identities")
    assert {name: str(found[name]) for name in expected} == {name: str(value) for name, value in expected.items()}
