"""Whether float32 holds a field, or only its mean.

A float32 has 24 binary digits. Of a pressure of 101325 Pa that waves by 1 mPa none is left for the waves, and what is
stored is constant. So the error of rounding, r = x − float32(x), is compared with what there is to learn from, the
standard deviations

    s₁ over the points of each frame,    s₂ over the samples at each point and frame,

each as a root mean square over the rest. Where rms(r) > 10⁻³ min(s₁, s₂), or a value is beyond 3.4·10³⁸, the field is
stored in float64. Values below 1.2·10⁻³⁸, the least normal number of float32, count as rounded to 0, since processors
may flush them: a tail of a Gaussian asks for nothing, a field of that size does. A deviation below 10⁻¹³ of the values
is itself only rounding, and is left out.
"""

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["Precision", "is_wide"]

_ERROR_SHARE = 1e-5
_NOISE_SHARE = 1e-13
_LARGEST, _LEAST = float(np.finfo(np.float32).max), float(np.finfo(np.float32).tiny)


def is_wide(dtype: np.dtype) -> bool:
    """Whether numbers of a type can be ones that float32 does not hold."""
    return not np.can_cast(dtype, np.float32)


@dataclass
class Precision:
    """What has been seen of a field, some samples after the other.

    Attributes:
        frames: whether its first axis after the samples is time.
    """

    frames: bool
    _values: int = 0
    _samples: int = 0
    _rows: int = 0
    _largest: float = 0.0
    _squares: float = 0.0
    _errors: float = 0.0
    _within: float = 0.0
    _start: np.ndarray | None = None
    _sums: np.ndarray | float = 0.0
    _sums_of_squares: np.ndarray | float = 0.0
    _beyond: bool = False

    def add(self, values: np.ndarray) -> None:
        """Look at more samples: [samples, (frames,) *space], all finite."""
        numbers = values.astype(np.float64)
        self._largest = max(self._largest, float(np.abs(numbers).max(initial=0.0)))
        self._beyond = self._largest > _LARGEST
        if self._beyond or self._largest < _LEAST:
            # One look says it all; squares of such numbers leave even float64.
            return
        rounded = np.where(np.abs(numbers) < _LEAST, 0.0, numbers.astype(np.float32).astype(np.float64))
        self._errors += float(((numbers - rounded) ** 2).sum())
        self._squares += float((numbers**2).sum())
        self._values += numbers.size
        space = tuple(range(2 if self.frames else 1, numbers.ndim))
        spread = numbers.var(axis=space)
        self._within += float(spread.sum())
        self._rows += spread.size
        start = numbers[0] if self._start is None else self._start
        self._start = start
        change = numbers - start
        self._sums = self._sums + change.sum(axis=0)
        self._sums_of_squares = self._sums_of_squares + (change**2).sum(axis=0)
        self._samples += len(numbers)

    def verdict(self) -> str:
        """Why the field has to be stored in float64, in words; empty where float32 holds it."""
        if self._beyond:
            return f"its values go up to {self._largest:.3g}, and float32 ends at 3.4e38"
        if not self._values:
            return (
                f"its values stay below {self._largest:.2g}, where float32 has no digits left" if self._largest else ""
            )
        error = math.sqrt(self._errors / self._values)
        size = math.sqrt(self._squares / self._values)
        across = self._sums_of_squares / self._samples - (self._sums / self._samples) ** 2
        deviations = [math.sqrt(self._within / self._rows), math.sqrt(max(float(np.mean(across)), 0.0))]
        counting = [each for each in deviations if each > _NOISE_SHARE * size]
        if not counting or error <= _ERROR_SHARE * min(counting):
            return ""
        least = min(counting)
        share = 100 * error / least
        percent = f"{share:.0f}" if share >= 10 else f"{share:.2g}"
        return f"rounding to float32 would change it by {percent} % of its standard deviation, {least:.3g}"
