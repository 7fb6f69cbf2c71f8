"""Work that runs beside a block: an `asyncio.TaskGroup` whose errors come out as they are, not in a group."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def beside(*work: Coroutine[Any, Any, object]) -> AsyncIterator[None]:
    """Run `work` beside the block and cancel it at the block's end.

    An error of one of them cancels all the others and the block, and is raised: the first, where several fail.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
            yield
            for task in tasks:
                task.cancel()
    except BaseExceptionGroup as errors:
        this = asyncio.current_task()
        if this is not None and this.cancelling():  # from outside, at the same moment: the group has swallowed it
            raise asyncio.CancelledError from None
        raise errors.exceptions[0] from None
