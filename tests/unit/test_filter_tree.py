"""Of many filters, the tree finds those that a topic matches: just what each filter says by itself."""

from hypothesis import example, given
from hypothesis import strategies as st

from headrace.protocol import filters
from headrace.protocol.filtertree import FilterTree

LEVEL = st.sampled_from(["a", "b", "", "$x", "é", "a b"])
FILTER = st.lists(LEVEL | st.just("+"), min_size=1, max_size=4).flatmap(
    lambda levels: st.sampled_from(["/".join(levels), "/".join([*levels, "#"])])
) | st.just("#")
TOPIC = st.lists(LEVEL, min_size=1, max_size=5).map("/".join)


@given(st.lists(FILTER.filter(bool), max_size=12), TOPIC)
@example(["#", "+", "a/#", "a", "+/#", "a"], "a")
@example(["#", "+/x", "$x/#", "$x/+"], "$x/x")
@example(["/#", "+/+", "/+", "#"], "/")
def test_it_finds_what_each_filter_matches_in_the_order_given(texts: list[str], topic: str) -> None:
    parsed = [filters.parse(text, "test") for text in texts]
    tree = FilterTree((it, number) for number, it in enumerate(parsed))
    assert tree.matching(topic) == [number for number, it in enumerate(parsed) if it.matches(topic)]


def test_a_topic_of_wildcards_is_text() -> None:
    tree = FilterTree((filters.parse(text, "test"), text) for text in ("a/+", "a/#", "a/b"))
    assert tree.matching("a/+") == ["a/+", "a/#"]
    assert tree.matching("a/#") == ["a/+", "a/#"]
    assert tree.matching("+/b") == []
