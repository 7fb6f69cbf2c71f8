"""The matrix: `make faults`, `make faults FAULT=name SEED=n`, `make faults-list`."""

import argparse
import signal
import sys
import time

from tests.faults import results
from tests.faults.fault import Fault
from tests.faults.matrix import ALL
from tests.faults.runs import Runs


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
    digests = {touches: results.digest(touches) for touches in {f.touches for f in faults}}
    paths = {f.name: digests[f.touches] for f in faults}
    fresh = {(r.fault, r.seed) for r in results.read() if r.path == paths.get(r.fault) and r.passed}
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
    runs = Runs(todo, until)
    runs.make()
    if runs.left:
        print(f"{runs.left} runs are left for the next time")
    print(f"{runs.passed} passed, {runs.failed} failed")
    return 1 if runs.failed else 0


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
