"""What is learnt from the births of Sparkplug's edge nodes, and when it is forgotten; who is asked for a rebirth."""

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bridge.decoders.base import Births, Reading, Refused
from bridge.edgenodes.asking import Rebirths
from bridge.edgenodes.memory import EdgeNodes, Node
from headrace.errors import Reason
from headrace.protocol import sparkplug
from headrace.runtime.metrics import BRIDGE_SPARKPLUG
from tests.edgenode import BOOLEAN, DOUBLE, EdgeNode, Message, double, metric, number, payload
from tests.unit import payload_formats as pf

METRICS = ("a", "b", "c")
CONTRACT = pf.contract(**dict.fromkeys(METRICS, "double"))


class Ear:
    """Edge nodes that are listened to. `wanted`: whose births were asked for, each time."""

    def __init__(self, limit: int = 1_000_000) -> None:
        self.wanted: list[Node] = []
        self.born: list[Node] = []
        self.nodes = EdgeNodes(limit, self.wanted.append, self.born.append)
        self.decoder = pf.decoder(CONTRACT, format="sparkplug")

    def hear(self, *messages: Message) -> Births:
        births: Births = {}
        for topic, data in messages:
            place = sparkplug.place(topic)
            assert place is not None
            births = self.nodes.hear(place, data)
        return births

    def read(self, message: Message) -> dict[str, Any] | Reason:
        """The reading that a message becomes, or why it is a dead letter."""
        (found,) = self.decoder.decode(message[1], pf.HERE._replace(births=self.hear(message)), pf.NOW)
        if isinstance(found, Refused):
            return found.error.reason
        assert isinstance(found, Reading)
        (row,) = pf.rows(CONTRACT, [found])
        return {k: v for k, v in row.items() if k != "event_time"}


def counted(what: str) -> float:
    return float(BRIDGE_SPARKPLUG.labels(what)._value.get())


def node(**aliases: int) -> EdgeNode:
    return EdgeNode("plant", "gw", {"d": aliases or {"a": 1, "b": 2}})


def test_aliases_are_known_from_the_birth_on_until_the_device_dies() -> None:
    ear, it = Ear(), node()
    ear.hear(*it.births())
    assert ear.wanted == []
    assert ear.read(it.data("d", a=1.5, b=2.5)) == {"a": 1.5, "b": 2.5}
    ear.hear(it.device_death("d"))
    assert ear.read(it.data("d", a=3.5)) is Reason.UNKNOWN_ALIAS
    assert ear.wanted == [("plant", "gw")]
    ear.hear(it.birth("d"))
    assert ear.read(it.data("d", a=4.5)) == {"a": 4.5}


def test_numbers_go_round() -> None:
    ear, it, before = Ear(), node(), counted("gap")
    ear.hear(*it.births())
    assert {str(ear.read(it.data("d", a=float(i)))) for i in range(600)} == {str({"a": float(i)}) for i in range(600)}
    assert counted("gap") == before


def test_a_missing_number_is_counted_and_all_is_forgotten_until_the_next_birth() -> None:
    ear, it = Ear(), node()
    ear.hear(*it.births())
    gaps, missing = counted("gap"), counted("missing")
    it.data("d", a=1.0)
    it.data("d", a=2.0)
    assert ear.read(it.data("d", a=3.0)) is Reason.UNKNOWN_ALIAS
    assert (counted("gap") - gaps, counted("missing") - missing) == (1, 2)
    assert ear.read(it.data("d", a=4.0)) is Reason.UNKNOWN_ALIAS
    assert set(ear.wanted) == {("plant", "gw")}
    assert counted("gap") - gaps == 1, "one gap is counted once"
    before, ear.wanted[:] = counted("gap"), []
    ear.hear(*it.births())
    assert ear.read(it.data("d", a=5.0)) == {"a": 5.0}
    assert (ear.wanted, counted("gap")) == ([], before)
    assert ear.born[-1] == ("plant", "gw")


def test_a_copy_of_a_message_is_no_gap() -> None:
    ear, it, before = Ear(), node(), counted("gap")
    births = it.births()
    for message in births:
        ear.hear(message, message)
    for value in (1.0, 2.0):
        one = it.data("d", a=value)
        assert ear.read(one) == ear.read(one) == {"a": value}
    assert (counted("gap"), ear.wanted) == (before, [])


def test_a_message_that_can_not_be_read_leaves_a_gap() -> None:
    ear, it = Ear(), node()
    ear.hear(*it.births())
    topic, data = it.data("d", a=1.0)
    assert ear.hear((topic, data[:-3])) == {}
    assert ear.read(it.data("d", a=2.0)) is Reason.UNKNOWN_ALIAS


def test_a_late_death_of_an_earlier_session_changes_nothing() -> None:
    ear, it = Ear(), node()
    ear.hear(*it.births())
    it.session += 1
    ear.hear(*it.births())
    late, deaths = counted("late_death"), counted("death")
    ear.hear(it.death(0))
    assert ear.read(it.data("d", a=1.0)) == {"a": 1.0}
    assert (counted("late_death") - late, counted("death") - deaths) == (1, 0)
    ear.hear(it.death())
    assert ear.read(it.data("d", a=1.0)) is Reason.UNKNOWN_ALIAS
    assert counted("death") - deaths == 1


def test_a_birth_of_the_edge_node_ends_what_births_of_its_devices_said_before() -> None:
    ear, it = Ear(), node()
    ear.hear(*it.births())
    own, *_ = it.births()
    it.seq = 0
    ear.hear(own)
    assert ear.read(it.data("d", a=1.0)) is Reason.UNKNOWN_ALIAS
    ear.hear(it.birth("d"))
    assert ear.read(it.data("d", a=2.0)) == {"a": 2.0}


def test_an_alias_that_a_birth_gives_to_two_metrics_names_neither() -> None:
    ear, it = Ear(), node(a=1, b=1, c=2)
    ear.hear(*it.births())
    assert ear.read(it.data("d", a=1.0)) is Reason.UNKNOWN_ALIAS
    assert ear.read(it.data("d", c=1.0)) == {"c": 1.0}


def test_long_names_in_topics_do_not_fill_the_memory() -> None:
    ear = Ear(limit=100_000)
    for i in range(200):
        ear.hear(*EdgeNode(f"{i}{'g' * 480}", "gw", {f"d{i}": {"a": 1}}).births())
        ear.hear(*EdgeNode(f"{i}{'g' * 60_000}", "gw", {f"d{i}": {"a": 1}}).births())
        ear.hear(EdgeNode("plant", "gw", {"d" * 60_000 + str(i): {"a": 1}}).births()[1])
    assert ear.nodes._size <= 100_000
    kept = ear.nodes._nodes.items()
    assert sum(len(group) + len(name) + sum(map(len, it.tables)) for (group, name), it in kept) < 50_000
    assert all(len(group) <= 512 for group, _ in ear.wanted), "who waits to be asked is remembered too"


def test_a_new_connection_begins_with_nothing_and_counts_no_gap() -> None:
    ear, it = Ear(), node()
    ear.hear(*it.births())
    it.data("d", a=1.0)
    ear.nodes.forget()
    gaps = counted("gap")
    assert ear.read(it.data("d", a=2.0)) is Reason.UNKNOWN_ALIAS
    assert counted("gap") == gaps
    named = it.topic("DDATA", "d"), payload(metric("a", double(3.0), datatype=DOUBLE), seq=it.seq + 1)
    assert ear.read(named) == {"a": 3.0}, "what says its names needs no birth"
    assert ear.wanted == [("plant", "gw")] * 2


def test_an_alias_that_the_birth_lacks_is_unknown_and_asked_for() -> None:
    ear, it = Ear(), node()
    ear.hear(*it.births())
    it.devices["d"]["c"] = 3
    assert ear.read(it.data("d", c=1.0)) is Reason.UNKNOWN_ALIAS
    assert ear.wanted == [("plant", "gw")]


def test_messages_without_numbers_are_taken_in_the_order_in_which_they_come() -> None:
    ear, it, before = Ear(), node(), counted("gap")
    ear.hear(*it.births())
    data = it.topic("DDATA", "d"), payload(metric("", double(1.0), alias=1), seq=None)
    assert ear.read(data) == {"a": 1.0}
    assert ear.read(it.data("d", b=2.0)) == {"b": 2.0}
    assert counted("gap") == before


def test_the_memory_is_bounded_and_who_was_heard_last_stays() -> None:
    ear = Ear(limit=40_000)
    nodes = [EdgeNode("plant", f"gw{i}", {"d": {"a": 1, "b": 2}}) for i in range(40)]
    before = counted("forgotten")
    for it in nodes:
        ear.hear(*it.births())
        assert ear.read(nodes[0].data("d", a=1.0)) == {"a": 1.0}
    assert counted("forgotten") > before
    assert len(ear.nodes._nodes) < 20
    assert ear.nodes._size <= 40_000
    assert ear.nodes._size == sum(n.size for n in ear.nodes._nodes.values())
    assert ear.read(nodes[1].data("d", a=1.0)) is Reason.UNKNOWN_ALIAS
    large = EdgeNode("plant", "large", {"d": {f"m{i}": i for i in range(200)}})
    ear.hear(*large.births())
    assert ear.read(large.data("d", m1=1.0)) is Reason.UNKNOWN_ALIAS
    wide = EdgeNode("plant", "wide", {f"d{i}": {"a": 2 * i, "b": 2 * i + 1} for i in range(60)})
    ear.hear(*wide.births())
    assert ear.nodes._size <= 40_000


class Plant:
    """An edge node whose aliases change with each birth, and a way on which messages are lost."""

    def __init__(self, random: Any) -> None:
        self.ear, self.random = Ear(), random
        self.it = EdgeNode("plant", "gw", {"d": {}, "e": {}})
        self.losing = False  # what is sent now
        self.lost = True  # something since the last birth that came
        self.last = -1  # number of the last message that came

    def carry(self, message: Message, wish: dict[str, float] | None = None) -> None:
        begins = "NBIRTH" in message[0]
        # A loss that the numbers do not show can't be seen: the message behind it is lost too.
        hidden = self.lost and not begins and self.it.seq == (self.last + 1) % 256
        if self.losing or hidden:
            self.lost = True
            return
        self.lost = self.lost and not begins
        self.last = self.it.seq
        if wish is None:
            self.ear.hear(message)
            return
        found = self.ear.read(message)
        assert found in (wish, Reason.UNKNOWN_ALIAS)
        assert self.lost or found == wish, "nothing was lost since the births"

    def shuffle(self, *devices: str) -> None:
        for device in devices:
            self.it.devices[device] = dict(zip(METRICS, self.random.sample(range(4), 3), strict=True))

    def births(self) -> None:
        self.shuffle("d", "e")
        for message in self.it.births():
            self.carry(message)

    def restart(self) -> None:
        self.carry(self.it.death())
        self.it.session = (self.it.session + 1) % 256
        self.births()

    def device(self) -> None:
        device = self.random.choice("de")
        self.carry(self.it.device_death(device))
        self.shuffle(device)
        self.carry(self.it.birth(device))

    def data(self) -> None:
        wish = {name: self.random.random() for name in self.random.sample(METRICS, 2)}
        message = self.it.data(self.random.choice("de"), **wish)
        self.carry(message, wish)
        if not self.losing and not self.lost:
            assert self.ear.read(message) == wish, "a copy"

    def unseen(self) -> None:
        self.losing = True
        self.random.choice([self.births, self.restart, self.device])()
        self.losing = False
        for _ in range(3):
            self.data()

    def late(self) -> None:
        self.ear.hear(self.it.death((self.it.session - 1) % 256))

    def connect(self) -> None:
        self.ear.nodes.forget()
        self.lost = True


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["data", "births", "device", "restart", "late", "connect", "unseen"]),
        st.sampled_from([False, False, False, True]),
    ),
    max_size=40,
)


@given(STEPS, st.randoms(use_true_random=False))
def test_whatever_is_lost_a_reading_is_right_or_a_dead_letter(steps: list[tuple[str, bool]], random: Any) -> None:
    plant = Plant(random)
    for step, losing in [("births", False), *steps, ("births", False), ("data", False)]:
        plant.losing = losing
        getattr(plant, step)()
    assert not plant.lost


class Outlet:
    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.clogged = 0

    def send(self, out: list[bytes]) -> bool:
        if self.clogged:
            self.clogged -= 1
            return False
        self.sent += out
        return True


def asked(rebirths: Rebirths, outlet: Outlet, seconds: float = 0.4) -> None:
    async def main() -> None:
        task = asyncio.create_task(rebirths.run(outlet))
        await asyncio.sleep(seconds)
        task.cancel()

    asyncio.run(main())


def test_a_rebirth_is_asked_for_once_in_a_while_and_not_where_one_has_come() -> None:
    now = [1_000.0]
    rebirths, outlet = Rebirths(60, lambda: now[0]), Outlet()
    before = counted("rebirth_asked")
    for group in ("plant", "plant", "born", "mill"):
        rebirths.want((group, "gw"))
    rebirths.born(("born", "gw"))
    asked(rebirths, outlet)
    assert len(outlet.sent) == counted("rebirth_asked") - before == 2
    packet = outlet.sent[0]
    assert packet[0] == 0x30, "QoS 0, not retained"
    assert b"spBv1.0/plant/NCMD/gw" in packet
    assert b"Node Control/Rebirth" in packet
    assert packet.endswith(number(4, BOOLEAN) + number(14, 1)), "true"
    now[0] += 59
    rebirths.want(("plant", "gw"))
    asked(rebirths, outlet)
    assert len(outlet.sent) == 2
    now[0] += 1
    rebirths.want(("plant", "gw"))
    asked(rebirths, outlet)
    assert len(outlet.sent) == 3


def test_requests_are_spread_and_wait_while_the_connection_is_clogged() -> None:
    rebirths, outlet = Rebirths(60), Outlet()
    for i in range(1_000):
        rebirths.want(("plant", f"gw{i}"))
    asked(rebirths, outlet, 0.5)
    assert 2 <= len(outlet.sent) <= 300
    rebirths.forget()
    rebirths.want(("plant", "other"))
    outlet.sent.clear()
    outlet.clogged = 1
    asked(rebirths, outlet, 0.5)
    assert outlet.sent == []
    asked(rebirths, outlet, 0.5)
    assert len(outlet.sent) == 1


def test_nobody_is_asked_where_the_configuration_says_so() -> None:
    rebirths, outlet = Rebirths(0), Outlet()
    rebirths.want(("plant", "gw"))
    asked(rebirths, outlet)
    assert outlet.sent == []
