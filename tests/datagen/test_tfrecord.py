"""TFRecord: the checksum of the specification, files of independent writers, and any damage found."""

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datagen.errors import InputError
from datagen.formats.meshgraphnets.crc32c import crc32c, masked_crc32c
from datagen.formats.meshgraphnets.tfrecord import RecordFile, features_of


def _read_all(path: Path) -> list[dict[str, bytes]]:
    with RecordFile(path) as file:
        for one in file.records:
            file.check(one)
        return [{name: bytes(value) for name, value in file.features(one).items()} for one in file.records]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"123456789", 0xE3069283),
        (b"", 0),
    ],
)
def test_the_checksum_has_the_values_of_rfc_3720(data: bytes, expected: int) -> None:
    assert crc32c(data) == expected


@pytest.mark.parametrize("length", [1, 16383, 16384, 16385, 40000, 4 * 1024 * 1024 + 16385])
def test_the_checksum_of_many_words_at_once_is_that_of_one_byte_after_the_other(published, length: int) -> None:
    data = np.random.default_rng(length).bytes(length)
    assert crc32c(data) == published.reference_crc(data)
    assert crc32c(data[length // 3 :], crc32c(data[: length // 3])) == crc32c(data)


def test_records_of_the_tfrecord_package_are_read(tmp_path: Path) -> None:
    from tfrecord.writer import TFRecordWriter

    values = [{name: np.random.default_rng(n).bytes(n * 7000 + 1) for name in ("a", "velocity", "b")} for n in range(4)]
    writer = TFRecordWriter(str(tmp_path / "r.tfrecord"))
    for one in values:
        writer.write({name: (value, "byte") for name, value in one.items()})
    writer.close()
    assert _read_all(tmp_path / "r.tfrecord") == values


def test_records_written_from_the_specification_are_read(published, tmp_path: Path) -> None:
    values = [{"x": b"", "é": b"12"}, {"y": bytes(300)}]
    (tmp_path / "r").write_bytes(b"".join(published.record(published.example(one)) for one in values))
    assert _read_all(tmp_path / "r") == values


def test_every_one_of_1000_changed_bytes_is_found(published, tmp_path: Path) -> None:
    sample = published.flow(0, 3, True)
    payload = published.example({name: array.tobytes() for name, array in sample.items()})
    whole, chance = 2 * published.record(payload), random.Random(0)
    path = tmp_path / "r.tfrecord"
    for _ in range(1000):
        place, change = chance.randrange(len(whole)), chance.randrange(1, 256)
        path.write_bytes(whole[:place] + bytes([whole[place] ^ change]) + whole[place + 1 :])
        with pytest.raises(InputError, match=r"does not match its checksum|truncated"):
            _read_all(path)


def test_a_file_cut_anywhere_but_between_records_is_refused(published, tmp_path: Path) -> None:
    one = published.record(published.example({"x": bytes(500)}))
    path = tmp_path / "r.tfrecord"
    for length in range(2 * len(one)):
        path.write_bytes((2 * one)[:length])
        if length == len(one):
            assert len(_read_all(path)) == 1
            continue
        with pytest.raises(InputError, match=r"truncated within record|is empty"):
            _read_all(path)


def test_what_is_no_record_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("time,x,y\n" * 20)
    with pytest.raises(InputError, match=r"text is no TFRecord file"):
        RecordFile(tmp_path / "text")
    with pytest.raises(InputError, match=r"cannot read .*: No such file"):
        RecordFile(tmp_path / "none")
    with pytest.raises(InputError, match=r"cannot read .*: Is a directory"):
        RecordFile(tmp_path)


@given(st.binary(max_size=80))
def test_any_bytes_are_an_example_or_a_value_error(data: bytes) -> None:
    try:
        features_of(memoryview(data))
    except ValueError:
        return


def test_lists_of_numbers_are_passed_over_and_several_strings_refused(published, tmp_path: Path) -> None:
    from tfrecord.writer import TFRecordWriter

    writer = TFRecordWriter(str(tmp_path / "r"))
    writer.write({"index": ([7], "int"), "velocity": ([1.0, 2.0], "float"), "cells": (b"some", "byte")})
    writer.close()
    assert _read_all(tmp_path / "r") == [{"cells": b"some"}]
    writer = TFRecordWriter(str(tmp_path / "r"))
    writer.write({"velocity": ([b"one", b"two"], "byte")})
    writer.close()
    with pytest.raises(InputError, match="'velocity' is not a single byte string"):
        _read_all(tmp_path / "r")


def test_the_mask_is_that_of_the_specification(published) -> None:
    data = b"some bytes"
    assert masked_crc32c(data).to_bytes(4, "little") == published.masked(published.reference_crc(data))
