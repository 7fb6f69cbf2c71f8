"""What commands show while they wait, and tables that are wider than the terminal."""

import time

import pytest
from rich.table import Table

from headrace.cli.output import show, waiting


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard error counts as a terminal of 80 columns."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.usefixtures("terminal")
def test_on_a_terminal_a_long_wait_shows_what_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    said = ""
    with waiting(0.01) as notify:
        notify("asking Kafka")
        notify("reading the rows of imu.clean")
        until = time.monotonic() + 5
        while "reading the rows of imu.clean" not in said and time.monotonic() < until:
            time.sleep(0.02)
            said += capsys.readouterr().err
    assert "reading the rows of imu.clean" in said


@pytest.mark.usefixtures("terminal")
def test_a_short_wait_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with waiting(60) as notify:
        notify("asking Kafka")
    assert "asking" not in capsys.readouterr().err


def test_elsewhere_a_wait_shows_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    with waiting(0.0) as notify:
        notify("asking Kafka")
        time.sleep(0.05)
    assert capsys.readouterr().err == ""


def test_a_table_wider_than_the_terminal_is_not_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    table = Table(box=None)
    for n in range(10):
        table.add_column(f"column {n}", no_wrap=True)
    table.add_row(*["12,345,678"] * 10)
    show(table)
    out = capsys.readouterr().out
    assert "…" not in out
    assert out.count("12,345,678") == 10
    assert len(out.splitlines()) == 2
