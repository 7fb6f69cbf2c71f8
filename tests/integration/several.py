"""Several streams of one's own on the session's servers, by one bridge, one clean and one archive."""

import asyncio
import re
import uuid
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pandas as pd

import headrace
from headrace.config import Config, load
from headrace.lake import flow, sql
from headrace.lake.rows import Source
from headrace.lake.verify import Stream, compare
from headrace.operate import provision
from headrace.store.open import open_store
from tests.faults.own import SOON, Service, until
from tests.stack import Stack


class Several:
    """Streams with names and topics that no other test has. `streams`: their settings, by short name, each with a
    contract; the filters of their routes get a first level of our own.
    """

    def __init__(self, stack: Stack, folder: Path, streams: dict[str, dict[str, Any]], contracts: list[str]) -> None:
        self._folder = folder
        self._stack = stack
        self._mark = f"s{uuid.uuid4().hex[:8]}"
        own = {
            self.name(short): {
                "partitions": 2,
                **it,
                "routes": [{**r, "filter": f"{self._mark}/{r['filter']}"} for r in it["routes"]],
            }
            for short, it in streams.items()
        }
        self.path = stack.config_file(
            folder / f"{self._mark}.yaml",
            {
                "contracts": contracts,
                "streams": own,
                "dead_letters": {"topic": f"{self._mark}-letters", "partitions": 1},
                "bridge": {"client_id": f"headrace-{self._mark}"},
                "clean": {"group": f"{self._mark}-clean"},
                "archive": {"group": f"{self._mark}-archive", **SOON},
            },
        )
        self.config: Config = load(self.path, {})
        provision.topics(self.config)

    def name(self, short: str) -> str:
        """The stream's own name."""
        return f"{short}_{self._mark}"

    @contextmanager
    def services(self) -> Iterator[None]:
        """A bridge that reads, a clean and an archive."""
        with ExitStack() as these:
            bridge, *_ = (
                these.enter_context(self._service(*command))
                for command in (("bridge",), ("processors", "clean"), ("processors", "archive"))
            )
            bridge.says('"receiving"')
            yield

    @contextmanager
    def _service(self, *command: str) -> Iterator[Service]:
        it = Service([*command, "--config", str(self.path)], self._folder / f"{self._mark}-{command[-1]}.log")
        try:
            yield it
        finally:
            it.kill()

    def publish(self, messages: Iterable[tuple[str, bytes]]) -> None:
        """Messages (topic below our own level, payload) by one publisher, in their order, with QoS 1."""

        async def main() -> None:
            mqtt = self.config.mqtt
            password = mqtt.password.get_secret_value() if mqtt.password else None
            async with aiomqtt.Client(mqtt.host, mqtt.port, username=mqtt.username, password=password) as client:
                for topic, payload in messages:
                    await client.publish(f"{self._mark}/{topic}", payload, qos=1)

        asyncio.run(main())

    def when_stored(self, arrived: dict[str, int]) -> dict[str, Stream]:
        """What `headrace verify` says by short name, once nothing is under way.

        `arrived`: readings that the bridge makes, by short name.
        """
        with flow.watch(self.config) as watcher:
            until(lambda: self._all_in(watcher.snapshot(), arrived), lambda: watcher.snapshot().pending())
            with sql.connect(self.config, "") as lake:
                store = open_store(self.config.store)
                found = compare(self.config, watcher.snapshot(), store, Source(lake, self.config, store))
        return {short: found.streams[self.name(short)] for short in arrived}

    def _all_in(self, found: flow.Flow, arrived: dict[str, int]) -> bool:
        here = dict.fromkeys(arrived, 0)
        for (topic, _), stage in found.raw.items():
            here[topic.rpartition("_")[0]] += stage.high
        return here == arrived and not found.pending()

    def query(self, words: str) -> pd.DataFrame:
        """The answer to SQL. In it `{city}` is the name of that stream."""
        return headrace.query(re.sub(r"\{(\w+)\}", lambda it: self.name(it[1]), words), config=self.config)

    def quality(self) -> dict[str, dict[str, int]]:
        """What `headrace quality` counts: by short name, then by field:rule:action."""
        found = self._stack.json("--config", str(self.path), "quality", "--json")
        assert not found["problem"], found
        out: dict[str, dict[str, int]] = {}
        for it in found["rules"]:
            acts = out.setdefault(it["stream"].rpartition("_")[0], {})
            label = ":".join(it[key] for key in ("field", "rule", "action"))
            acts[label] = acts.get(label, 0) + it["readings"]  # of each device and day
        return out
