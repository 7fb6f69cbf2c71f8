"""A running stack tells its secrets to nobody, and all that it has stored is encrypted."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.stack import process
from headrace.store.open import open_store
from tests.stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.lane("streams")]


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from texts(inner)


@pytest.fixture
def secrets(stack: Stack) -> dict[str, str]:
    """Every password and key of the stack, by where it is kept."""
    if not stack.native:
        pytest.skip("the containers keep theirs in volumes: tests/compose looks at that")
    out: dict[str, str] = {}
    for file in (stack.state / "secrets").iterdir():
        content = file.read_text(encoding="utf-8")
        found = texts(json.loads(content)) if file.suffix == ".json" else [content.strip()]
        out |= {f"{file.name} {n}": secret for n, secret in enumerate(found)}
    out |= {str(file): file.read_text().splitlines()[1] for file in (stack.state / "certs").rglob("*.key")}
    assert len(out) > 10
    assert min(len(secret) for secret in out.values()) >= 12, "shorter ones would be found by chance"
    return out


@pytest.mark.clause("CR 4.1")
def test_no_secret_stands_in_any_log(stack: Stack, secrets: dict[str, str]) -> None:
    logs = {path.name: path.read_text(encoding="utf-8", errors="replace") for path in (stack.state / "logs").iterdir()}
    assert {"store.log", "kafka.log", "mosquitto.log", "registry.log", "bridge.log", "archive.log"} <= set(logs)
    told = [(name, where) for name, text in logs.items() for where, secret in secrets.items() if secret in text]
    assert told == []


@pytest.mark.clause("CR 4.1")
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="Linux only")
def test_no_secret_stands_in_a_command_line(stack: Stack, secrets: dict[str, str]) -> None:
    lines = [Path(f"/proc/{p.pid}/cmdline").read_bytes().decode() for p in process.marked(stack.state)]
    assert len(lines) >= 7
    assert [where for line in lines for where, secret in secrets.items() if secret in line] == []


@pytest.mark.clause("CR 4.1")
def test_every_object_is_encrypted(stack: Stack) -> None:
    if not stack.native:
        pytest.skip("the containers' store has no key to encrypt with")
    config = stack.config().store
    open_store(config).put("encrypted/first", b"1")
    found = stack.json("verify", "--encryption", "--json")
    assert found["objects"] >= 1
    assert found["wrong"] == {}
    assert {one["kind"] for one in found["encrypted_by"]} == {"AES256"}
