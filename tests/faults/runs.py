"""Many runs, one after another: which stack each one gets, and what is printed of it."""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from headrace.errors import HeadraceError
from tests.faults import results
from tests.faults.fault import Fault
from tests.faults.run import UnreadyError, run
from tests.faults.settings import setting
from tests.faults.world import World

One = Callable[[World, Fault, int, str], bool]
Setting = Callable[[str, Path], AbstractContextManager[World]]


def one(world: World, fault: Fault, seed: int, place: str) -> bool:
    """Make one run, print what came of it and append it to the results; whether it passed. `place`: "3/20".

    Raises UnreadyError where it can't begin on this stack.
    """
    print(f"[{place}] {fault.name} seed {seed}: ", end="", flush=True)
    try:
        outcome = run(world, fault, seed)
    except UnreadyError:
        raise
    except Exception as e:  # noqa: BLE001 - one run that broke must not take the others with it
        print(f"FAILED, and has no result: {e!r}", flush=True)
        return False
    result = results.append(fault, seed, outcome)
    c = result.counts
    print(
        f"{'passed' if result.passed else 'FAILED'}: {c['obligations']:,} readings, {c['lost']} lost, {c['doubled']} "
        f"doubled, {c['copies']} redelivered, {c['letters']} in dead letters, "
        f"recovery {result.recovery} s, {result.seconds:.0f} s in all",
        flush=True,
    )
    for problem in result.problems:
        print(f"    {problem}", flush=True)
    if not result.passed:
        keep = Path(tempfile.mkdtemp(prefix=f"headrace-{fault.name}-{seed}-"))
        shutil.copytree(world.state.logs, keep, dirs_exist_ok=True)
        print(f"    the logs are in {keep}", flush=True)
    return result.passed


class Runs:
    """The runs to make, and what came of them. No run begins after `until`, a time of the monotonic clock."""

    def __init__(
        self, todo: list[tuple[Fault, int]], until: float, *, one: One = one, setting: Setting = setting
    ) -> None:
        """`todo`: (fault, seed) in the order to make them in; those that need the same kind of stack share one."""
        self.passed = self.failed = 0
        self._left, self._until, self._total = list(todo), until, len(todo)
        self._one, self._setting = one, setting

    @property
    def left(self) -> int:
        """How many were not made: the time was up, or they found no stack to begin on."""
        return len(self._left)

    def make(self) -> None:
        """Make them all. Where a run can't begin on the stack that earlier ones left, it gets a fresh one."""
        for kind in dict.fromkeys(fault.setting for fault, _ in self._left):
            while self._next(kind) is not None and self._on_one_stack(kind):
                pass

    def _on_one_stack(self, kind: str) -> bool:
        """Runs of this kind, until none is left or none can begin on this stack; whether a fresh stack may help."""
        before = self.left
        try:
            with (
                tempfile.TemporaryDirectory(prefix="headrace-faults-") as folder,
                self._setting(kind, Path(folder)) as world,
            ):
                while (it := self._next(kind)) is not None:
                    good = self._one(world, *it, f"{self._total - self.left + 1}/{self._total}")
                    self._left.remove(it)
                    self.passed, self.failed = self.passed + good, self.failed + (not good)
        except UnreadyError as e:
            print(f"can't begin on this stack, {e}", flush=True)
            if self.left < before:
                print("    a fresh stack is started", flush=True)
                return True
        except (subprocess.SubprocessError, AssertionError, HeadraceError, OSError) as e:
            print(f"the stack for {kind} faults: {e}", file=sys.stderr)
        else:
            return False
        self.failed += 1
        return False

    def _next(self, kind: str) -> tuple[Fault, int] | None:
        """The next run of this kind; None where none is left, or no time."""
        if time.monotonic() > self._until:
            return None
        return next((it for it in self._left if it[0].setting == kind), None)
