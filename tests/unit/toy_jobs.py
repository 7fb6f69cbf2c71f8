"""An executor without threads, so that a test that fails fails again."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Jobs(Executor):
    """Runs each job where it is given; while `holding`, once `release` is called. Keeps what it was given."""

    def __init__(self) -> None:
        self.given: list[Callable[[], object]] = []
        self.holding = False
        self._held: list[Callable[[], None]] = []

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        job = partial(fn, *args, **kwargs)
        self.given.append(job)

        def go() -> None:
            try:
                future.set_result(job())
            except Exception as e:  # noqa: BLE001 - as a thread's future does
                future.set_exception(e)

        if self.holding:
            self._held.append(go)
        else:
            go()
        return future

    def release(self) -> None:
        """Run the jobs that are held; those that they give run at once."""
        self.holding, held, self._held = False, self._held, []
        for go in held:
            go()
