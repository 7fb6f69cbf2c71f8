"""`headrace lake`: what it prints, and its exit codes."""

import errno
import json
import random
from pathlib import Path

import pytest
import yaml

from headrace.lake import manifest
from headrace.store.folder import FolderStore
from tests.command import run
from tests.unit.lake_world import TOPIC, Lake


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    folder = tmp_path / "lake"
    folder.mkdir()
    out = Lake(FolderStore(folder))
    out.fill(12, random.Random(1))
    file = tmp_path / "headrace.yaml"
    file.write_text(yaml.safe_dump({
        "store": {"kind": "folder", "folder": str(folder)}, "streams": {"imu": {}, "environment": {}},
    }))  # fmt: skip
    monkeypatch.setenv("HEADRACE_CONFIG", str(file))
    return out


def test_a_round_says_what_it_did(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    dry = run(monkeypatch, capfd, "lake", "compact", "imu", "--dry-run")
    assert (dry.returncode, "nothing was done" in dry.stderr) == (0, True)
    done = json.loads(run(monkeypatch, capfd, "lake", "compact", "imu", "--json").stdout)
    topic = done["topics"][TOPIC]
    assert done["good"]
    assert list(done["topics"]) == [TOPIC]
    assert topic["merges"] > 0
    assert topic["after"] == topic["before"] - topic["merged"] + topic["merges"]
    words = next(line for line in dry.stdout.splitlines() if line.startswith("imu")).split()
    assert words[1:5] == [str(topic[k]) for k in ("before", "after", "merged", "merges")]
    again = run(monkeypatch, capfd, "lake", "compact")
    assert "nothing to merge or remove yet: of today's files, 12 of a partition" in again.stderr
    assert [line.split()[:5] for line in again.stdout.splitlines()[-2:]] == [
        ["environment", "0", "0", "0", "0"], ["imu", str(topic["after"]), str(topic["after"]), "0", "0"],
    ]  # fmt: skip


def test_the_files_that_count_are_listed(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, capfd, "lake", "compact")
    keys = run(monkeypatch, capfd, "lake", "files", "imu", "--keys").stdout.split()
    assert keys == [f.key for f in manifest.visible(lake.store, TOPIC).files]
    urls = run(monkeypatch, capfd, "lake", "files", "imu.clean").stdout.split()
    assert [Path(u).is_file() for u in urls] == [True] * len(keys)
    found = json.loads(run(monkeypatch, capfd, "lake", "files", "imu", "--json").stdout)
    assert [f["url"] for f in found] == urls
    assert {f["schema_id"] for f in found} == {7, 12}
    assert "nothing of environment" in run(monkeypatch, capfd, "lake", "files", "environment").stderr


def test_what_was_in_the_way_is_said(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    lake.batch(0, {(0, 7): 3}, entry=False)
    lake.batch(0, {(0, 7): 3})
    done = run(monkeypatch, capfd, "lake", "compact")
    assert done.returncode == 1
    assert "the ledger has no entry at" in done.stderr
    assert run(monkeypatch, capfd, "lake", "compact", "pumps").returncode == 2


def test_a_full_temporary_folder_is_said_with_what_to_do(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("headrace.lake.compaction.sort.merge", full)
    done = run(monkeypatch, capfd, "lake", "compact", "imu")
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert "TMPDIR" in done.stderr
