"""One round over all archived topics. Not finished: it counts files, and merges none yet."""

import threading
import time
from collections.abc import Callable, Sequence

from headrace.config import Config
from headrace.lake import layout
from headrace.lake.compaction.report import Report, Topic
from headrace.protocol.names import lake_folder
from headrace.store.base import ObjectStore


def compact(
    cfg: Config,
    store: ObjectStore,
    *,
    now: Callable[[], float] = time.time,  # noqa: ARG001 - not used yet
    stop: threading.Event | None = None,
    notify: Callable[[str], None] = lambda _: None,
    topics: Sequence[str] = (),
) -> Report:
    """Compact the files of `topics`, by default of all that are archived. TransientError while the store is away.

    Interrupted anywhere, it has lost nothing: the next round goes on. `now`: seconds since 1970. Once `stop` is set it
    ends after the file that it is making. `notify` is called with what is done just now, in words.
    """
    report = Report()
    for topic in topics or cfg.archived:
        if stop is not None and stop.is_set():
            report.stopped = True
            break
        notify(f"listing the files of {topic}")
        found = [i for i in store.list(f"{lake_folder(topic)}/") if layout.parse_data_key(i.key, topic) is not None]
        report.topics[topic] = Topic(before=len(found), after=len(found))
    return report
