"""From a sensor's MQTT message to a row in the lake, on the real services: every reading once, with the values sent."""

import io
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.integration.recording import COLUMNS, MAPPING, Recording, make
from tests.stack import ROOT, Stack

pytestmark = pytest.mark.integration


def replay_args(device: str, *paths: Path) -> list[str]:
    return [
        "replay", *map(str, paths), "--stream", "imu", "--device", device,
        "--map", MAPPING, "--time", "timestamp:ms", "--speed", "max",
    ]  # fmt: skip


def stored(stack: Stack, device: str) -> pd.DataFrame:
    """What the lake has of a device, as the CSV that `query` prints."""
    sql = (
        "select ax, ay, az, gx, gy, gz, epoch_ms(event_time) as timestamp, label "
        f"from imu where device_id = '{device}' order by all"
    )
    return pd.read_csv(io.StringIO(stack.run("query", "--format", "csv", sql).stdout))


def expected(*recordings: Recording) -> pd.DataFrame:
    frame = pd.DataFrame([row for r in recordings for row in r.rows], columns=list(COLUMNS))
    frame.columns = pd.Index(["ax", "ay", "az", "gx", "gy", "gz", "timestamp", "label"])
    return frame.sort_values(list(frame.columns), ignore_index=True)


def check_whole(stack: Stack) -> dict[str, Any]:
    """Wait until all that was published is stored; nothing may be lost or doubled."""
    report: dict[str, Any] = stack.json("verify", "--wait", "240", "--json", timeout=300)["streams"]["imu"]
    assert (report["gaps"], report["duplicates"]) == (0, 0), report
    return report


@pytest.mark.lane("streams")
def test_every_reading_of_a_recording_is_a_row_with_the_values_sent(stack: Stack, tmp_path: Path) -> None:
    one, two = make(tmp_path / "one.csv", 2000, seed=1), make(tmp_path / "two.csv", 1500, seed=2)
    stack.run(*replay_args("whole-01", one.path, two.path))
    check_whole(stack)
    pd.testing.assert_frame_equal(stored(stack, "whole-01"), expected(one, two), check_exact=True)


@pytest.mark.lane("streams")
def test_a_file_replayed_twice_is_stored_once_and_the_repeats_are_counted(stack: Stack, tmp_path: Path) -> None:
    it = make(tmp_path / "again.csv", 1000, seed=3)
    first = stack.run(*replay_args("again-01", it.path))
    second = stack.run(*replay_args("again-01", it.path))
    assert "1,000" in second.stderr + second.stdout, second.stderr
    assert "repeat" in second.stderr + second.stdout, second.stderr
    assert "1,000 dropped as repeats" not in first.stderr + first.stdout
    check_whole(stack)
    assert len(stored(stack, "again-01")) == 1000


def test_kills_in_the_middle_lose_nothing_and_double_nothing(stack: Stack, tmp_path: Path) -> None:
    it = make(tmp_path / "killed.csv", 30_000, seed=4)
    sending = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "headrace",
            "--state",
            str(stack.state),
            *replay_args("killed-01", it.path),
            "--no-wait",
        ],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        time.sleep(1.5)
        for name in ("bridge", "clean", "archive", "kafka"):
            stack.strike(name, signal.SIGTERM if name == "kafka" else signal.SIGKILL, 120)
        assert sending.wait(300) == 0, sending.stderr.read() if sending.stderr else ""
    finally:
        sending.kill()
        sending.communicate()
    check_whole(stack)
    pd.testing.assert_frame_equal(stored(stack, "killed-01"), expected(it), check_exact=True)


def test_data_survives_down_and_up(stack: Stack, tmp_path: Path) -> None:
    it = make(tmp_path / "kept.csv", 500, seed=5)
    stack.run(*replay_args("kept-01", it.path))
    check_whole(stack)
    stack.down()
    stack.up()
    pd.testing.assert_frame_equal(stored(stack, "kept-01"), expected(it), check_exact=True)
