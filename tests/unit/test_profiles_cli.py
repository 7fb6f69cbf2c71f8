"""`headrace profiles test`: what a profile makes of files, row by row, in words a person can use."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.stack import ROOT

PROFILE = """\
stream: environment
match: "*.csv"
device: {device}
time: {{columns: [Zeit], form: "%d.%m.%Y %H:%M", zone: Europe/Berlin}}
fields:
  temperature: {{column: Temp}}
"""
ROWS = "Zeit;Temp\n26.10.2025 02:30;12,1\n26.10.2025 02:00;12,2\n29.03.2026 02:30;1,0\n\n26.10.2025 04:00;warm\n"
NO_TIME = "event_time: 29.03.2026 02:30 did not occur in Europe/Berlin: clocks went forward"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "p.yaml").write_text(PROFILE.format(device="roof"))
    (tmp_path / "a.csv").write_text(ROWS)
    return tmp_path


def run(folder: Path, *args: str) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, "HEADRACE_STATE": str(folder / "none"), "COLUMNS": "200", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "headrace", "profiles", "test", *args], cwd=folder, env=env, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip


def test_each_row_is_a_reading_or_it_is_said_why_not(folder: Path) -> None:
    found = run(folder, "a.csv", "--profile", "p.yaml")
    assert found.returncode == 1  # rows would be dead letters
    assert found.stderr.splitlines() == [
        "a.csv: 5 rows: 2 readings, 2 refused, 1 left out",
        "  numbers have a decimal comma",
        "  roof: from 2025-10-26 00:30:00Z to 2025-10-26 01:00:00Z",
        f"  1 would be dead letters: event_time: malformed. The first: row 2: {NO_TIME}",
        "  1 would be dead letters: temperature: wrong_type. The first: row 4: temperature: 'warm' is no double",
        "  1 left out: a blank line. The first: line 5: ",
    ]
    lines = [" ".join(line.split()) for line in found.stdout.splitlines()]
    assert "event_time (UTC) in Europe/Berlin device_id temperature" in lines
    assert "2025-10-26 00:30:00 2025-10-26 02:30:00 roof 12.1" in lines
    assert "2025-10-26 01:00:00 2025-10-26 02:00:00 roof 12.2" in lines


def test_as_json_of_a_folder_and_a_zip_file(folder: Path) -> None:
    (folder / "in").mkdir()
    (folder / "in" / "b.csv").write_text("Zeit;Temp\n01.02.2026 10:00;5,1\n")
    (folder / "in" / "notes.md").write_text("not one of them")
    with zipfile.ZipFile(folder / "c.zip", "w") as it:
        it.writestr("c.csv", "Zeit,Temp\n01.02.2026 11:00,5.25\n")
    found = run(folder, "in", "c.zip", "--profile", "p.yaml", "--json")
    assert found.returncode == 0, found.stderr
    one, two = json.loads(found.stdout)
    assert (one["file"], one["readings"], one["first"][0]["temperature"]) == ("b.csv", 1, 5.1)
    assert (two["file"], two["devices"], two["first"][0]["temperature"]) == ("c.csv", ["roof"], 5.25)
    assert two["begin"] == two["end"] == 1_769_940_000_000_000


def test_without_a_profile_it_shows_what_stands_in_the_file(folder: Path) -> None:
    found = run(folder, "a.csv", "--rows", "1")
    assert found.returncode == 0
    assert "delimiter 'semicolon'" in found.stderr
    assert "26.10.2025 02:30" in found.stdout
    assert "02:00" not in found.stdout


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        (PROFILE.format(device="roof").replace("*.csv", "*.tsv"), "no file is called '*.tsv'"),
        (
            PROFILE.format(device="roof") + "header: [Zeit, T]\n",
            "its columns are Zeit, Temp, and the profile is for files",
        ),
        ("stream: imu\n", "fields: Field required"),
    ],
)
def test_what_is_wrong_in_a_profile_is_said(folder: Path, profile: str, words: str) -> None:
    (folder / "p.yaml").write_text(profile)
    found = run(folder, "a.csv", "--profile", "p.yaml")
    assert found.returncode == 2, found.stderr
    assert words in found.stderr
    assert "Traceback" not in found.stderr
