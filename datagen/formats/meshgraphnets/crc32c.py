"""CRC-32C (Castagnoli) of large buffers, by NumPy.

A message is a polynomial over GF(2), its CRC the remainder r modulo P. Bit 31 of a word stands for x⁰ (the reflected
order in which the bytes arrive). A block is read as a matrix of 32-bit words with L columns; Horner's rule on whole
rows, s ← s·x^{32L} + row, works on L words at once, and folding s in halves, s ← s_left·x^{16L} + s_right, leaves one
word. A product by a fixed power of x is linear, hence two look-ups in tables of 2¹⁶ entries.

References:
    RFC 3720, appendix B.4 (test vectors). G. Castagnoli, S. Bräuer, M. Herrmann, "Optimization of cyclic
    redundancy-check codes with 24 and 32 parity bits", IEEE Trans. Comm. 41 (1993).
"""

from functools import cache

import numpy as np
from jaxtyping import UInt32

__all__ = ["crc32c", "masked_crc32c"]

_POLYNOMIAL = 0x82F63B78
_LANES = 4096
_LANE_BYTES = 4 * _LANES
_BLOCK_ROWS = 256
"""Rows after which the lanes are folded: 4 MiB of a buffer are looked at together."""

_MASK_DELTA = 0xA282EAD8


def crc32c(data: bytes | memoryview | np.ndarray, previous: int = 0) -> int:
    """CRC-32C of a buffer, or of a longer one of which this is the continuation.

    Args:
        data: bytes.
        previous: CRC of what came before.
    """
    octets = np.frombuffer(data, np.uint8)
    state = previous ^ 0xFFFFFFFF
    whole = len(octets) // _LANE_BYTES * _LANE_BYTES
    for first in range(0, whole, _BLOCK_ROWS * _LANE_BYTES):
        last = min(first + _BLOCK_ROWS * _LANE_BYTES, whole)
        state = _rows(octets[first:last].view("<u4").reshape(-1, _LANES), state)
    return _bytewise(octets[whole:].tobytes(), state) ^ 0xFFFFFFFF


def masked_crc32c(data: bytes | memoryview | np.ndarray) -> int:
    """The CRC as TFRecord stores it: rotated by 15 bits plus a constant."""
    return mask(crc32c(data))


def mask(crc: int) -> int:
    """((c >> 15) | (c << 17)) + 0xA282EAD8 modulo 2³²."""
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def _rows(rows: UInt32[np.ndarray, "rows lanes"], state: int) -> int:
    """The register after a block, from the register before it."""
    low, high = _power_tables(32 * _LANES)
    lanes = rows[0].copy()
    # What the register holds is added to the first word that comes.
    lanes[0] ^= np.uint32(state)
    for row in rows[1:]:
        lanes = low[lanes & 0xFFFF] ^ high[lanes >> 16] ^ row
    while len(lanes) > 1:
        half = len(lanes) // 2
        low, high = _power_tables(32 * half)
        lanes = low[lanes[:half] & 0xFFFF] ^ high[lanes[:half] >> 16] ^ lanes[half:]
    return _bytewise(bytes(4), int(lanes[0]))


@cache
def _byte_table() -> tuple[int, ...]:
    """b·x⁸ mod P for every byte b."""
    entries = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
        entries.append(value)
    return tuple(entries)


def _bytewise(octets: bytes, state: int) -> int:
    table = _byte_table()
    for octet in octets:
        state = (state >> 8) ^ table[(state ^ octet) & 0xFF]
    return state


@cache
def _power_tables(exponent: int) -> tuple[UInt32[np.ndarray, "65536"], UInt32[np.ndarray, "65536"]]:
    """v·x^exponent mod P for the lower and for the upper 16 bits of v."""
    images = [_times_power(1 << bit, exponent) for bit in range(32)]
    tables = []
    for bits in (images[:16], images[16:]):
        table = np.zeros(1, np.uint32)
        for image in bits:
            table = np.concatenate([table, table ^ np.uint32(image)])
        tables.append(table)
    return tables[0], tables[1]


def _times_power(value: int, exponent: int) -> int:
    """value·x^exponent mod P, by squaring."""
    square, result = 1 << 30, value
    while exponent:
        if exponent & 1:
            result = _product(result, square)
        square, exponent = _product(square, square), exponent >> 1
    return result


def _product(one: int, other: int) -> int:
    """one·other mod P."""
    result = 0
    while one:
        if one & 0x80000000:
            result ^= other
        one = (one << 1) & 0xFFFFFFFF
        other = (other >> 1) ^ (_POLYNOMIAL if other & 1 else 0)
    return result
