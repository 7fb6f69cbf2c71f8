"""Who published a message, as its topic says; and the broker's access file that makes this true."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import routing
from headrace.config import Config
from headrace.config.routes import identity_problems
from headrace.errors import ConfigError
from headrace.operate import brokerfiles, mqttaccess
from headrace.protocol import filters


def config(*routes: Any, **bridge: Any) -> Config:
    return Config.model_validate(
        {"streams": {f"s{i}": {"routes": [r]} for i, r in enumerate(routes)}, "bridge": bridge}
    )


def gateway(text: str) -> dict[str, str]:
    return {"filter": text, "identity": "gw"}


def writes(*routes: Any, **bridge: Any) -> list[str]:
    lines = mqttaccess.devices(config(*routes, **bridge)).splitlines()
    return [line.removeprefix("pattern write ") for line in lines if line.startswith("pattern write ")]


def test_a_device_writes_its_own_readings_and_reads_its_own_receipts() -> None:
    text = mqttaccess.devices(config("sensors/{device_id}/imu", "plant/{site}/{device_id}/{label}"))
    assert [line for line in text.splitlines() if line.startswith("pattern")] == [
        "pattern write sensors/%u/imu", "pattern write plant/+/%u/+",
        "pattern read receipts/%u", "pattern read receipts/%u/#",
    ]  # fmt: skip
    assert "read" not in mqttaccess.devices(config("sensors/{device_id}/imu", receipts=""))


def of_gateways(text: str) -> dict[str, list[str]]:
    """By user, what the access file lets it alone write."""
    parts = [part.splitlines() for part in text.split("user ")[1:]]
    found = {part[0]: [line.removeprefix("topic write ") for line in part[1:]] for part in parts}
    assert found.pop("receipts") == ["topic deny #"], "who has the name of the receipts' topics"
    return found


def test_a_gateway_writes_for_the_devices_behind_it_under_its_own_name_only() -> None:
    cfg = config(gateway("gw/{gw}/+/{device_id}/up"), "sensors/{device_id}/imu", unrouted=["gw/#", "sensors/#"])
    text = mqttaccess.devices(cfg, ["g-2", "g-1"])
    own = [["gw/g-1/+/+/up", "gw/g-1/#"], ["gw/g-2/+/+/up", "gw/g-2/#"]]
    assert of_gateways(text) == dict(zip(["g-1", "g-2"], own, strict=True))


def test_no_device_writes_where_a_gateway_speaks_for_others() -> None:
    routes = ["sensors/{device_id}/imu", gateway("sensors/{gw}/{device_id}/up")]
    assert writes(gateway("gw/{gw}/+/{device_id}/up"), unrouted=["gw/#"]) == []
    assert writes(*routes, unrouted=["sensors/#"]) == ["sensors/%u/imu"], (
        "sensors/%u/# would be the gateways' route too"
    )
    assert of_gateways(mqttaccess.devices(config(*routes, unrouted=["sensors/#"]), ["g"])) == {
        "g": ["sensors/g/+/up", "sensors/g/#"]
    }


def test_a_topic_that_is_a_device_s_and_a_gateway_s_is_refused() -> None:
    (problem,) = identity_problems(config("a/{device_id}/+/x", gateway("a/{gw}/{device_id}/x")))
    assert "a device could publish as any other there" in problem


def test_who_writes_the_file_without_hub_keeps_the_gateways_that_it_has(tmp_path: Path) -> None:
    file, cfg = tmp_path / "acl", config(gateway("gw/{gw}/{device_id}"))
    assert of_gateways(mqttaccess.renewed(cfg, file)) == {}
    file.write_text(mqttaccess.devices(cfg, ["g-1", "g-2"]) + "user headrace\ntopic readwrite #\nuser a b\n")
    other = config(gateway("new/{gw}/{device_id}"))
    assert of_gateways(mqttaccess.renewed(other, file)) == {"g-1": ["new/g-1/+"], "g-2": ["new/g-2/+"]}
    settings = tmp_path / "c.yaml"
    settings.write_text('streams: {imu: {routes: [{filter: "gx/{gw}/{device_id}", identity: gw}]}}')
    (tmp_path / brokerfiles.ACCESS).write_text(mqttaccess.devices(cfg, ["g-1"]))
    assert mqttaccess.main([str(settings), str(tmp_path)]) == 0
    assert of_gateways((tmp_path / brokerfiles.ACCESS).read_text()) == {"g-1": ["gx/g-1/+"]}


def test_what_a_device_sends_to_a_mistyped_topic_arrives_where_the_bridge_reads_it() -> None:
    routes = ["sensors/{device_id}/imu", "sensors/{device_id}/environment", "plant/{device_id}"]
    assert writes(*routes, unrouted=["sensors/#"]) == [
        "sensors/%u/imu", "sensors/%u/environment", "plant/%u", "sensors/%u/#",
    ]  # fmt: skip
    assert writes("sensors/{device_id}/imu", unrouted=["sensors/+/x"]) == ["sensors/%u/imu"], "no more than it reads"


def test_where_another_route_has_the_identity_elsewhere_mistyped_topics_are_not_let_in() -> None:
    routes = ["plant/{device_id}/pump", "plant/{site}/line/{device_id}"]
    assert writes(*routes, unrouted=["plant/#"]) == ["plant/%u/pump", "plant/+/line/%u", "plant/+/line/%u/#"]


def test_the_topic_says_who_published() -> None:
    found = routing.build(
        config("sensors/{device_id}/imu", gateway("gw/{gw}/{device_id}"), unrouted=["sensors/#", "x/#"])
    )
    assert found.match("sensors/w-1/imu").identity == "w-1"
    assert found.match("sensors/w-1/imo/y").identity == "w-1", "a mistyped topic"
    assert found.match("gw/g-1/w-1").identity == "g-1"
    assert found.match("x/w-1/imu").identity == ""
    assert found.match("sensors/a b/imu").identity == "", "not a name"


def test_the_name_of_a_gateway_is_no_field_of_its_readings() -> None:
    found = routing.build(config(gateway("gw/{gw}/{device_id}"), gateway("gx/{gw}/{label}")))
    assert [r.fills for r in found.routes] == [("device_id",), ("label",)]


LEVELS = st.lists(st.sampled_from(["a", "b", "+", "{device_id}", "{gw}", "#"]), min_size=1, max_size=4)
TOPICS = st.lists(st.sampled_from(["a", "b", "me", "you"]), min_size=1, max_size=5).map("/".join)


NAMES = st.sampled_from(["id", "mac", "encode", {"x y": "me"}, {"you": "me"}])
ROUTES = st.builds(
    lambda text, names: (gateway(text) if "{gw}" in text else {"filter": text}) | {"device": {"names": names}},
    LEVELS.map("/".join), NAMES,
)  # fmt: skip
WHO = st.sampled_from(["me", "fc5394c37c00", "FC5394C37C00", "fc-5394-c37c00", "a__20b"])


@given(st.lists(ROUTES, min_size=1, max_size=4), st.sampled_from([(), ("#",), ("a/#",)]), TOPICS, WHO)
def test_nobody_can_publish_as_another(routes: list[Any], unrouted: tuple[str, ...], topic: str, me: str) -> None:
    """Whatever the configuration: if the access file lets me publish there, the topic says me, and so does the id."""
    topic = topic.replace("me", me)
    try:
        cfg = config(*routes, unrouted=unrouted, receipts="")
        if list(identity_problems(cfg)):
            return
        found = routing.build(cfg).match(topic)
    except (ConfigError, ValueError):
        return
    mine = [filters.parse(line.replace("%u", me), "x") for line in writes(*routes, unrouted=unrouted, receipts="")]
    if any(f.matches(topic) for f in mine):
        assert found.identity == me
        for target in found.targets:
            if target.refused is None:
                assert target.captures["device_id"] == me, "no device where a gateway speaks for others"


@pytest.mark.parametrize(
    "text", ["{device_id}/a ", " a/{device_id}", "a/%u/{device_id}", "a\n/{device_id}", "%c/{device_id}"]
)
def test_a_filter_that_would_change_the_access_file_is_refused(text: str) -> None:
    assert "Leave out %u, %c" in next(identity_problems(config(text)))
