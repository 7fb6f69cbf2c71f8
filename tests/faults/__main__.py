"""The matrix: `make faults`, `make faults FAULT=name SEED=n`, `make faults-list`."""

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from headrace.errors import HeadraceError
from tests.faults import results
from tests.faults.fault import Fault
from tests.faults.matrix import ALL
from tests.faults.run import run
from tests.faults.settings import setting
from tests.faults.world import World


def main() -> int:
    """Run what is asked for and has no fresh result yet; 1 when a run failed."""
    args = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the stack is stopped in any case
    if args.list:
        for f in ALL:
            print(f"{f.name:32} {f.group}  {f.says}{f'  (not here: {why})' if (why := f.needs()) else ''}")
        return 0
    if args.table:
        results.write_table(ALL, results.read())
        return 0
    names = args.fault.split(",") if args.fault else [f.name for f in ALL]
    unknown = [n for n in names if n not in {f.name for f in ALL}]
    if unknown:
        print(f"no such fault: {', '.join(unknown)}. `make faults-list` prints their names", file=sys.stderr)
        return 2
    todo = _todo([f for f in ALL if f.name in names], args)
    return _all(todo, time.monotonic() + args.minutes * 60)


def _todo(faults: list[Fault], args: argparse.Namespace) -> list[tuple[Fault, int]]:
    """First one seed of each, then the second, so that an interrupted matrix is broad rather than deep."""
    path = results.digest()
    fresh = {(r.fault, r.seed) for r in results.read() if r.path == path and r.passed}
    out = []
    for seed in [args.seed] if args.seed else range(1, 1 + max((f.seeds for f in faults), default=0)):
        for fault in faults:
            if why := fault.needs():
                if seed == 1:
                    print(f"{fault.name}: skipped: {why}")
            elif args.seed or (seed <= fault.seeds and (fault.name, seed) not in fresh):
                out.append((fault, seed))
    return out


def _all(todo: list[tuple[Fault, int]], until: float) -> int:
    """One stack for all that need the same kind."""
    passed = failed = n = 0
    for kind in dict.fromkeys(fault.setting for fault, _ in todo):
        if time.monotonic() > until:
            break
        try:
            with tempfile.TemporaryDirectory(prefix="headrace-faults-") as folder, setting(kind, Path(folder)) as world:
                for fault, seed in todo:
                    if fault.setting != kind or time.monotonic() > until:
                        continue
                    n += 1
                    good = _one(world, fault, seed, f"{n}/{len(todo)}")
                    passed, failed = passed + good, failed + (not good)
        except (subprocess.SubprocessError, AssertionError, HeadraceError, OSError) as e:
            print(f"the stack for {kind} faults: {e}", file=sys.stderr)
            failed += 1
    if n < len(todo):
        print(f"{len(todo) - n} runs are left for the next time")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def _one(world: World, fault: Fault, seed: int, place: str) -> bool:
    print(f"[{place}] {fault.name} seed {seed}: ", end="", flush=True)
    try:
        outcome = run(world, fault, seed)
    except Exception as e:  # noqa: BLE001 - one run that broke must not take the others with it
        print(f"FAILED, and has no result: {e!r}", flush=True)
        return False
    result = results.append(fault, seed, outcome)
    c = result.counts
    print(
        f"{'passed' if result.passed else 'FAILED'}: {c['obligations']:,} readings, {c['lost']} lost, {c['doubled']} "
        f"doubled, {c['copies']} redelivered, {c['letters']} in dead letters, "
        f"recovery {result.recovery} s, {result.seconds:.0f} s in all"
    )
    for problem in result.problems:
        print(f"    {problem}", flush=True)
    if not result.passed:
        keep = Path(tempfile.mkdtemp(prefix=f"headrace-{fault.name}-{seed}-"))
        shutil.copytree(world.state.logs, keep, dirs_exist_ok=True)
        print(f"    the logs are in {keep}")
    return result.passed


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--fault", default="", help="names, separated by commas; all when empty")
    parser.add_argument("--seed", type=int, default=0, help="this seed alone, also when it has passed before")
    parser.add_argument("--minutes", type=float, default=24 * 60.0, help="begin no run after that long")
    parser.add_argument("--list", action="store_true", help="print the faults")
    parser.add_argument("--table", action="store_true", help="write the table of docs/reliability.md and end")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
