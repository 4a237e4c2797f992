"""The kernels for GPUs, in Triton's interpreter and on a GPU where there is one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

CASES = Path(__file__).with_name("fused_cases.py")


@pytest.fixture
def gpu():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


def run_cases(**environment):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(CASES)]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


def test_kernels_agree_with_the_plain_path_in_the_interpreter():
    pytest.importorskip("triton")
    run_cases(TRITON_INTERPRET="1", CUDA_VISIBLE_DEVICES="")


@pytest.mark.gpu
def test_kernels_agree_with_the_plain_path_on_a_gpu(gpu):
    run_cases(TRITON_INTERPRET="0")
