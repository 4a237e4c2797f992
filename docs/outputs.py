"""Puts what commands print now into README: `make readme`, which runs the demo first.

A block of output stands behind a comment that names its command:

    <!-- output of: kitipde compare demo/vanilla demo/kiti -->
    ```text
    …
    ```
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"(<!-- output of: kitipde (.*?) -->\n```text\n).*?(^```)", re.S | re.M)


def output(words: str) -> str:
    """What a command prints on stdout in a terminal of 80 columns."""
    command = [sys.executable, "-P", "-m", "kitipde", *shlex.split(words)]
    environment = {**os.environ, "COLUMNS": "80"}
    return subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    """Refresh README.md and its picture from the demo in demo/."""
    readme = ROOT / "README.md"
    text = BLOCK.sub(lambda block: f"{block[1]}{output(block[2])}{block[3]}", readme.read_text(encoding="utf-8"))
    readme.write_text(text, encoding="utf-8")
    shutil.copyfile(ROOT / "demo" / "verdict.png", ROOT / "docs" / "images" / "verdict.png")


if __name__ == "__main__":
    main()
