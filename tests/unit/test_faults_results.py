"""The table of docs/reliability.md: which runs count, and which files they speak of."""

from tests.faults import results
from tests.faults.matrix import ALL
from tests.faults.results import Result
from tests.faults.world import ROOT


def test_the_data_path_is_what_the_services_import_and_what_judges_them() -> None:
    found = {path.relative_to(ROOT).as_posix() for path in results.data_path()}
    assert {
        "bridge/service.py", "processors/archive/put.py", "headrace/protocol/wire.py", "headrace/kafka/client.py",
        "headrace/store/s3.py", "headrace/lake/ledger.py", "schemas/imu.avsc", "requirements.lock",
        "headrace/stack/kafka.py", "headrace/simulation/device.py", "tests/faults/audit.py",
    } <= found  # fmt: skip
    assert not [name for name in found if name.startswith(("headrace/cli/", "headrace/lake/quality.py", "tests/unit/"))]
    assert all(list(ROOT.glob(pattern)) for pattern in (*results.SERVICES, *results.BESIDE))


def _run(fault: str, seed: int, path: str, commit: str) -> Result:
    counts = {"obligations": 100, "lost": 0, "doubled": 0, "copies": 0}
    return Result(fault, seed, commit, path, True, counts, 10.0, 40.0, [], "2026-01-01T00:00:00Z")


def test_runs_on_an_older_data_path_count_only_where_there_is_none_on_this() -> None:
    first, second, third = ALL[:3]
    runs = [
        _run(first.name, 1, "old", "aaaaaaa"),
        _run(first.name, 2, "old", "aaaaaaa"),
        _run(first.name, 3, results.digest(), "bbbbbbb"),
        _run(second.name, 1, "old", "aaaaaaa"),
    ]
    rows = results.table(ALL, runs).splitlines()[2:]
    assert rows == [
        f"| {first.says} | 1 | 100 | 0 | 0 | 0 | 10 | 10 | bbbbbbb |",
        f"| {second.says} (stale) | 1 | 100 | 0 | 0 | 0 | 10 | 10 | aaaaaaa |",
    ]
    assert third.says not in "\n".join(rows)
