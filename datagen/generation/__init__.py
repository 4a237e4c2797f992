"""Making data sets: parts, planning, machines, and going on after an interruption."""
