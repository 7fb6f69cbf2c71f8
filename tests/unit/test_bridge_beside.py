"""Work beside a block: whatever ends first ends all, and what was wrong comes out as it is."""

import asyncio
from typing import NoReturn

import pytest

from bridge.beside import beside
from headrace.errors import FatalError, TransientError


async def fail(error: Exception) -> NoReturn:
    raise error


class Endless:
    """Runs until it is cancelled, and says so."""

    cancelled = False

    async def run(self) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            self.cancelled = True


def test_the_end_of_the_block_cancels_the_work() -> None:
    work = Endless()

    async def main() -> str:
        async with beside(work.run()):
            await asyncio.sleep(0)
        return "done"

    assert asyncio.run(main()) == "done"
    assert work.cancelled


def test_work_that_fails_ends_the_block_and_the_rest_with_its_own_error() -> None:
    work, block = Endless(), Endless()

    async def main() -> None:
        async with beside(fail(FatalError("gone")), work.run()):
            await block.run()

    with pytest.raises(FatalError, match="gone"):
        asyncio.run(main())
    assert work.cancelled
    assert block.cancelled


def test_work_that_merely_ends_does_not_end_the_block() -> None:
    async def main() -> str:
        async with beside(asyncio.sleep(0)):
            await asyncio.sleep(0.01)
        return "done"

    assert asyncio.run(main()) == "done"


def test_an_error_of_the_block_comes_out_as_it_is() -> None:
    work = Endless()

    async def main() -> None:
        async with beside(work.run()):
            await asyncio.sleep(0)
            raise TransientError("away")

    with pytest.raises(TransientError, match="away"):
        asyncio.run(main())
    assert work.cancelled


def test_a_task_that_is_cancelled_while_its_work_fails_stays_cancelled() -> None:
    """Else a bridge that is told to end at the moment when its connection breaks would connect again, for ever."""

    async def one() -> None:
        async with beside(fail(TransientError("broke"))):
            await asyncio.sleep(3600)

    async def main() -> asyncio.Task[None]:
        task = asyncio.create_task(one())
        await asyncio.sleep(0)  # it has started its work, which fails in the same round as the cancelling
        task.cancel()
        await asyncio.wait([task])
        return task

    assert asyncio.run(main()).cancelled()
