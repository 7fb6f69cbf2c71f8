"""Files in the store by their content: known under any name, gone on with after any stop, given back whole."""

import gzip
import json
from pathlib import Path

import pytest

from headrace.errors import ConfigError, FatalError, TransientError
from headrace.readers.source import Source
from headrace.store.folder import FolderStore
from headrace.uploads.evidence import Evidence, identify

DATA = bytes(range(256)) * 10  # 2,560 bytes: three chunks of 1,000


class Falling(FolderStore):
    """A store that is away after so many writes."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.left, self.written = 1000, list[str]()

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> bool:
        if self.left == 0:
            raise TransientError("the store is away")
        self.left -= 1
        self.written.append(key)
        return super().put(key, data, if_absent=if_absent)


@pytest.fixture
def store(tmp_path: Path) -> Falling:
    it = Falling(tmp_path / "store")
    it.ensure_bucket()
    return it


def file(tmp_path: Path, name: str = "a.csv", data: bytes = DATA) -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def test_a_file_comes_back_as_it_lay(tmp_path: Path, store: Falling) -> None:
    evidence, steps = Evidence(store, 1000), list[int]()
    for name, data in (("a.csv", DATA), ("b.csv.gz", gzip.compress(b"t,x\n" * 900)), ("empty.csv", b"")):
        with Source(file(tmp_path, name, data)) as source:
            made = evidence.ship(source, identify(source), steps.append)
        evidence.fetch(made, tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == data
        assert (made.name, made.raw_size) == (name, len(data))
    assert steps[:3] == [1000, 2000, 2560]


def test_the_same_content_is_known_under_another_name_and_packed(tmp_path: Path, store: Falling) -> None:
    evidence = Evidence(store, 1000)
    with Source(file(tmp_path)) as source:
        first = evidence.ship(source, identify(source))
    written = len(store.written)
    for path in (
        file(tmp_path, "copy.csv"),
        file(tmp_path, "c.gz", gzip.compress(DATA, 1)),
        file(tmp_path, "d", gzip.compress(DATA, 9)),
    ):
        with Source(path) as source:
            assert evidence.ship(source, identify(source)) == first
    assert len(store.written) == written
    with Source(file(tmp_path, "other.csv", DATA + b"x")) as source:
        assert identify(source).id != first.recording


def test_after_a_stop_at_any_write_only_the_rest_is_written(tmp_path: Path, store: Falling) -> None:
    path = file(tmp_path)
    for stop in range(5):
        root = FolderStore(tmp_path / f"store{stop}")
        root.ensure_bucket()
        it = Falling(root.root)
        it.left = stop
        with Source(path) as source:
            known = identify(source)
            if stop < 4:  # three chunks and the manifest
                with pytest.raises(TransientError):
                    Evidence(it, 1000).ship(source, known)
                assert Evidence(it, 1000).find(known.id) is None
            it.left = 1000
            made = Evidence(it, 1000).ship(source, known)
        assert len(it.written) == len(set(it.written)) == 4
        assert Evidence(it, 1000).find(known.id) == made


def test_a_file_that_changes_meanwhile_is_not_kept(tmp_path: Path, store: Falling) -> None:
    path = file(tmp_path)
    with Source(path) as source:
        known = identify(source)
        path.write_bytes(DATA + b"one more row\n")
        with pytest.raises(ConfigError, match=r"a.csv was changed while it was read"):
            Evidence(store, 1000).ship(source, known)
    assert Evidence(store, 1000).find(known.id) is None


def test_a_chunk_that_is_not_what_its_name_says_is_found(tmp_path: Path, store: Falling) -> None:
    with Source(file(tmp_path)) as source:
        made = Evidence(store, 1000).ship(source, identify(source))
    store.put(f"_uploads/chunks/{made.chunks[1]}", b"something else")
    with pytest.raises(FatalError, match="is not what its name says"):
        Evidence(store, 1000).fetch(made, tmp_path / "back")


def test_a_manifest_can_be_read_by_anyone(tmp_path: Path, store: Falling) -> None:
    with Source(file(tmp_path)) as source:
        made = Evidence(store, 1000).ship(source, identify(source))
    said = json.loads(store.get(f"_uploads/recordings/{made.recording}.json"))
    assert said["chunks"] == list(made.chunks)


def test_a_broken_gzip_file_is_said(tmp_path: Path) -> None:
    with (
        Source(file(tmp_path, "a.gz", gzip.compress(DATA)[:-20])) as source,
        pytest.raises(ConfigError, match="a broken gzip file"),
    ):
        identify(source)
