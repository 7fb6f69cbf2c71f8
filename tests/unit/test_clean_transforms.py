"""Transforms in clean: a change takes effect at an offset that is committed first, whatever dies and when."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headrace.config import Config
from headrace.errors import ConfigError
from headrace.protocol.clean_note import CleanNote, Counts, Version, adopt, decode, encode, in_force, since
from headrace.protocol.tail import MAX_NOTE_BYTES, Tail
from headrace.protocol.versions import Parts, digest_of, named
from headrace.protocol.wire import Position
from headrace.transforms.code import read
from headrace.transforms.run import Result
from headrace.transforms.table import Columns, fields_of
from processors.clean.batch import decided, raw_batch, verdicts
from processors.clean.calibrating import RULE as CALIBRATION
from processors.clean.partition import RawPartition
from processors.clean.schemas import known_of
from processors.clean.transforming import RULE, transformed
from processors.clean.transforms import Transforms
from processors.group import relay
from processors.group.partition import Found
from processors.group.schemas import Schemas
from processors.group.token import Token
from tests.profiles import examples
from tests.unit.clean_world import (
    BASE,
    CLEAN,
    CODEC,
    CONTRACT,
    PARTITIONS,
    RAW,
    SCHEMA_ID,
    Make,
    Process,
    ToyTransform,
    World,
    cleaning,
    transforming,
)
from tests.unit.clean_world import (
    KINDS as MESSAGES,
)
from tests.unit.lives import live_refused
from tests.unit.toy_kafka import Log, offset

TEXTS = {"a": "1 50", "b": "2 10", "c": "4 100"}  # b fails on every good reading
HEAD = "device_id,valid_from,field,offset,gain\n"
TABLES = {"j": f"{HEAD}d,2000-01-01,x,0.5,\n", "k": f"{HEAD}d,2000-01-01,x,,1e307\n"}  # k refuses every good reading
NAMES = ["", *TEXTS, *TABLES, "ja", "jc", "kc"]  # versions: a calibration's name, then a transform's
DIGEST = {name: digest_of(text) for name, text in (TEXTS | TABLES).items()}
KINDS = st.sampled_from(["good", "good", "good", "changed", "far", "refused", "gap"])
RECORDS = st.lists(st.tuples(KINDS, st.integers(0, 6)), max_size=12)
# A process: the version it runs ("" for none), its steps to live, and what is written before the next one begins.
LIVES = st.lists(
    st.tuples(st.sampled_from(NAMES), st.integers(1, 60), st.lists(st.tuples(KINDS, st.just(0)), max_size=3)),
    max_size=6,
)


@pytest.fixture(scope="module")
def makes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Make]:
    folder = tmp_path_factory.mktemp("transforms")
    for name, text in (TEXTS | TABLES).items():
        (folder / name).write_text(text)
    split = {name: {n in TABLES: folder / n for n in name} for name in NAMES}
    return {
        name: transforming(parts.get(False), parts.get(True)) if name else cleaning for name, parts in split.items()
    }


def version(name: str) -> str:
    """What the note calls the version."""
    parts = {n in TABLES: DIGEST[n] for n in name}
    return named(Parts(parts.get(False, ""), parts.get(True, "")))


def version_of(world: World, value: bytes | None) -> str:
    """By which version a row was made, by its notes; "" if they name none."""
    notes = filter(None, (CODEC.read(value or b"")["_quality"] or "").split(";"))
    found = {rule: digest for note in notes for _, rule, digest in [note.split(":")] if rule in {RULE, CALIBRATION}}
    names = {digest[:8]: name for name, digest in DIGEST.items()}
    return "".join(names[found[rule]] for rule in (CALIBRATION, RULE) if rule in found)


@examples(0.8)
@example([], [("good", 0)] * 2, [("b", 12, []), ("", 3, [])])  # a letter went out, and its batch was not committed
@given(RECORDS, RECORDS, LIVES)
def test_a_change_of_the_transform_between_crashes_takes_effect_once_and_for_all(
    makes: dict[str, Make],
    one: list[tuple[str, int]],
    two: list[tuple[str, int]],
    lives: list[tuple[str, int, list[tuple[str, int]]]],
) -> None:
    """Each raw offset is a row, a letter or a repeat, once; a row that is made again has the same bytes."""
    world = World()
    for partition, kinds in zip(PARTITIONS, (one, two), strict=True):
        world.write(partition, kinds)
    for name, until, more in lives:
        live_refused(world, makes[name], "clean", until)
        world.write(PARTITIONS[0], more)
    noted = world.kafka.committed.get((RAW, 0))
    last = in_force(decode(noted[1]).versions, 10**9) if noted else ""
    names = {version(name): name for name in NAMES}
    Process(world, makes[names[last]]).run_dry()  # the version that clean was left in
    letters = world.letters()
    for partition in PARTITIONS:
        log, target = world.kafka.log(*partition), (CLEAN, partition[1])
        world.values(target)  # fails where a row was made again by another version
        rows = Counter(world.rows(target))
        assert world.chained(target)
        repeats = world.repeats(partition)
        for m in log.records:
            at = (m.leader_epoch() or 0, offset(m))
            made = rows[Position(*at, 0)] + ((partition, *at) in letters)
            assert made == (0 if offset(m) in repeats else 1), (partition, at)


@examples(0.4)
@example(12, 35, 7, "a", "c")  # the new version emits rows, and dies before its batch is committed
@example(12, 35, 7, "ja", "jc")
@given(
    st.integers(1, 12), st.integers(1, 40), st.integers(1, 40),
    st.sampled_from(["", "a", "j", "ja"]), st.sampled_from(["c", "jc"]),
)  # fmt: skip
def test_rows_below_the_switch_are_by_the_old_version_and_from_it_on_by_the_new(
    makes: dict[str, Make], n: int, until: int, again: int, before: str, after: str
) -> None:
    world = World()
    world.write(PARTITIONS[0], [("good", 0)] * n)
    live_refused(world, makes[before], "clean", until)
    emitted = len(world.kafka.log(CLEAN, 0).records)
    live_refused(world, makes[after], "clean", again)
    Process(world, makes[after]).run_dry()
    made = [version_of(world, v) for _, v in sorted(world.values((CLEAN, 0)).items())]
    assert made == [before] * emitted + [after] * (n - emitted)
    kept = {f"_transforms/{DIGEST[it]}.{'csv' if it in TABLES else 'py'}" for it in after}
    assert set(world.store) >= kept or emitted == n


def test_a_new_version_is_used_at_once_where_the_old_one_emitted_nothing(makes: dict[str, Make]) -> None:
    """A transform that hangs, or kills clean, can be replaced: its text is not asked for again."""
    world = World()
    world.write(PARTITIONS[0], [("good", 0)] * 3)
    live_refused(world, makes["a"], "clean", 2)
    Process(world, makes["a"])  # joined, and never got a turn
    world.kafka.owners.clear()
    note = CleanNote("A" * 22, 0, versions=(Version(0, "0" * 16),))  # of a text that nobody has
    world.kafka.committed[RAW, 0] = (0, encode(note))
    Process(world, makes["c"]).run_dry()
    assert {version_of(world, v) for v in world.values((CLEAN, 0)).values()} == {"c"}


def test_rows_to_be_made_again_by_a_version_that_is_gone_stop_clean_with_the_way_out(makes: dict[str, Make]) -> None:
    world = World()
    world.write(PARTITIONS[0], [("good", 0)] * 3)
    for until in range(1, 60):  # until it has emitted a row, and committed none
        live_refused(world, makes["a"], "clean", until)
        if world.kafka.log(CLEAN, 0).records:
            break
    world.store.clear()
    with pytest.raises(ConfigError, match="is not in the store as _transforms/"):
        Process(world, makes["c"]).run_dry()
    Process(world, makes["a"]).run_dry()
    Process(world, makes["c"]).run_dry()


def test_a_stream_without_a_transform_keeps_a_note_without_versions(makes: dict[str, Make]) -> None:
    world = World()
    world.write(PARTITIONS[0], [("good", 0)] * 3)
    Process(world, makes["a"]).run_dry()
    assert world.note(PARTITIONS[0])[1].versions != ()
    Process(world, makes[""]).run_dry()
    world.write(PARTITIONS[0], [("good", 0)])
    Process(world, makes[""]).run_dry()
    assert world.note(PARTITIONS[0])[1].versions == ()
    assert "t" not in json.loads(encode(world.note(PARTITIONS[0])[1]))


ONE = st.text("0123456789abcdef", min_size=16, max_size=16)
DIGESTS = ONE | st.builds(Parts, ONE, ONE).map(named)
VERSIONS = st.lists(st.builds(Version, st.integers(0, 2**63 - 1), DIGESTS), max_size=3, unique_by=lambda v: v.start)


@given(VERSIONS.map(lambda found: tuple(sorted(found))), st.integers(0, 2**62), DIGESTS, st.integers(0, 2**62))
def test_versions_say_the_same_after_what_is_over_is_left_out(
    versions: tuple[Version, ...], start: int, digest: str, at: int
) -> None:
    after = adopt(versions, start, digest)
    assert in_force(after, start + at) == digest
    assert all(in_force(after, o) == in_force(versions, o) for o in (start - 1, start // 2, 0) if o < start)
    assert in_force(since(after, at), at) == in_force(after, at)
    big = 2**63 - 1
    note = CleanNote(
        "A" * 22, big, Position(2**31 - 1, big, 2**31 - 1), Tail(big, 2**31 - 1, 2**32 - 1), versions=versions
    )
    assert decode(encode(note)) == note
    assert len(encode(note)) <= MAX_NOTE_BYTES


def test_the_text_in_the_store_is_that_of_the_version(makes: dict[str, Make], tmp_path: Path) -> None:
    world = World()
    world.write(PARTITIONS[0], [("good", 0)])
    Process(world, makes["a"]).run_dry()
    (key,) = world.store
    (tmp_path / "again.py").write_bytes(world.store[key])
    assert key == f"_transforms/{read(tmp_path / 'again.py').digest}.py"


WHOLE = """
def transform(df):
    assert not (df.x == 24).any(), "twenty-four"
    df["x"] = df.x.fillna(7) * 2
    df.loc[df.x == 40, "x"] = 20
    return df
"""


def test_what_the_rules_let_pass_is_transformed_and_noted_and_what_stays_keeps_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "toy.py").write_text(WHOLE)
    stream = {"toy": {"transform": tmp_path / "toy.py"}}
    they = Transforms(Config.model_validate({"streams": stream}), lambda: pytest.fail("nothing is kept here"))
    digest = they.wanted("toy")
    it = RawPartition((RAW, 0), Token(), Found(CLEAN, "id", 0, 9, None, ""), None, 4, lambda _: {})
    it.note = replace(it.note, versions=(Version(1, digest),))
    failing = CODEC.write(SCHEMA_ID, BASE | {"x": 24.0})
    found = Log()  # the first lies before the version begins
    for value in (*(MESSAGES[kind] for kind in ("changed", "good", "changed")), failing, MESSAGES["refused"], b"junk"):
        found.append((RAW, 0), value, b"d")
    schemas = Schemas(lambda _: CONTRACT.text, known_of)
    batch = raw_batch(it, found.records)
    (judged,) = verdicts([batch], schemas)
    out = decided(batch, transformed(batch, judged, schemas, they, lambda: None), {CLEAN: 10**6})
    rows = {m: value for m, (_, value, _) in zip([0, 1, 2], out.rows, strict=True)}
    notes = [CODEC.read(value or b"") for value in rows.values()]
    assert [(r["x"], r["_quality"]) for r in notes] == [
        (None, "x:sentinel:null"),
        (20.0, None),
        (14.0, f"x:sentinel:null;x:transform:{digest[:8]}"),
    ]
    assert rows[1] == MESSAGES["good"]
    failed, refused, junk = out.letters
    headers = dict(failed.headers)
    assert (headers["reason"], headers["rule"]) == (b"transform", b"transform")
    assert (
        headers["detail"]
        == f"version {digest[:8]} of the transform failed: AssertionError: twenty-four (line 3)".encode()
    )
    assert failed.value == failing
    assert [dict(it.headers)["reason"] for it in (refused, junk)] == [b"out_of_range", b"malformed"]
    assert out.counts == Counts(kept=1, changed=2, rejected=3)


def test_one_that_is_not_row_wise_is_refused_before_a_row_is_emitted(tmp_path: Path) -> None:
    (tmp_path / "toy.py").write_text("def transform(df):\n    df['x'] = df.x - df.x.mean()\n    return df\n")
    stream = {"toy": {"transform": tmp_path / "toy.py"}}
    they = Transforms(Config.model_validate({"streams": stream}), lambda: pytest.fail("nothing is kept here"))
    columns: dict[str, list[Any]] = {f.name: [1] * 4 for f in fields_of(CONTRACT)} | {
        "device_id": ["d"] * 4,
        "x": [1.0, 2.0, 3.0, 9.0],
    }
    _, transform = they.of(they.wanted("toy"))
    assert transform is not None
    with pytest.raises(ConfigError, match=r"toy\.py, version .*: it is not row-wise"):
        they.run(transform, 7, fields_of(CONTRACT), columns, lambda: None)


def test_a_batch_that_took_long_is_followed_by_smaller_ones_until_it_goes_fast_again(makes: dict[str, Make]) -> None:
    """Else a transform that fails on each row holds up the other streams for as long as a full batch takes."""
    world, now, slow = World(), [0.0], [0.2]
    world.write(PARTITIONS[0], [("good", 0)] * 30)
    run = ToyTransform.run

    def slowly(it: ToyTransform, fields: object, columns: Columns, alive: Any) -> Result:
        now[0] += slow[0] * len(columns["x"])
        return run(it, fields, columns, alive)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ToyTransform, "run", slowly)
        patch.setattr(relay, "_TURN_SECONDS", 0.4)
        patch.setattr(relay, "time", SimpleNamespace(monotonic=lambda: now[0]))  # no time passes but in the transform
        process = Process(world, makes["a"])
        process.turn()
        process.turn()
        assert 1 <= process.relay._count <= 2
        slow[0] = 0.0
        process.run_dry()
        assert process.relay._count == 5
