"""The same seed gives the same bytes, twice on one machine; another number of threads rounds otherwise, and no more."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kitipde.config.load import resolve_config
from kitipde.training.launch import launch
from tests.conftest import TINY
from tests.training.conftest import trained

THREADS = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(int(sys.argv[3]))
from tests.training.conftest import trained
trained(Path(sys.argv[1]), Path(sys.argv[2]), "residual.kind=kiti", "model.width=32", "training.epochs=5")
"""


@pytest.mark.parametrize("option", ["training.deterministic=false", "training.deterministic=true"])
def test_the_same_seed_gives_the_same_bytes_of_weights(tmp_path: Path, burgers_file: Path, option: str) -> None:
    files = [trained(burgers_file, tmp_path / name, "residual.kind=kiti", option) for name in ("one", "two")]
    assert files[0].replicas[0].best_path.read_bytes() == files[1].replicas[0].best_path.read_bytes()


def test_the_option_asks_torch_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    launch(resolve_config({}, [*TINY, "training.deterministic=true"]).training)
    assert torch.are_deterministic_algorithms_enabled()
    launch(resolve_config({}, TINY).training)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.slow
def test_threads_change_the_rounding_only(tmp_path: Path, burgers_file: Path) -> None:
    weights = {}
    for threads in (1, 2):
        out = tmp_path / str(threads)
        subprocess.run([sys.executable, "-c", THREADS, str(burgers_file), str(out), str(threads)], check=True)
        weights[threads] = load_file(out / "seed-0" / "best.safetensors")
    gaps = {name: _gap(weights[2][name], tensor) for name, tensor in weights[1].items()}
    print(f"2 threads against 1: at most {max(gaps.values()):.2g} of a tensor's norm")
    assert max(gaps.values()) < 1e-3


def _gap(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm().clamp_min(1e-12))
