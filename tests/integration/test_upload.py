"""`headrace upload` on the session's stack: each row of a file once in the lake, and what people do afterwards."""

import gzip
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

import headrace
from tests.stack import ROOT, Stack

RECORDINGS = Path(os.environ.get("RECORDINGS", ROOT.parent / "shared" / "data"))
HAR = RECORDINGS / "IMU-sp-sw-har" / "DATA.tar.xz"
PROFILE = ROOT / "examples" / "uploads" / "har.yaml"
AXES = ("ax", "ay", "az", "gx", "gy", "gz")
BEGIN = 1_650_000_000_000
pytestmark = [pytest.mark.integration, pytest.mark.lane("streams")]


def write(path: Path, rows: int) -> Path:
    """A file of two devices' names in no column, one row that can be no reading, and a blank line."""
    lines = ["t," + ",".join(AXES)]
    lines += [f"{BEGIN + i * 10},{i / 1000},2,3,0.1,0.2,0.3" for i in range(rows)]
    lines[3] = f"{BEGIN + 20},broken,2,3,0.1,0.2,0.3"
    lines[5] = ""
    path.write_text("\n".join(lines) + "\n")
    return path


def profile(path: Path, device: str, **more: Any) -> Path:
    fields = {axis: {"column": axis} for axis in AXES}
    path.write_text(
        yaml.safe_dump(
            {"stream": "imu", "device": device, "time": {"columns": ["t"], "form": "ms"}, "fields": fields} | more
        )
    )
    return path


def lake(stack: Stack, device: str) -> pd.DataFrame:
    return headrace.query(
        f"select _upload, _row, event_time, ax from imu where device_id = '{device}' order by _row",
        config=stack.config(),
    )


def test_a_file_is_stored_once_under_any_name_and_can_be_replaced(stack: Stack, tmp_path: Path) -> None:
    file, how = write(tmp_path / "one.csv", 5_000), profile(tmp_path / "how.yaml", "upload-1")
    first = stack.json("upload", str(file), "--profile", str(how), "--yes", "--json", timeout=300)
    (it,) = first["uploads"]
    assert (it["readings"], it["refused"], it["left_out"], it["stored"], it["good"]) == (4_998, 1, 1, 4_998, True)
    rows = lake(stack, "upload-1")
    assert rows["_upload"].unique().tolist() == [it["upload"]]
    assert rows["_row"].tolist() == [i for i in range(5_000) if i not in {2, 4}]
    assert rows["ax"].tolist() == [i / 1000 for i in range(5_000) if i not in {2, 4}]
    assert [round(t.timestamp() * 1000) for t in rows["event_time"][:2]] == [BEGIN, BEGIN + 10]

    packed = tmp_path / "other.csv.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    again = stack.json("upload", str(packed), "--profile", str(how), "--yes", "--json")
    assert again == {"uploads": [], "known": [{"file": "other.csv", "uploads": [it["upload"]]}]}

    (letter,) = [
        x for x in stack.json("dlq", "list", "--stream", "imu_files", "--json")["letters"] if x["device"] == "upload-1"
    ]
    assert (letter["stage"], letter["reason"], letter["field"]) == ("derive", "wrong_type", "ax")

    scaled = profile(
        tmp_path / "scaled.yaml",
        "upload-1",
        fields={a: {"column": a, **({"unit": "g"} if a == "ax" else {})} for a in AXES},
    )
    stack.run("uploads", "replace", it["upload"][:8], "--profile", str(scaled), "--yes", timeout=300)
    after = lake(stack, "upload-1")
    assert len(after) == 4_998
    assert it["upload"] not in set(after["_upload"])
    assert after["ax"].iloc[1] == pytest.approx(0.00980665)
    states = {x["upload"]: x["state"] for x in stack.json("uploads", "list", "--json")}
    assert states[it["upload"]] == "retired"
    saved = tmp_path / "saved.csv"
    shown = stack.json("uploads", "show", after["_upload"].iloc[0], "--save", str(saved), "--json")
    assert (shown["state"], shown["good"], saved.read_bytes()) == ("loaded", True, file.read_bytes())
    stack.run("uploads", "replace", after["_upload"].iloc[0], "--profile", str(how), "--yes", timeout=300)
    assert set(lake(stack, "upload-1")["_upload"]) == {it["upload"]}  # the first counts again, and it alone
    found = stack.json("verify", "--wait", "60", "--json")
    assert found["good"], found


def test_what_does_not_fit_is_refused_before_anything_is_sent(stack: Stack, tmp_path: Path) -> None:
    file, how = write(tmp_path / "two.csv", 50), profile(tmp_path / "how.yaml", "upload-2")
    known = stack.json("uploads", "list", "--json")
    wrong = profile(tmp_path / "wrong.yaml", "upload-2", time={"columns": ["ax"], "form": "iso"})
    said = stack.run("upload", str(file), "--profile", str(wrong), "--yes", ok=False)
    assert "49 of 50 rows can't be readings" in said.stderr or "rows can't be readings" in said.stderr, said.stderr
    room = profile(tmp_path / "room.yaml", "upload-2", stream="environment", fields={"temperature": {"column": "ax"}})
    assert (
        "`files: true` under streams.environment"
        in stack.run("upload", str(file), "--profile", str(room), ok=False).stderr
    )
    assert "Give --yes" in stack.run("upload", str(file), "--profile", str(how), ok=False).stderr
    shown = stack.run("upload", str(file), "--profile", str(how), "--dry-run")
    assert "upload-2" in shown.stdout
    assert stack.json("uploads", "list", "--json") == known


def test_recordings_of_people_are_stored_as_pandas_reads_them(stack: Stack, tmp_path: Path) -> None:
    if not HAR.exists():
        pytest.skip(f"no recordings in {RECORDINGS}")
    with tarfile.open(HAR) as tar:
        members = [m for m in tar.getmembers() if m.name.endswith(".csv")][:6]
        for member in members:
            with (tmp_path / Path(member.name).name).open("wb") as out:
                shutil.copyfileobj(tar.extractfile(member), out)  # type: ignore[arg-type]  # they are files
    report = stack.json("upload", str(tmp_path), "--profile", str(PROFILE), "--yes", "--json", timeout=300)
    assert all(it["good"] for it in report["uploads"])
    for it in report["uploads"]:
        ours = headrace.query(
            f"select ax, ay, az, gx, gy, gz from imu where _upload = '{it['upload']}' order by _row",
            config=stack.config(),
        )
        theirs = pd.read_csv(tmp_path / it["file"])[["x_acc", "y_acc", "z_acc", "x_gyro", "y_gyro", "z_gyro"]]
        assert len(ours) == it["readings"] == len(theirs) - it["refused"] - it["left_out"]
        if len(ours) == len(theirs):
            assert (ours.to_numpy() == theirs.to_numpy()).all(), it["file"]
