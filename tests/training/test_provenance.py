"""What a training says of itself."""

import sys

import numpy as np
import pytest
import torch

from kitipde.training.provenance import forget_peak_memory, peak_memory_bytes

CPU = torch.device("cpu")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets the peak of a process")
def test_the_peak_is_not_that_of_what_came_before():
    forget_peak_memory(CPU)
    large = np.ones(2**27)
    high = peak_memory_bytes(CPU)
    assert high > large.nbytes
    del large
    forget_peak_memory(CPU)
    assert peak_memory_bytes(CPU) < high - 2**29
