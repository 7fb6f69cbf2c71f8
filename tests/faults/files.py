"""Group 10: files are uploaded while devices publish, and something goes wrong.

Afterwards each row of each file is in the lake once, with the values and the number that it has in the file, or it is a
dead letter once: uploaded.py reads the file itself.
"""

import gzip
import signal
from collections.abc import Callable
from functools import partial

from tests.faults import uploaded
from tests.faults.derived import zombie
from tests.faults.fault import Fault
from tests.faults.fleet import Shape
from tests.faults.proxy import Manners
from tests.faults.services import ended, frozen, killed, killed_again
from tests.faults.uploaded import Sample, Uploader
from tests.faults.world import World

GENTLE = Shape(rate=300)
TOUCHED = ("tests/faults/files.py", "tests/faults/uploaded.py")
Act = Callable[[World, Sample, Uploader], None]


def judged(act: Act) -> Callable[[World], None]:
    """Upload a file, `act` meanwhile, then upload it again until it is there, as a person would; then judge."""

    def strike(world: World) -> None:
        sample = uploaded.made(world)
        world.judges.append(partial(uploaded.judge, world, sample))
        with Uploader(world, sample.path) as uploader:
            act(world, sample, uploader)
            uploader.wait()
        for _ in range(3):
            with Uploader(world, sample.path) as uploader:
                if uploader.wait() == 0:
                    return
        raise AssertionError(f"the upload does not come to an end: {uploader.said()[-500:]}")

    return strike


def nothing(world: World, _sample: Sample, uploader: Uploader) -> None:
    """The measure for the others."""
    assert uploader.wait() == 0, uploader.said()[-500:]
    world.sleep(1)


def meanwhile(act: Callable[[World], None]) -> Act:
    """`act` once rows are sent."""

    def during(world: World, sample: Sample, _: Uploader) -> None:
        sample.wait_loading(world)
        act(world)

    return during


def at_once(act: Callable[[World], None]) -> Act:
    """`act` as the command begins."""
    return lambda world, _sample, _uploader: act(world)


def uploader_killed(world: World, _sample: Sample, uploader: Uploader) -> None:
    """kill -9 at any moment."""
    world.sleep(0, 8)
    uploader.signal(signal.SIGKILL)


def uploader_killed_often(world: World, sample: Sample, uploader: Uploader) -> None:
    """kill -9 at any moment, five times."""
    uploader_killed(world, sample, uploader)
    for _ in range(4):
        with Uploader(world, sample.path) as another:
            uploader_killed(world, sample, another)


def uploader_frozen(world: World, sample: Sample, uploader: Uploader) -> None:
    """Stopped, and resumed once another has uploaded the file."""
    world.sleep(1, 5)
    uploader.signal(signal.SIGSTOP)
    with Uploader(world, sample.path) as another:
        assert another.wait() == 0, another.said()[-500:]
    uploader.signal(signal.SIGCONT)


def twice(world: World, sample: Sample, _: Uploader) -> None:
    """Another uploads the same file at the same time."""
    world.sleep(0, 3)
    with Uploader(world, sample.path) as another:
        another.wait()


def by_two_names(world: World, sample: Sample, _: Uploader) -> None:
    """The same file under another name, and gzipped, at the same time."""
    other = sample.path.with_name(f"copy-{sample.path.name}")
    other.write_bytes(sample.path.read_bytes())
    packed = sample.path.with_name(f"packed-{sample.path.name}.gz")
    packed.write_bytes(gzip.compress(sample.path.read_bytes(), 1))
    with Uploader(world, other) as one, Uploader(world, packed) as two:
        one.wait()
        two.wait()


def changed(world: World, sample: Sample, uploader: Uploader) -> None:
    """The file is still being written: what is read first is none of its contents, or a part of them."""
    whole = sample.path.read_bytes()
    uploader.signal(signal.SIGKILL)
    sample.path.write_bytes(whole[: len(whole) // 2])
    with Uploader(world, sample.path) as early:
        world.sleep(0, 3)
        early.signal(signal.SIGSTOP)
        sample.path.write_bytes(whole)
        early.signal(signal.SIGCONT)
        early.wait()
    sample.halves += 1


def late(world: World) -> None:
    """Derive is stopped with rows on their way, its heir loads the file, then it goes on."""
    with world.unsupervised():
        world.signal("derive", signal.SIGSTOP)
        try:
            with world.extra("processors", "derive"):
                world.wait_joined()
                world.sleep(15)
                world.signal("derive", signal.SIGCONT)
                world.sleep(8)
        finally:
            world.signal("derive", signal.SIGCONT)
    world.wait_ready()


def store_away(world: World) -> None:
    """The S3 server fails for a while."""
    with world.s3.behaving(Manners(errors=1.0)):
        world.sleep(10, 20)


def registry_away(world: World) -> None:
    """The registry hangs while derive starts."""
    with world.registry.behaving(Manners(hang=True)):
        world.kill("derive")
        world.sleep(10, 15)


def kafka_away(world: World) -> None:
    """Kafka is stopped for a while."""
    with world.unsupervised(), world.stopped("kafka"):
        world.sleep(20)


def retention(world: World, sample: Sample, uploader: Uploader) -> None:
    """Orders are deleted before derive has read them: it stops and says so, offsets are deleted as its error says."""
    with world.unsupervised(), world.stopped("derive"):
        sample.wait_ordered(world)
        uploader.signal(signal.SIGKILL)
        uploaded.delete_orders(world)
        world.kill("derive")
    world.sleep(3)
    uploaded.forget_offsets(world)
    world.wait_ready()


def all_killed(world: World) -> None:
    """Clean, derive and the archive killed at once."""
    killed("clean", "derive", "archive")(world)


def _fault(name: str, says: str, act: Act) -> Fault:
    return Fault(f"files-{name}", 10, says, judged(act), GENTLE, seeds=3, setting="files", touches=TOUCHED)


FAULTS = [
    _fault("none", "a file is uploaded, no fault", nothing),
    _fault("uploader-killed", "the command killed (kill -9)", uploader_killed),
    _fault("uploader-killed-often", "the command killed five times", uploader_killed_often),
    _fault("uploader-frozen", "the command stopped, resumed when another has uploaded the file", uploader_frozen),
    _fault("twice", "a file uploaded twice at once", twice),
    _fault("two-names", "a file uploaded under another name and gzipped, at once", by_two_names),
    _fault("changed", "a file uploaded while it is still being written", changed),
    _fault("derive-killed", "derive killed while it loads", meanwhile(killed("derive"))),
    _fault("derive-killed-again", "derive killed while it loads, and twice more", meanwhile(killed_again("derive"))),
    _fault("derive-frozen", "derive stopped for 30 s while it loads", meanwhile(frozen("derive"))),
    _fault("derive-ended", "derive told to end while it loads", meanwhile(ended("derive"))),
    _fault("derive-zombie", "derive stopped while it loads, resumed when partitions have moved", meanwhile(zombie)),
    _fault("derive-late", "derive stopped with rows on their way, resumed when its heir is done", meanwhile(late)),
    _fault("clean-killed", "clean killed while a file is loaded", meanwhile(killed("clean"))),
    _fault("archive-killed", "the archive killed while a file is loaded", meanwhile(killed("archive"))),
    _fault("all-killed", "clean, derive and the archive killed at once", meanwhile(all_killed)),
    _fault("kafka-killed", "Kafka killed while a file is loaded", meanwhile(killed("kafka"))),
    _fault("kafka-away", "Kafka stopped for 20 s while a file is uploaded", at_once(kafka_away)),
    _fault("s3-away", "the S3 server fails while a file is uploaded", at_once(store_away)),
    _fault("s3-away-loading", "the S3 server fails while a file is loaded", meanwhile(store_away)),
    _fault("registry-away", "the registry hangs while derive starts", at_once(registry_away)),
    _fault("retention", "orders deleted before derive has read them", retention),
]
