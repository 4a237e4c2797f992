"""Write the reference: `python -m tests.oracle.freeze`, from the root of the source.

It was run at the commit before the redesign (18223ba) and is not to be run again to make a failing test pass: what it
would then write is what the program does, not what it should do.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch

from tests.oracle.cases import REFERENCE, groups, machine


def freeze(path: Path) -> None:
    """Compute all groups, each in a folder of its own, and write them as one archive."""
    torch.set_num_threads(1)
    found = machine()
    for name, group in groups().items():
        with tempfile.TemporaryDirectory() as folder:
            found |= {f"{name}/{key}": value for key, value in group(Path(folder)).items()}
    np.savez_compressed(path, allow_pickle=False, **found)


if __name__ == "__main__":
    freeze(REFERENCE)
