"""Group 2: Kafka, the registry, the S3 server and Mosquitto killed, stopped, slow, or answering nonsense."""

from collections.abc import Callable

from tests.faults.fault import Fault
from tests.faults.fleet import Shape
from tests.faults.health import flat_memory, noticed
from tests.faults.proxy import Manners
from tests.faults.services import WORDS, ended, killed
from tests.faults.world import SERVICES, World

DEPENDENTS = {"kafka": ("bridge", "clean", "archive"), "store": ("archive",), "mosquitto": ("bridge",)}
S3_SECONDS = (12.0, 18.0)


def paused(name: str, seconds: float) -> Callable[[World], None]:
    """SIGSTOP: connections stay open, nothing answers. Who depends on it says so, and takes no more memory."""

    def strike(world: World) -> None:
        with world.stopped(name), noticed(world, *DEPENDENTS[name]), flat_memory(world):
            world.sleep(seconds)
        world.sleep(1)
        world.wait_ready()

    return strike


def down(name: str, seconds: float) -> Callable[[World], None]:
    """Killed, and nobody starts it again for a while; nor anything else that ends meanwhile."""

    def strike(world: World) -> None:
        with world.unsupervised(), flat_memory(world), noticed(world, *DEPENDENTS[name]):
            world.kill(name)
            world.sleep(seconds)
        world.wait_ready()

    return strike


def s3(manners: Callable[[], Manners], *, restart: bool = False) -> Callable[[World], None]:
    """The S3 server answers as told for a while; with `restart`, the archive is killed in the middle of it."""

    def strike(world: World) -> None:
        with world.s3.behaving(manners()):
            world.sleep(*S3_SECONDS)
            if restart:
                world.kill("archive")
                world.sleep(*S3_SECONDS)

    return strike


def registry(manners: Callable[[], Manners]) -> Callable[[World], None]:
    """The registry answers as told, to services that have just been started and know no schema."""

    def strike(world: World) -> None:
        with world.registry.behaving(manners()):
            world.kill(*SERVICES)
            world.sleep(10, 15)
        world.wait_ready()

    return strike


def away(name: str) -> Callable[[World], None]:
    """The bridge stands still, so that a queue forms in the broker; then that is killed."""

    def strike(world: World) -> None:
        with world.stopped("bridge"):
            world.sleep(3, 6)
            pid = world.pid(name)
            world.kill(name)
            world.wait_restarted(name, pid)
        world.sleep(1)
        world.wait_ready()

    return strike


def killed_waiting(name: str) -> Callable[[World], None]:
    """Kafka stands still, and a service that waits for it is killed with all that it holds."""

    def strike(world: World) -> None:
        pid = world.pid(name)
        with world.stopped("kafka"):
            world.sleep(2, 5)
            world.kill(name)
        world.wait_restarted(name, pid)

    return strike


def wiped(world: World) -> None:
    """Mosquitto killed, and its file of sessions and queues gone with it."""
    with world.stopped("bridge"):
        world.sleep(2, 4)
        with world.unsupervised():
            world.kill("mosquitto")
            (world.state.data / "mosquitto" / "mosquitto.db").unlink(missing_ok=True)
    world.sleep(1)
    world.wait_ready()


PUT = ("PUT",)
RECEIPTS = Shape(rate=600, receipts=True)
FAULTS = [
    Fault("kafka-killed", 2, "Kafka killed (kill -9), restarted at once", killed("kafka")),
    Fault("kafka-restarted", 2, "Kafka told to end, restarted", ended("kafka")),
    Fault("kafka-frozen", 2, "Kafka stopped for 60 s, then resumed", paused("kafka", 60), seeds=3),
    Fault("kafka-down", 2, "Kafka down for 5 minutes", down("kafka", 300), seeds=3),
    *(
        Fault(f"{name}-killed-waiting", 2, f"{WORDS[name]} killed while it waits for Kafka", killed_waiting(name))
        for name in SERVICES
    ),
    Fault("registry-killed", 2, "the registry killed", killed("registry")),
    Fault("registry-hung", 2, "the registry hangs as the services start", registry(lambda: Manners(hang=True))),
    Fault("registry-slow", 2, "the registry takes 2 s for each answer", registry(lambda: Manners(delay=2.0))),
    Fault("registry-errors", 2, "half of the registry's answers are 500 or 503", registry(lambda: Manners(errors=0.5))),
    Fault("s3-killed", 2, "the S3 server killed, restarted at once", killed("store")),
    Fault("s3-down", 2, "the S3 server down for a minute", down("store", 60), seeds=3),
    Fault("s3-away", 2, "the S3 server down for 5 minutes", down("store", 300), seeds=3),
    Fault("s3-frozen", 2, "the S3 server stopped for 30 s", paused("store", 30)),
    Fault("s3-errors", 2, "30 % of the S3 server's answers are 500 or 503", s3(lambda: Manners(errors=0.3))),
    Fault("s3-cut", 2, "half of the connections cut in the middle of a PUT", s3(lambda: Manners(PUT, cut=0.5))),
    Fault("s3-mute", 2, "half of the PUTs succeed, and their answer is lost", s3(lambda: Manners(PUT, mute=0.5))),
    Fault(
        "s3-mute-killed", 2, "answers of PUTs are lost, then the archive is killed",
        s3(lambda: Manners(PUT, mute=0.8), restart=True),
    ),
    Fault("s3-slow", 2, "the S3 server ten times slower, 1 s at least", s3(lambda: Manners(delay=1.0, slowness=9.0))),
    Fault("mosquitto-frozen", 2, "Mosquitto stopped for 30 s", paused("mosquitto", 30)),
    Fault("mosquitto-restarted", 2, "Mosquitto told to end, restarted", ended("mosquitto")),
    Fault("mosquitto-killed", 2, "Mosquitto killed (kill -9)", killed("mosquitto"), bound=True),
    Fault(
        "mosquitto-killed-away", 2, "Mosquitto killed while the bridge is away", away("mosquitto"), bound=True,
    ),
    Fault("mosquitto-killed-receipts", 2, "with receipts: Mosquitto killed", killed("mosquitto"), RECEIPTS),
    Fault(
        "mosquitto-killed-away-receipts", 2, "with receipts: Mosquitto killed while the bridge is away",
        away("mosquitto"), RECEIPTS,
    ),
    Fault("mosquitto-wiped-receipts", 2, "with receipts: Mosquitto loses all it had", wiped, RECEIPTS),
    Fault("bridge-killed-receipts", 2, "with receipts: the bridge killed", killed("bridge"), RECEIPTS),
    Fault("kafka-killed-receipts", 2, "with receipts: Kafka killed", killed("kafka"), RECEIPTS),
]  # fmt: skip
