"""Reading TFRecord files of `tf.train.Example`, without TensorFlow.

A file is a sequence of records, each

    u64 length | u32 masked CRC-32C of those 8 bytes | payload | u32 masked CRC-32C of the payload

in little-endian order. A payload is a protocol-buffer message: Example{1: Features{1: entry}}, entry{1: key,
2: Feature}, Feature{1: BytesList{1: value}}, all of them length-delimited fields. Values are found by their place, so
that a reader of a memory map touches only what it uses of them.

References:
    TensorFlow, "TFRecord and tf.train.Example". Protocol Buffers, "Encoding".
"""

import mmap
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from datagen.errors import InputError
from datagen.formats.meshgraphnets.crc32c import crc32c, mask, masked_crc32c

__all__ = ["Record", "RecordFile", "features_of"]

_HEAD, _FOOT = 12, 4
_PIECE = 4 * 1024 * 1024
_LARGEST_KEY = 1024


@dataclass(frozen=True)
class Record:
    """Where a payload lies in its file.

    Attributes:
        number: of the record, from 0.
        start: first byte of the payload.
        length: bytes of the payload.
    """

    number: int
    start: int
    length: int


class RecordFile:
    """An open TFRecord file, mapped into memory; use it as a context manager.

    Attributes:
        path: where it is.
        records: where its payloads lie. The length of each was checked against its CRC, the file against its end.

    Raises:
        InputError: no such file, no record, a file cut off, or a length that does not match its CRC.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = open(path, "rb")  # noqa: SIM115
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror or error}") from error
        try:
            self._size = self._file.seek(0, 2)
            self.records = tuple(self._scan())
            self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        try:
            self._map.close()
        except BufferError:
            # An array still looks at the map; it goes with the array.
            return

    def forget(self) -> None:
        """Give back the memory of what was looked at; it is read again when it is wanted."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)

    def check(self, record: Record, progress: Callable[[int], None] | None = None) -> None:
        """Compare a payload with its CRC, reading 4 MiB at a time.

        Args:
            record: which.
            progress: called with the number of bytes just read.

        Raises:
            InputError: it does not match.
        """
        crc, left = 0, record.length
        self._file.seek(record.start)
        while left:
            piece = self._read(min(left, _PIECE), record.number)
            crc, left = crc32c(piece, crc), left - len(piece)
            if progress:
                progress(len(piece))
        (stored,) = struct.unpack("<I", self._read(_FOOT, record.number))
        if mask(crc) != stored:
            raise InputError(f"{self.path} is damaged: record {record.number} does not match its checksum")

    def features(self, record: Record) -> Mapping[str, memoryview]:
        """The values of a record by their names, as views of the file.

        Raises:
            InputError: the payload is not a `tf.train.Example` of single byte strings.
        """
        payload = memoryview(self._map)[record.start : record.start + record.length]
        try:
            return features_of(payload)
        except ValueError as error:
            raise InputError(f"{self.path}: record {record.number} is no tf.train.Example: {error}") from error

    def _scan(self) -> Iterator[Record]:
        if self._size == 0:
            raise InputError(f"{self.path} is empty")
        place = number = 0
        while place < self._size:
            self._file.seek(place)
            head = self._read(_HEAD, number)
            length, stored = struct.unpack("<QI", head)
            if masked_crc32c(head[:8]) != stored:
                what = "is no TFRecord file" if number == 0 else "is damaged"
                raise InputError(f"{self.path} {what}: the length of record {number} does not match its checksum")
            if place + _HEAD + length + _FOOT > self._size:
                raise self._cut(number)
            yield Record(number, place + _HEAD, length)
            place += _HEAD + length + _FOOT
            number += 1

    def _read(self, count: int, number: int) -> bytes:
        try:
            octets = self._file.read(count)
        except OSError as error:
            raise InputError(f"cannot read {self.path}: {error.strerror or error}") from error
        if len(octets) < count:
            raise self._cut(number)
        return octets

    def _cut(self, number: int) -> InputError:
        return InputError(f"{self.path} is truncated within record {number}: it was cut off while copied or written")


def features_of(payload: memoryview) -> Mapping[str, memoryview]:
    """The byte strings of a `tf.train.Example`, by name.

    Raises:
        ValueError: the bytes are not one, or a list of byte strings does not hold a single one.
    """
    found: dict[str, memoryview] = {}
    for features in _messages(payload, 1):
        for entry in _messages(features, 1):
            keys, values = _messages(entry, 1), _messages(entry, 2)
            if len(keys) != 1 or len(values) != 1 or len(keys[0]) > _LARGEST_KEY:
                raise ValueError("an entry is not one name and one value")
            try:
                name = bytes(keys[0]).decode()
            except UnicodeDecodeError as error:
                raise ValueError("a name is not text") from error
            kinds = _messages(values[0], 1)
            if not kinds and (_messages(values[0], 2) or _messages(values[0], 3)):
                # Numbers in the lists of their own: nothing that is read here is kept so.
                continue
            strings = [string for kind in kinds for string in _messages(kind, 1)]
            if len(strings) != 1:
                raise ValueError(f"'{name}' is not a single byte string")
            found[name] = strings[0]
    return found


def _messages(message: memoryview, wanted: int) -> list[memoryview]:
    """The contents of every length-delimited field of that number."""
    found, place = [], 0
    while place < len(message):
        tag, place = _varint(message, place)
        kind = tag & 7
        if kind == 0:
            _, place = _varint(message, place)
            continue
        if kind == 2:
            size, place = _varint(message, place)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"a field of the unknown kind {kind}")
        if place + size > len(message):
            raise ValueError("a field reaches beyond its end")
        if kind == 2 and tag >> 3 == wanted:
            found.append(message[place : place + size])
        place += size
    return found


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """A number in groups of 7 bits, lowest first, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            raise ValueError("a number reaches beyond its end")
        octet = message[place]
        place += 1
        value |= (octet & 0x7F) << shift
        if octet < 0x80:
            return value, place
    raise ValueError("a number of more than 64 bits")
