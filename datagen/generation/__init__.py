"""Making datasets: parts, planning, machines, and going on after an interruption."""
