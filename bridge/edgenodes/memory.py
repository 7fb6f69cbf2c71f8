"""What the births of Sparkplug's edge nodes say of their metrics, as long as nothing can have been missed. No I/O here.

An edge node numbers its messages, and those of its devices with them, from 0 to 255 and again. A birth that got lost
may have given an alias another meaning. So where a number is missing, where the edge node has died, and on each new
connection, all is forgotten that was learnt: then a message whose metrics have no names is a dead letter until the next
birth, and never a wrong reading.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any
from zlib import crc32

from bridge.decoders.base import Births, Metric
from bridge.decoders.sparkplug import payload as payloads
from headrace.errors import PoisonError
from headrace.protocol.sparkplug import Place
from headrace.runtime.metrics import BRIDGE_SPARKPLUG

Node = tuple[str, str]  # group, edge node

NUMBERS = 256  # of messages
_NOTHING: Births = {}
_RECENT = 16  # messages by which a copy is known
_METRIC_BYTES, _TABLE_BYTES, _NODE_BYTES = 250, 500, 1_500  # about what each takes, beside its name
_LONGEST = 512  # characters of the names in a topic: who may choose the group could fill the memory with it
_SHARE = 4  # a device's births may take this part of the memory


class _Memory:
    """What is known of an edge node."""

    def __init__(self, names: int) -> None:
        self.born = False  # whether its birth was heard, and nothing is missing since
        self.session: int | None = None  # the number by which its birth and its death belong together
        self.number: int | None = None  # of its last message
        self.recent: deque[int] = deque(maxlen=_RECENT)  # checksums of messages since its last birth
        self.tables: dict[str, dict[int | str, Metric]] = {}  # by device; "": its own
        self._least = _NODE_BYTES + names
        self.size = self._least

    def forget(self) -> None:
        self.born, self.tables, self.size = False, {}, self._least
        self.recent.clear()


class EdgeNodes:
    """Listens to the messages of edge nodes, in the order in which they come by one connection.

    `limit`: bytes of memory, about. `want` is called with an edge node whose births are needed, `born` with one whose
    birth has come.
    """

    def __init__(self, limit: int, want: Callable[[Node], None], born: Callable[[Node], None]) -> None:
        self._limit = limit
        self._want, self._born = want, born
        self._nodes: OrderedDict[Node, _Memory] = OrderedDict()  # who was heard last is the last
        self._size = 0

    def forget(self) -> None:
        """A new connection has begun: births may have been missed."""
        self._nodes.clear()
        self._size = 0

    def hear(self, place: Place, payload: bytes) -> Births:
        """Learn from a message, and say what is known of its metrics. Not for copies that the broker had kept."""
        key = place.group, place.node
        names = sum(map(len, key))
        if names + len(place.device) > _LONGEST:
            return _NOTHING
        try:
            message = payloads.read(payload)
        except PoisonError:
            return _NOTHING  # its number is missing then
        node = self._nodes.get(key)
        if node is None:
            node = self._nodes[key] = _Memory(names)
            self._size += node.size
        self._nodes.move_to_end(key)
        before = node.size
        found = self._listen(key, node, place, message, crc32(payload, crc32(f"{place.kind}/{place.device}".encode())))
        self._size += node.size - before
        self._make_room()
        return found

    def _listen(self, key: Node, node: _Memory, place: Place, message: Any, checksum: int) -> Births:
        kind = place.kind
        if kind.endswith("CMD"):
            return _NOTHING
        if kind == "NDEATH":
            self._died(node, message)
            return _NOTHING
        if checksum not in node.recent:
            if kind == "NBIRTH":
                self._begin(key, node, message)
            else:
                self._count(node, message)
            if kind.endswith("BIRTH"):
                _count("birth")
                node.recent.clear()
                self._learn(node, place.device, message)
            elif kind == "DDEATH":
                _count("death")
                node.size -= _weight(place.device, node.tables.pop(place.device, None))
            node.recent.append(checksum)
        known = node.tables.get(place.device)
        if not node.born or (kind.endswith("DATA") and (known is None or not _knows(known, message))):
            self._want(key)
        return _NOTHING if known is None else known

    def _begin(self, key: Node, node: _Memory, message: Any) -> None:
        node.forget()  # its devices are born anew after it, perhaps with other aliases
        node.born = True
        node.number = message.seq if message.HasField("seq") else None
        node.session = _session(message)
        self._born(key)

    def _died(self, node: _Memory, message: Any) -> None:
        session = _session(message)
        if node.session is not None and session is not None and session != node.session:
            _count("late_death")  # of an earlier session; its message waited at the broker
            return
        _count("death")
        node.forget()
        node.number = node.session = None

    def _count(self, node: _Memory, message: Any) -> None:
        """Look whether the message is the next one."""
        if not message.HasField("seq"):
            return
        if node.number is not None and (missing := (message.seq - node.number - 1) % NUMBERS):
            _count("gap")
            _count("missing", missing)
            node.forget()
        node.number = message.seq

    def _learn(self, node: _Memory, device: str, message: Any) -> None:
        node.size -= _weight(device, node.tables.pop(device, None))
        table: dict[int | str, Metric] = {}
        unclear = set()  # aliases of several metrics: nobody knows which one is meant
        for m in message.metrics:
            if isinstance(m.name, str) and m.name:
                key, it = m.alias if m.HasField("alias") else m.name, Metric(m.name, m.datatype)
                if table.setdefault(key, it) != it:
                    unclear.add(key)
        for key in unclear:
            del table[key]
        weight = _weight(device, table)
        if weight > self._limit // _SHARE:
            _count("forgotten")
            return
        node.tables[device] = table
        node.size += weight

    def _make_room(self) -> None:
        while self._size > self._limit and len(self._nodes) > 1:
            _, oldest = self._nodes.popitem(last=False)
            self._size -= oldest.size
            _count("forgotten")
        if self._size > self._limit:
            (node,) = self._nodes.values()
            _count("forgotten")
            self._size -= node.size
            node.forget()
            self._size += node.size


def _session(message: Any) -> int | None:
    for metric in message.metrics:
        if metric.name == "bdSeq":
            which = metric.WhichOneof("value")
            return getattr(metric, which) if which in {"int_value", "long_value"} else None
    return None


def _knows(known: Births, message: Any) -> bool:
    """Whether a name is known for each alias that has none in the message."""
    return all(m.name or m.alias in known for m in message.metrics)


def _weight(device: str, table: Births | None) -> int:
    if table is None:
        return 0
    return _TABLE_BYTES + len(device) + sum(_METRIC_BYTES + len(m.name) for m in table.values())


def _count(what: str, times: int = 1) -> None:
    BRIDGE_SPARKPLUG.labels(what).inc(times)
