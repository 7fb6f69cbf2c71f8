"""Lists of revoked certificates: what is taken of them, and what is not."""

from datetime import UTC, datetime, timedelta

import pytest

from headrace.errors import ConfigError
from headrace.identity import crl
from headrace.identity.ca import Authority, Revoked

OURS = Authority.make("devices")
NOW = datetime.now(UTC)


def test_a_list_holds_what_was_put_into_it() -> None:
    text = OURS.crl(7, [Revoked(1 << 150, NOW), Revoked(2, NOW, held=True)], NOW)
    found = crl.read(text, OURS.pair.cert, "it")
    assert found.number == 7
    assert found.serials == {1 << 150, 2}


OLD = Authority.make("devices", days=1)
WRONG = {
    "no PEM": ("garbage", OURS.pair.cert, "expected a list"),
    "cut off": (OURS.crl(1, ())[:150], OURS.pair.cert, "expected a list"),
    "another's": (Authority.make("other").crl(1, ()), OURS.pair.cert, "not signed by the authority CN=devices"),
    "another's of that name": (Authority.make("devices").crl(1, ()), OURS.pair.cert, "not signed by"),
    "from the future": (OURS.crl(1, (), NOW + timedelta(hours=3)), OURS.pair.cert, "correct the clock of hub"),
    "closed": (crl.closed(), OURS.pair.cert, "not signed by"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_list_that_is_of_no_use_is_refused_in_words(name: str) -> None:
    text, authority, words = WRONG[name]
    with pytest.raises(ConfigError, match=f"the list: .*{words}"):
        crl.read(text, authority, "the list")


def test_a_list_that_has_ended_is_refused() -> None:
    text = OLD.crl(1, ())
    assert crl.read(text, OLD.pair.cert, "it").number == 1
    with pytest.raises(ConfigError, match="it has ended"):
        crl.read(text, OLD.pair.cert, "it", NOW + timedelta(days=2))
