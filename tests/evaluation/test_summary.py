"""How a mean and its spread are written."""

import pytest

from kitipde.evaluation import Estimate


@pytest.mark.parametrize(
    ("mean", "deviation", "text"),
    [
        (0.0082034, 0.00087123, "0.00820 ± 0.00087"),
        (6.523e-05, 2.1e-05, "(6.5 ± 2.1)e-05"),
        (123.456, 7.89, "123.5 ± 7.9"),
        (-0.0003, 0.00073, "(-3.0 ± 7.3)e-04"),
        (-0.0003, 0.13, "0.00 ± 0.13"),
        (1.0, 0.0, "1 ± 0"),
        (0.99691, None, "0.9969"),
        (None, None, "undefined"),
    ],
)
def test_both_numbers_are_rounded_to_the_second_digit_of_the_spread(
    mean: float | None, deviation: float | None, text: str
):
    assert str(Estimate(mean, deviation, 3)) == text
