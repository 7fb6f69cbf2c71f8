import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import routing
from headrace.config import Config
from headrace.config.routes import filter_problems
from headrace.errors import Reason
from headrace.protocol import filters

LEVELS = st.sampled_from(["a", "b", "", "$s"])
TOPICS = st.lists(LEVELS, min_size=1, max_size=4).map("/".join).filter(bool)


@st.composite
def patterns(draw: st.DrawFn) -> str:
    levels = draw(st.lists(st.one_of(LEVELS, st.just("+")), min_size=0, max_size=3))
    if draw(st.booleans()) or not levels:
        levels = [*levels, "#"]
    return "/".join(levels) or "+"


def reference(pattern: str, topic: str) -> bool:
    """MQTT 5, section 4.7, level by level."""
    p, t = pattern.split("/"), topic.split("/")
    if t[0].startswith("$") and p[0] in {"+", "#"}:
        return False
    for i, level in enumerate(p):
        if level == "#":
            return True
        if i >= len(t) or level not in {"+", t[i]}:
            return False
    return len(p) == len(t)


def config(streams: dict[str, list[str]], unrouted: tuple[str, ...] = ()) -> Config:
    return Config.model_validate(
        {
            "streams": {name: {"routes": routes} for name, routes in streams.items()},
            "bridge": {"unrouted": unrouted, "receipts": ""},
        }
    )


@given(patterns(), TOPICS)
def test_matching_is_mqtts(pattern: str, topic: str) -> None:
    assert filters.parse(pattern, "x").matches(topic) == reference(pattern, topic)


@given(patterns(), patterns(), TOPICS)
def test_covers_and_overlap_agree_with_matching(a: str, b: str, topic: str) -> None:
    x, y = filters.parse(a, "x"), filters.parse(b, "y")
    if x.matches(topic) and y.matches(topic):
        assert filters.overlap(x, y)
    if filters.covers(x, y) and y.matches(topic):
        assert x.matches(topic)
    assert filters.overlap(x, y) == filters.overlap(y, x)
    assert filters.covers(x, x)


@given(st.lists(patterns(), min_size=1, max_size=4), TOPICS)
def test_every_message_of_a_route_comes_by_its_own_subscription(texts: list[str], topic: str) -> None:
    found = routing.build(config({f"s{i}": [text] for i, text in enumerate(texts)}))
    subscribed = dict(found.filters)
    known = frozenset(subscribed)
    for target in found.match(topic).targets:
        assert subscribed[target.route.subscription].matches(topic)
    # However the broker copies a message among the subscriptions that match, each stream takes it exactly once.
    hits = [n for n, f in found.filters if f.matches(topic)]
    for target in found.match(topic).targets:
        assert sum(routing.takes(target.route.subscription, [n], known) for n in hits) == 1
        assert routing.takes(target.route.subscription, hits, known)
        assert routing.takes(target.route.subscription, [], known)
    assert found.match(topic).copies == (len(hits) > 1)


def test_captures_come_out_and_names_must_be_on_the_allowlist() -> None:
    found = routing.build(config({"imu": ["sensors/{device_id}/{label}/imu"]}))
    (target,) = found.match("sensors/watch-01/arm/imu").targets
    assert target.captures == {"device_id": "watch-01", "label": "arm"}
    (odd,) = found.match("sensors/watch-01/left arm/imu").targets
    assert str(odd.refused).endswith('To take any text: fields: {label: {topic: "{label}"}}')
    assert target.refused is None
    for topic in (
        "sensors/../arm/imu",
        "sensors/😀/arm/imu",
        "sensors//arm/imu",
        "sensors/w/a b/imu",
        "sensors/w\n/a/imu",
    ):
        (target,) = found.match(topic).targets
        assert target.refused is not None
        assert target.refused.reason is Reason.BAD_NAME
    assert found.match("sensors/watch-01/imu").targets == ()


def test_a_covered_filter_is_not_subscribed_to() -> None:
    found = routing.build(config({"imu": ["sensors/{device_id}/imu"], "env": ["plant/{device_id}"]}, ("sensors/#",)))
    assert {s.filter for s in found.subscriptions} == {"sensors/#", "plant/+"}
    assert found.unwanted == ("sensors/+/imu",)


def test_filters_of_an_earlier_configuration_are_unsubscribed_from_unless_they_are_wanted() -> None:
    cfg = config({"imu": ["sensors/{device_id}/imu"]})
    both = cfg.bridge.model_copy(update={"dropped": ("sensors/#", "sensors/+/imu")})
    assert routing.build(cfg.model_copy(update={"bridge": both})).unwanted == ("sensors/#",)
    shared = both.model_copy(update={"shared_group": "g"})
    found = routing.build(cfg.model_copy(update={"bridge": shared}))
    assert {s.filter for s in found.subscriptions} == {"$share/g/sensors/+/imu"}
    assert set(found.unwanted) == {"$share/g/sensors/#", "sensors/#", "sensors/+/imu"}


def test_a_group_shares_every_filter_and_drops_what_its_members_had_alone() -> None:
    streams = {"imu": ["sensors/{device_id}/imu"], "env": ["plant/{device_id}"]}
    cfg = config(streams, ("sensors/#",))
    alone = routing.build(cfg)
    found = routing.build(cfg.model_copy(update={"bridge": cfg.bridge.model_copy(update={"shared_group": "g"})}))
    assert {s.filter for s in found.subscriptions} == {"$share/g/sensors/#", "$share/g/plant/+"}
    assert set(found.unwanted) == {"$share/g/sensors/+/imu", "sensors/+/imu", "sensors/#", "plant/+"}
    assert [s.identifier for s in found.subscriptions] == [s.identifier for s in alone.subscriptions]
    assert found.match("sensors/watch-01/imu") == alone.match("sensors/watch-01/imu")


@pytest.mark.parametrize("name", ["a/b", "+", "#", "x" * 65])
def test_a_group_s_name_is_one_level_of_a_topic(name: str) -> None:
    with pytest.raises(ValueError, match="shared_group"):
        Config.model_validate({"bridge": {"shared_group": name}})


def test_identifiers_stay_when_other_filters_come_and_go() -> None:
    one = routing.build(config({"a": ["x/+"]}))
    two = routing.build(config({"b": ["y/+"], "a": ["x/+"]}))
    assert one.subscriptions[0] in two.subscriptions


def test_one_topic_may_feed_two_streams() -> None:
    found = routing.build(config({"a": ["x/+"], "b": ["x/{device_id}"]}))
    assert [t.route.stream for t in found.match("x/1").targets] == ["a", "b"]


@pytest.mark.parametrize(
    "text", ["", "a/#/b", "a#", "a+/b", "{x", "a/{x}y", "a/{x}/{x}", "$share/g/a", "a\0b", "a/{x y}", "a" * 70_000]
)
def test_text_that_is_not_a_filter_is_refused(text: str) -> None:
    (problem,) = filter_problems(config({"imu": [text]}))
    assert problem.startswith("streams.imu.routes[0].filter: ")


def test_topics_of_the_broker_itself_are_refused_before_the_broker_does() -> None:
    (route, unrouted) = filter_problems(config({"imu": ["$SYS/{device_id}/load"]}, ("$SYS/#",)))
    assert route.startswith("streams.imu.routes[0].filter: $SYS/{device_id}/load: topics that begin with $")
    assert unrouted.startswith("bridge.unrouted[0]: ")
