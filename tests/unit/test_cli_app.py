import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from headrace import __version__
from headrace.cli.group import COMMANDS, load
from headrace.cli.reference import MARK, generated, updated
from headrace.kafka import client
from tests.command import Run, run

ROOT = Path(__file__).resolve().parents[2]


Headrace = Callable[..., Run]


@pytest.fixture
def headrace(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Headrace:
    """The console script, with no variable of ours in its environment but those given."""

    def bare(*args: str, **environ: str) -> Run:
        for name in [n for n in os.environ if n.startswith("HEADRACE_")]:
            monkeypatch.delenv(name)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        return run(monkeypatch, capfd, *args)

    return bare


def test_the_version_is_told_without_importing_what_is_heavy() -> None:
    out = subprocess.run(
        [sys.executable, "-m", "headrace", "--version"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (out.returncode, out.stdout, out.stderr) == (0, f"headrace {__version__}\n", "")
    assert imported("--version") == set()


HEAVY = {
    "typer", "pydantic", "yaml", "rich", "pandas", "numpy", "pyarrow", "duckdb", "confluent_kafka", "minio", "aiomqtt",
    "cryptography", "fastavro", "authlib", "asyncio",
}  # fmt: skip


def imported(*args: str) -> set[str]:
    """What is heavy and was imported when `headrace args...` had ended, well or not, in a process of its own."""
    code = (
        "import sys\nfrom headrace.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('imported', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, *args], cwd=ROOT, capture_output=True, text=True, check=True)
    return HEAVY & set(done.stdout.rpartition("imported ")[2].split())


def test_short_commands_import_only_what_they_use(tmp_path: Path) -> None:
    cfg = config(tmp_path, store={"kind": "folder", "folder": str(tmp_path / "lake")})
    every = {"typer", "pydantic", "yaml"}
    assert imported("--config", cfg, "query", "select 1 as a, 'x' as b, 1.5 as c") == every | {"rich", "duckdb"}
    stack = tmp_path / "stack"
    stack.mkdir()
    shutil.copy(cfg, stack / "headrace.yaml")
    assert imported("--state", str(stack), "status") == every | {"rich"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_loads_and_has_help(name: str) -> None:
    command = load(name)
    assert command.name == name
    assert command.help


def test_the_documented_help_is_what_the_commands_say() -> None:
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert MARK in text
    assert text == updated(text), "run: python -m headrace.cli.reference docs/cli.md"


def test_every_command_is_documented() -> None:
    text = generated()
    for name in COMMANDS:
        assert f"## `headrace {name}`" in text


def test_help_names_every_command(headrace: Headrace) -> None:
    out = headrace("--help").stdout
    assert all(f"  {name} " in out for name in COMMANDS)


def test_completion_offers_commands_and_options(headrace: Headrace) -> None:
    words = {"_HEADRACE_COMPLETE": "complete_bash", "COMP_CWORD": "1"}
    assert headrace(COMP_WORDS="headrace que", **words).stdout.split() == ["query"]
    words["COMP_CWORD"] = "2"
    assert "--device-column" in headrace(COMP_WORDS="headrace replay --dev", **words).stdout.split()


def config(tmp_path: Path, **more: object) -> str:
    file = tmp_path / "my.yaml"
    data = {"streams": {"imu": {"routes": ["sensors/{device_id}/imu"]}}, **more}
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    return str(file)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["nonsense"], "No such command"),
        (["--stat", "x", "query", "select 1"], "--state"),
        (["--config", "/nonexistent.yaml", "query", "select 1"], "/nonexistent.yaml: no such file"),
        (["--state", "/nonexistent", "query", "select 1"], "no stack in /nonexistent. Start one with `headrace up`"),
        (["--state", "/nonexistent", "replay", "x.csv", "--stream", "imu"], "no stack"),
        (["replay"], "Missing argument"),
    ],
)
def test_what_is_wrong_is_one_message_and_exit_code_2(headrace: Headrace, args: list[str], words: str) -> None:
    out = headrace(*args)
    assert (out.returncode, out.stdout) == (2, "")
    assert words in out.stderr
    assert "Traceback" not in out.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["replay", "none.csv", "--stream", "imu"], "none.csv: no such file"),
        (["replay", "none.csv", "--stream", "pump"], "no stream 'pump'; there are: imu"),
        (["replay", "none.csv", "--stream", "imu", "--speed", "fast"], "--speed fast"),
        (["replay", "none.csv", "--stream", "imu", "--speed", "2"], "--time"),
        (["replay", "none.csv", "--stream", "imu", "--time-zone", "Mars/Base"], "--time-zone Mars/Base"),
        (["replay", "none.csv", "--stream", "imu", "--map", "a"], "--map a"),
        (["simulate", "--streams", "pump"], "no model of a stream 'pump'"),
        (["simulate", "--streams", "vibration"], "no stream vibration"),
        (["simulate", "--speed", "2"], "1 or max"),
        (["simulate", "--start", "soon"], "--start soon"),
        (["tail", "pump"], "no stream 'pump'"),
        (["dlq", "show", "xyz"], "hexadecimal"),
    ],
)
def test_wrong_wishes_are_told_before_anything_is_reached(
    headrace: Headrace, tmp_path: Path, args: list[str], words: str
) -> None:
    out = headrace("--config", config(tmp_path, mqtt={"port": 9}, kafka={"bootstrap": "127.0.0.1:9"}), *args)
    assert (out.returncode, out.stdout) == (2, "")
    assert words in out.stderr
    assert "Traceback" not in out.stderr


def test_a_mistyped_variable_is_named(headrace: Headrace, tmp_path: Path) -> None:
    out = headrace("--config", config(tmp_path), "query", "select 1", HEADRACE_KAFKA__BOOTSTRAPP="x")
    assert out.returncode == 2
    assert "HEADRACE_KAFKA__BOOTSTRAPP" in out.stderr


def test_what_is_away_is_exit_code_1(headrace: Headrace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_DOWN_SECONDS", 0.3)
    away = config(
        tmp_path,
        kafka={"bootstrap": "127.0.0.1:9"},
        store={"endpoint": "127.0.0.1:9", "access_key": "a", "secret_key": "b"},
    )
    for args in (["tail", "imu"], ["dlq", "list"], ["query", "from imu"]):
        out = headrace("--config", away, *args)
        assert (out.returncode, out.stdout) == (1, ""), args
        assert "127.0.0.1:9" in out.stderr
        assert "Traceback" not in out.stderr


def test_a_query_in_every_format(headrace: Headrace, tmp_path: Path) -> None:
    cfg = config(tmp_path, store={"kind": "folder", "folder": str(tmp_path / "lake")})
    sql = "select 1 as a, 'x\"y' as b, [1.5, null] as c"
    assert headrace("--config", cfg, "query", "--format", "csv", sql).stdout == 'a,b,c\n1,"x""y","[1.5, NULL]"\n'
    assert json.loads(headrace("--config", cfg, "query", "-f", "json", sql).stdout) == [
        {"a": 1, "b": 'x"y', "c": [1.5, None]}
    ]
    table = headrace("--config", cfg, "query", sql).stdout
    assert [line.split() for line in table.splitlines()][3] == ["1", 'x"y', "[1.5,", "]"]
    mixed = "select 7::hugeint n, 2.50::decimal(4, 2) d, true t, null z, 'ab'::blob b"
    shown = headrace("--config", cfg, "query", mixed).stdout.split()
    both = headrace("--config", cfg, "query", f"{mixed}, timestamptz '2026-01-02 03:04:05+01' w").stdout.split()
    assert shown[-4:] == ["7", "2.50", "True", "6162"]
    assert both[-6:] == ["7", "2.50", "True", "6162", "2026-01-02", "02:04:05"]
    assert headrace("--config", cfg, "query", "select now() as a, 'y' as a").stdout.split()[-1] == "y"
    target = tmp_path / "out.parquet"
    out = headrace("--config", cfg, "query", "-f", "parquet", "--out", str(target), sql)
    assert (out.returncode, out.stdout) == (0, "")
    again = f"select a, b from read_parquet('{target}')"
    assert headrace("--config", cfg, "query", "-f", "csv", again).stdout == 'a,b\n1,"x""y"\n'


def test_a_long_answer_is_cut_with_a_word_and_csv_is_not(headrace: Headrace, tmp_path: Path) -> None:
    cfg = config(tmp_path, store={"kind": "folder", "folder": str(tmp_path / "lake")})
    out = headrace("--config", cfg, "query", "--limit", "5", "select range i from range(1000)")
    assert "first 5 rows" in out.stderr
    assert "999" not in out.stdout
    csv = headrace("--config", cfg, "query", "-f", "csv", "select range i from range(1000)")
    assert csv.stdout.splitlines() == ["i", *map(str, range(1000))]


def test_an_empty_stream_is_said_and_counts_nothing(headrace: Headrace, tmp_path: Path) -> None:
    cfg = config(tmp_path, store={"kind": "folder", "folder": str(tmp_path / "lake")})
    out = headrace("--config", cfg, "query", "-f", "csv", "select count(*) n, max(ax) m from imu")
    assert out.stdout == "n,m\n0,\n"
    assert "nothing of imu is stored yet" in out.stderr
    assert "`headrace dlq list` says what was refused" in out.stderr


def test_wrong_sql_points_at_the_place(headrace: Headrace, tmp_path: Path) -> None:
    cfg = config(tmp_path, store={"kind": "folder", "folder": str(tmp_path / "lake")})
    out = headrace("--config", cfg, "query", "select axe from imu")
    assert out.returncode == 2
    assert "LINE 1: select axe from imu\n               ^" in out.stderr


def test_status_of_another_installation_says_where_to_look(headrace: Headrace, tmp_path: Path) -> None:
    file = tmp_path / "headrace.yaml"
    file.touch()
    done = headrace("--config", str(file), "--state", str(tmp_path / "none"), "status")
    assert done.returncode == 2
    assert "docker compose ps" in done.stderr
