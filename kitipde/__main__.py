"""``python -m kitipde`` is ``kitipde``."""

from kitipde.cli import main

main()
