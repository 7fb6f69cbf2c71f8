from hypothesis import example, given
from hypothesis import strategies as st

from headrace import deadletters
from headrace.deadletters import KafkaSource, Letter, ReadLetter, Stage, journal
from headrace.deadletters.journal import DropNote, Journal, RecordAt, RedriveNote, State
from headrace.errors import PoisonError, Reason

KEY, OTHER = b"k" * 16, b"o" * 16
ENDS = {"imu.raw": [4, 7]}


def read(it: Letter, offset: int = 0) -> ReadLetter:
    return ReadLetter(it.key, it.value, dict(it.headers), 0, offset, 1_700_000_000_000)


def letter(key: bytes = KEY, *more: tuple[str, bytes]) -> ReadLetter:
    made = deadletters.letter(
        PoisonError(Reason.OUT_OF_RANGE, "too hot"),
        b"\0bytes",
        stage=Stage.CLEAN,
        stream="imu",
        source=KafkaSource("imu.raw", "id", 0, 0, 0),
        original=[*more],
    )
    return read(made._replace(key=key))


def note(number: int = 1, *, sent: bool, key: bytes = KEY) -> ReadLetter:
    return read(RedriveNote(key, number, sent, ENDS, [RecordAt("imu.raw", 1, 7)] if sent else []).record())


def state(*records: ReadLetter) -> State:
    return journal.journal(records).state(KEY)


def test_a_letter_is_open_until_a_redrive_of_it_was_sent() -> None:
    assert state(letter()) is State.OPEN
    assert state(letter(), note(sent=False)) is State.BEGUN
    assert state(letter(), note(sent=False), note(sent=True)) is State.REDRIVEN
    assert state(letter(), note(sent=True), note(2, sent=False)) is State.BEGUN
    assert state(note(sent=True), letter()) is State.REDRIVEN, "compaction may have moved the older one away"


def test_the_newer_letter_that_a_redrive_ended_in_is_the_one_that_counts() -> None:
    newer = letter(OTHER, journal.mark(KEY, 1))
    found = journal.journal([newer, letter(), note(sent=True)])
    assert found.state(KEY) is State.REFUSED_AGAIN
    assert [it.key for it in found.became(KEY)] == [OTHER]
    assert [it.key for it in found.open()] == [OTHER]
    assert journal.journal([newer, letter(), note(2, sent=True)]).state(KEY) is State.REDRIVEN, "the second one passed"


def test_an_interrupted_redrive_is_finished_under_its_number() -> None:
    def following(*records: ReadLetter, again: bool = False) -> int | None:
        return journal.journal([letter(), *records]).next_number(KEY, again=again)

    assert following() == 1
    assert following(note(sent=False)) == 1
    assert following(note(sent=False), again=True) == 1
    assert following(note(sent=True)) is None
    assert following(note(sent=True), again=True) == 2


def test_a_note_lies_beside_the_letter_and_takes_the_place_of_the_one_before() -> None:
    begun, sent = RedriveNote(KEY, 1, False, ENDS, []), RedriveNote(KEY, 1, True, {}, [RecordAt("imu.raw", 1, 7)])
    assert begun.record().key == sent.record().key
    assert begun.record().key not in {KEY, RedriveNote(OTHER, 1, False, ENDS, []).record().key}
    assert journal.journal([read(begun.record())]).notes == {KEY: begun}
    assert journal.journal([read(begun.record()), read(sent.record())]).notes == {KEY: sent}


def test_a_letter_that_was_dropped_is_settled_and_a_redrive_of_it_counts_more() -> None:
    dropped = read(DropNote(KEY, "ana", 1_700_000_000_000_000, "stream imu").record())
    assert state(letter(), dropped) is State.DROPPED
    assert list(journal.journal([letter(), dropped]).open()) == []
    assert state(letter(), note(sent=False), dropped) is State.BEGUN, "what it has sent must be found again"
    assert state(letter(), dropped, note(sent=True)) is State.REDRIVEN
    assert state(letter(), letter(OTHER), read(DropNote(OTHER, "", 0, "").record())) is State.OPEN
    again = journal.journal([letter(), dropped, dropped])
    assert again.drops == {KEY: DropNote(KEY, "ana", 1_700_000_000_000_000, "stream imu")}
    assert again.next_number(KEY) == 1


def test_letters_met_again_count_once_and_their_bytes_are_not_kept() -> None:
    found = journal.journal([letter(), letter()])
    assert [it.value for it in found.letters.values()] == [b""]


@given(st.binary(max_size=80))
@example(b'{"letter":"6b","number":1,"sent":true,"ends":[1],"to":[]}')
@example(b'{"letter":"6b","number":1,"sent":true,"ends":{"imu.raw":null},"to":[]}')
@example(b'{"letter":"6b","number":1,"sent":true,"ends":{},"to":[[1]]}')
@example(b'{"letter":6,"number":1,"sent":true,"ends":{},"to":[]}')
@example(b"[]")
def test_bytes_that_anyone_may_have_written_are_no_note(value: bytes) -> None:
    foreign = ReadLetter(OTHER, value, {deadletters.NOTE: b"redrive", journal.REDRIVE: value}, 0, 0, 0)
    assert journal.journal([letter(), foreign]).state(KEY) is State.OPEN
    forged = ReadLetter(OTHER, value, {deadletters.NOTE: b"drop"}, 0, 0, 0)
    assert journal.journal([letter(), forged]).state(KEY) is State.OPEN
    marked = letter(OTHER, (journal.REDRIVE, value))
    assert journal.journal([marked]).state(OTHER) is State.OPEN


def test_ids_differ_by_letter_number_stream_and_element_and_by_nothing_else() -> None:
    made = {
        journal.event_id(key, number, stream, index)
        for key in (KEY, OTHER)
        for number in (1, 2, 11)
        for stream in ("imu", "imu2", "")
        for index in (0, 1, 10)
    }
    assert len(made) == 2 * 3 * 3 * 3
    assert {len(m) for m in made} == {16}
    assert journal.event_id(KEY, 1, "imu", 0) == journal.event_id(KEY, 1, "imu", 0)


def test_the_journal_of_no_records_is_empty() -> None:
    assert journal.journal([]) == Journal()
