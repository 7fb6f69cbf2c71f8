"""A recording played over MQTT: each row one message, as the device would have sent it."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headrace.config import Config
from headrace.contracts.files import find
from headrace.errors import ConfigError
from headrace.hub import lending
from headrace.hub.client import Hub
from headrace.protocol.names import DEVICE
from headrace.recordings.mapping import Options, RowMapping
from headrace.recordings.senders import Senders
from headrace.recordings.table import Table, open_table

# Equal rows are looked for among this many: each costs 8 bytes of hash and a set's overhead.
MOST_REMEMBERED = 3_000_000
_PROGRESS_ROWS = 500


@dataclass
class Report:
    """What was sent and what was not. `first`: file:line of the first row with each reason."""

    rows: int = 0
    sent: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    equal: int = 0  # rows whose message is the same as an earlier row's, on the same topic
    first_equal: str = ""
    resent: int = 0
    refused: Counter[int] = field(default_factory=Counter)  # by MQTT reason code
    unheard: int = 0
    topics: set[str] = field(default_factory=set)  # MQTT topics that were published to
    seconds: float = 0.0

    def take(self, table: Table) -> None:
        """Add what a table left out."""
        self.left_out += table.left_out
        for reason, line in table.first.items():
            self.first.setdefault(reason, f"{table.path}:{line}")


def plan(
    cfg: Config,
    files: Sequence[Path],
    stream: str,
    options: Options,
    *,
    topic: str = "",
    dialect: Mapping[str, str] | None = None,
) -> list[tuple[Table, RowMapping]]:
    """Each file with how its rows become messages. Checks every header before anything is sent: ConfigError.

    `topic` replaces the filter of the stream's first route for JSON, `dialect` what is found in the files.
    """
    if stream not in cfg.streams:
        raise ConfigError(f"no stream {stream!r}; there are: {', '.join(cfg.streams) or 'none'}")
    route = cfg.streams[stream].json_route
    topic = topic or (route.filter if route else "")
    if not topic:
        raise ConfigError(f"the stream {stream} has no route for JSON, so its topic is not known: name it with --topic")
    contract = find(cfg.contract_of(stream), cfg.contracts)
    out = []
    for path in files:
        table = open_table(path, dialect)
        out.append((table, RowMapping(table, contract, topic, options)))
    return out


def passwords(cfg: Config, plans: Sequence[tuple[Table, RowMapping]], stream: str) -> dict[str, str]:
    """A new password for each device of the files, which is in the registry with a tag; see `lending.passwords`.

    Empty where there is no registry, and where the stream's route is for gateways: then the services' login serves.
    """
    route = cfg.streams[stream].json_route
    if cfg.hub.token is None or route is None or route.identity != DEVICE:
        return {}
    names = sorted({name for _, how in plans for name in how.devices()})
    return lending.passwords(Hub(cfg.hub), names)


async def send(
    cfg: Config,
    plans: Sequence[tuple[Table, RowMapping]],
    logins: Mapping[str, str],
    *,
    client_id: str,
    speed: float | None = None,
    notify: Callable[[str], None] = lambda _: None,
    progress: Callable[[int, int], None] = lambda _bytes, _rows: None,
) -> Report:
    """Send every row, file after file. Returns when the broker has acknowledged all of them.

    `logins`: the password of each device, which then publishes by a connection of its own and no faster than a device
    may; when it is empty, all go by one connection with the services' login and this `client_id`.

    `speed`: a multiple of the recorded speed, by event time; None sends as fast as the broker takes it. `progress` gets
    the bytes of all files read so far and the rows sent. `notify` gets messages for people. TransientError when the
    broker stays away.
    """
    report = Report()
    seen: set[int] = set()
    begin = time.monotonic()
    async with Senders(cfg, logins, client_id, notify) as senders:
        done = 0
        for table, how in plans:
            pace = Pace(speed) if speed is not None else None
            for line, row in table.rows():
                report.rows += 1
                if report.rows % _PROGRESS_ROWS == 0:
                    progress(done + table.position, report.sent)
                it = how.message(line, row)
                if it is None:
                    continue
                sender = await senders.of(it.device)
                most = sender.publisher.payload_maximum
                if len(it.payload) > most:
                    table.omit(line, f"larger than the broker takes ({most:,} bytes)")
                    continue
                if len(seen) < MOST_REMEMBERED:
                    mark = hash((it.topic, it.payload))
                    if mark in seen:
                        report.equal += 1
                        report.first_equal = report.first_equal or f"{table.path}:{line}"
                    seen.add(mark)
                if pace is not None and it.time_us is not None:
                    await pace.wait(it.time_us)
                report.topics.add(it.topic)
                await sender.send(it.topic, it.payload)
                report.sent += 1
            done += table.size
            report.take(table)
            progress(done, report.sent)
        for publisher in await senders.drain():
            report.resent += publisher.resent
            report.refused.update(publisher.refused)
            report.unheard += publisher.unheard
    report.seconds = time.monotonic() - begin
    return report


class Pace:
    """Delays each row as recorded, by event time, `speed` times as fast. Rows that are late are sent at once."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._origin: tuple[float, int] | None = None
        self._latest = 0

    async def wait(self, time_us: int) -> None:
        """Sleep until the row at `time_us` is due; a row older than one before it is due at once."""
        now = time.monotonic()
        if self._origin is None:
            self._origin, self._latest = (now, time_us), time_us
            return
        self._latest = max(self._latest, time_us)
        due = self._origin[0] + (self._latest - self._origin[1]) / 1e6 / self._speed
        if due > now:
            await asyncio.sleep(due - now)
