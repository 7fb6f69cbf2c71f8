"""HDF5 and MAT 7.3 files as tables, written by h5py."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.errors import ConfigError
from headrace.readers import formats, hdf5
from headrace.readers.source import Source
from tests.unit.reading import read

h5py = pytest.importorskip("h5py", reason="h5py is not installed")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "x.h5"


def write(path: Path, sets: dict[str, Any], userblock: int = 0) -> None:
    with h5py.File(path, "w", userblock_size=userblock) as out:
        for name, values in sets.items():
            out[name] = values


def test_data_sets_of_one_length_are_a_table(file: Path) -> None:
    write(file, {
        "imu/t": np.array([0.5, 1.5]), "imu/acc": np.array([[1, 2, 3], [4, 5, 6]], ">i2"),
        "imu/ok": np.array([True, False]), "imu/half": np.array([0.5, 1.5], np.float16),
        "imu/who": np.array([" a", "b"], h5py.string_dtype()),
        "imu/fixed": np.array([b"x", b"yz"], "S4"), "temp/v": np.arange(3, dtype=np.uint8), "temp/w": np.arange(2),
        "top": np.array([[7], [8]]),
    })  # fmt: skip
    with h5py.File(file, "a") as out:
        out["imu/acc"].attrs["units"] = "m/s2"
        out["temp/v"].attrs["unit"] = np.bytes_(b"degC")
    top, imu, three, two = (read(hdf5, file, i) for i in range(4))
    assert (top.table.name, top.columns) == ("", {"top": [7, 8]})
    assert (imu.table.name, imu.table.rows) == ("imu", 2)
    assert imu.columns == {
        "acc.0": [1, 4], "acc.1": [2, 5], "acc.2": [3, 6], "fixed": ["x", "yz"], "half": [0.5, 1.5],
        "ok": [True, False],        "t": [0.5, 1.5], "who": ["a", "b"],
    }  # fmt: skip
    assert (imu.types["acc.0"], imu.types["half"], imu.table.columns[0].unit) == ("int16", "float", "m/s2")
    assert (three.table.name, three.columns, three.table.columns[0].unit) == ("temp[3]", {"v": [0, 1, 2]}, "degC")
    assert (two.table.name, two.columns) == ("temp[2]", {"w": [0, 1]})


def test_records(file: Path) -> None:
    kind = np.dtype([("t", "<f8"), ("n", ">i4"), ("who", "S3")])
    write(file, {"log": np.array([(0.5, 1, b"a"), (1.5, 2, b"bc")], kind)})
    it = read(hdf5, file)
    assert it.columns == {"log.t": [0.5, 1.5], "log.n": [1, 2], "log.who": ["a", "bc"]}


def test_rows_along_the_second_dimension(file: Path) -> None:
    write(file, {"t": np.arange(5.0), "acc": np.arange(10).reshape(2, 5)})
    it = read(hdf5, file)
    assert it.columns == {"acc.0": [0, 1, 2, 3, 4], "acc.1": [5, 6, 7, 8, 9], "t": [0, 1, 2, 3, 4]}
    write(file, {"eeg": np.arange(30_000).reshape(2, 15_000)})
    it = read(hdf5, file)
    assert it.columns == {"eeg.0": list(range(15_000)), "eeg.1": list(range(15_000, 30_000))}
    assert it.numbers == list(range(15_000))


def test_mat_files(file: Path) -> None:
    write(file, {"t": np.arange(4.0).reshape(1, 4), "acc": np.arange(8.0).reshape(2, 4), "#refs#/a": np.arange(4)}, 512)
    with h5py.File(file, "a") as out:
        out["note"] = np.array([[104, 105]], np.uint16)
        out["note"].attrs["MATLAB_class"] = np.bytes_(b"char")
    with file.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64")
    with Source(file) as source:
        assert formats.recognise(source) == "hdf5"
    it = read(hdf5, file)
    assert it.columns == {"acc.0": [0, 1, 2, 3], "acc.1": [4, 5, 6, 7], "t": [0, 1, 2, 3]}
    assert it.table.notes == ("passed over: note (text)",)


def test_packed_chunks_are_read_in_pieces(file: Path) -> None:
    values = np.random.default_rng(1).normal(size=(25_001, 3))
    with h5py.File(file, "w") as out:
        out.create_dataset("acc", data=values, chunks=(4_000, 3), compression="gzip", shuffle=True)
    it = read(hdf5, file)
    assert [list(row) for row in zip(*it.columns.values(), strict=True)] == values.tolist()


def test_what_lies_in_other_files_is_never_read(file: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(os.urandom(64))
    write(tmp_path / "other.h5", {"a": np.arange(3)})
    layout = h5py.VirtualLayout((3,), "i8")
    layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "a", (3,))
    with h5py.File(file, "w") as out:
        out["good"] = np.arange(3)
        out.create_dataset("outside", (8,), "i8", external=[(str(secret), 0, 64)])
        out["link"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "a")
        out["loop"] = h5py.SoftLink("/")
        out.create_virtual_dataset("virtual", layout)
    it = read(hdf5, file)
    assert it.columns == {"good": [0, 1, 2]}
    assert it.table.notes == (
        "passed over: outside (it lies in other files)", "passed over: virtual (it lies in other files)",
    )  # fmt: skip


def test_what_is_no_column_is_said(file: Path) -> None:
    write(
        file, {"a": np.arange(2), "one": 5, "cube": np.zeros((2, 2, 2)), "z": np.array([1j, 2j]), "none": np.array([])}
    )
    assert read(hdf5, file).table.notes == (
        "passed over: cube (3 dimensions)", "passed over: none (empty)", "passed over: one (one value)",
        "passed over: z (the type complex128)",
    )  # fmt: skip
    write(file, {"one": 5})
    with Source(file) as source, pytest.raises(ConfigError, match=r"no data set that is a column: one \(one value\)"):
        hdf5.open_file(source, {})


def test_a_file_that_is_cut_off_or_broken(file: Path) -> None:
    with h5py.File(file, "w") as out:
        out.create_dataset("a", data=np.arange(30_000), chunks=(10_000,), compression="gzip", fletcher32=True)
    whole = bytearray(file.read_bytes())
    file.write_bytes(whole[: len(whole) // 2])
    with Source(file) as source, pytest.raises(ConfigError, match="Copy it again"):
        hdf5.open_file(source, {})
    for at in range(len(whole) - 200, 0, -50):  # some place is in the last chunk
        broken = whole.copy()
        broken[at] ^= 0xFF
        file.write_bytes(broken)
        with Source(file) as source:
            try:
                hdf5.open_file(source, {}).close()
            except ConfigError:
                continue
        it = read(hdf5, file)
        if it.error and it.numbers:
            assert it.columns["a"] == it.numbers
            assert f"after row {it.numbers[-1]}: " in it.error
            return
    pytest.fail("no place broke a later chunk")
