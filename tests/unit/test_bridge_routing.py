import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import routing
from headrace import filters
from headrace.config import Config
from headrace.errors import ConfigError, Reason

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
    plan = routing.plan(config({f"s{i}": [text] for i, text in enumerate(texts)}))
    subscribed = dict(plan.filters)
    known = frozenset(subscribed)
    for target in routing.match(plan, topic).targets:
        assert subscribed[target.route.subscription].matches(topic)
    # However the broker copies a message among the subscriptions that match, each stream takes it exactly once.
    hits = [n for n, f in plan.filters if f.matches(topic)]
    for target in routing.match(plan, topic).targets:
        assert sum(routing.takes(target.route, [n], known) for n in hits) == 1
        assert routing.takes(target.route, hits, known)
        assert routing.takes(target.route, [], known)
    assert routing.match(plan, topic).copies == (len(hits) > 1)


def test_captures_come_out_and_names_must_be_on_the_allowlist() -> None:
    plan = routing.plan(config({"imu": ["sensors/{device_id}/{label}/imu"]}))
    (target,) = routing.match(plan, "sensors/watch-01/arm/imu").targets
    assert target.captures == {"device_id": "watch-01", "label": "arm"}
    assert target.refused is None
    for topic in (
        "sensors/../arm/imu",
        "sensors/😀/arm/imu",
        "sensors//arm/imu",
        "sensors/w/a b/imu",
        "sensors/w\n/a/imu",
    ):
        (target,) = routing.match(plan, topic).targets
        assert target.refused is not None
        assert target.refused.reason is Reason.BAD_NAME
    assert routing.match(plan, "sensors/watch-01/imu").targets == ()


def test_a_covered_filter_is_not_subscribed_to() -> None:
    plan = routing.plan(config({"imu": ["sensors/{device_id}/imu"], "env": ["plant/{device_id}"]}, ("sensors/#",)))
    assert {s.filter for s in plan.subscriptions} == {"sensors/#", "plant/+"}
    assert plan.unwanted == ("sensors/+/imu",)


def test_a_group_shares_every_filter_and_drops_what_its_members_had_alone() -> None:
    streams = {"imu": ["sensors/{device_id}/imu"], "env": ["plant/{device_id}"]}
    cfg = config(streams, ("sensors/#",))
    alone = routing.plan(cfg)
    plan = routing.plan(cfg.model_copy(update={"bridge": cfg.bridge.model_copy(update={"shared_group": "g"})}))
    assert {s.filter for s in plan.subscriptions} == {"$share/g/sensors/#", "$share/g/plant/+"}
    assert set(plan.unwanted) == {"$share/g/sensors/+/imu", "sensors/+/imu", "sensors/#", "plant/+"}
    assert [s.identifier for s in plan.subscriptions] == [s.identifier for s in alone.subscriptions]
    assert routing.match(plan, "sensors/watch-01/imu") == routing.match(alone, "sensors/watch-01/imu")


@pytest.mark.parametrize(
    ("bridge", "words"),
    [
        ({"leave": True}, "bridge.leave: nobody would take"),
        ({"unrouted": ["$share/g/a/#"]}, r"bridge.unrouted\[0\]: .* bridge.shared_group"),
    ],
)
def test_a_sharing_that_would_lose_readings_is_refused(bridge: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        routing.plan(Config.model_validate({"streams": {"imu": {"routes": ["a/{device_id}"]}}, "bridge": bridge}))


@pytest.mark.parametrize("name", ["a/b", "+", "#", "x" * 65])
def test_a_group_s_name_is_one_level_of_a_topic(name: str) -> None:
    with pytest.raises(ValueError, match="shared_group"):
        Config.model_validate({"bridge": {"shared_group": name}})


def test_identifiers_stay_when_other_filters_come_and_go() -> None:
    one = routing.plan(config({"a": ["x/+"]}))
    two = routing.plan(config({"b": ["y/+"], "a": ["x/+"]}))
    assert one.subscriptions[0] in two.subscriptions


def test_one_topic_may_feed_two_streams_but_not_one_stream_twice() -> None:
    plan = routing.plan(config({"a": ["x/+"], "b": ["x/{device_id}"]}))
    assert [t.route.stream for t in routing.match(plan, "x/1").targets] == ["a", "b"]
    with pytest.raises(ConfigError, match=r"streams.a.routes\[1\].filter: \+/y overlaps x/\+"):
        routing.plan(config({"a": ["x/+", "+/y"]}))


@pytest.mark.parametrize(
    "text", ["", "a/#/b", "a#", "a+/b", "{x", "a/{x}y", "a/{x}/{x}", "$share/g/a", "a\0b", "a/{x y}", "a" * 70_000]
)
def test_what_is_no_filter_is_a_config_error(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^streams.imu.routes\[0\].filter: "):
        routing.plan(config({"imu": [text]}))


def test_nothing_to_read_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="no stream has a route"):
        routing.plan(Config())
    with pytest.raises(ConfigError, match=r"bridge.unrouted\[0\]"):
        routing.plan(config({}, ("a/{device_id}",)))
