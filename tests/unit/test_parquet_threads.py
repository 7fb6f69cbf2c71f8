"""Arrow's threads, started to read a file, abort a process that ends soon after (seen: 4 of 12, exit code 134)."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READ = re.compile(r"\bread_table\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)")


@pytest.mark.parametrize("room", ["headrace", "processors", "bridge", "hub"])
def test_parquet_is_read_without_them(room: str) -> None:
    reads = [
        (path.name, call) for path in (ROOT / room).rglob("*.py") for call in READ.findall(path.read_text("utf-8"))
    ]
    assert [where for where, call in reads if "use_threads=False" not in call] == []
    assert reads or room in {"bridge", "hub"}
