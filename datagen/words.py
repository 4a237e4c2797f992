"""Quantities as people read them."""

__all__ = ["duration_text", "size_text"]


def size_text(size: int) -> str:
    """A number of bytes: "1.23 GB", "4.5 MB", "61 kB"."""
    if size >= 1e9:
        return f"{size / 1e9:.2f} GB"
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def duration_text(seconds: float) -> str:
    """A time: "45 s", "12 min", "2.4 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
