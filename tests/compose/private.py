"""A Docker daemon of one's own: Debian's packages, everything in one folder, a network that ends with it.

It writes no rule of its own into iptables (`--iptables=false`): published ports go through docker-proxy, and one rule
that is made and taken away here lets containers out, for builds. So it gets on with other engines of the machine, and
what is left at the end is what was there. Networks are not isolated from each other, though.
"""

import fcntl
import ipaddress
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from headrace.errors import ConfigError, FatalError
from headrace.stack import apt
from headrace.stack.download import cache_dir
from tests.waiting import stop_process

PACKAGES = ("docker.io", "iptables", "iproute2")
CLIENT = "/usr/bin/docker"  # the package's: of the daemon's own version, and so it builds with BuildKit
SBIN = "/usr/sbin:/sbin"
FORWARD, FORWARDED = Path("/proc/sys/net/ipv4/ip_forward"), ".ip_forward"
START_SECONDS, STOP_SECONDS = 180, 45  # either takes one or two on an idle machine
MARK = ("-m", "comment", "--comment")
BRIDGE = "hrtest"  # and the process id: at most 15 characters in all


@contextmanager
def daemon(tmp: Path) -> Iterator[tuple[str, str]]:
    """A private engine: its client, and the address for DOCKER_HOST. ConfigError where none can be had."""
    if sys.platform != "linux" or os.geteuid() != 0:
        raise ConfigError("no Docker engine answers, and only root on Debian or Ubuntu can start one for the tests")
    _install()
    bridge, subnet = f"{BRIDGE}{os.getpid()}", _free_subnet()
    # A socket's path may have 107 bytes; pytest's folders are long.
    with tempfile.TemporaryDirectory(prefix="hrtest-", ignore_cleanup_errors=True) as short, ExitStack() as stack:
        tmp.mkdir(parents=True, exist_ok=True)
        folder, run = Path(tempfile.mkdtemp(prefix="docker-", dir=tmp)), Path(short)
        stack.callback(_remove, folder, run)
        stack.enter_context(_network(bridge, subnet))
        host, containerd = f"unix://{run / 'docker.sock'}", run / "containerd.sock"
        stack.enter_context(_containerd(folder, run, containerd))
        stack.enter_context(_dockerd(_argv(folder, run, host, bridge, subnet), folder, host))
        yield CLIENT, host


def _install() -> None:
    cache_dir().mkdir(parents=True, exist_ok=True)
    with (cache_dir() / ".apt.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if Path(CLIENT).exists() and all(_find(name) for name in ("dockerd", "iptables", "ip")):
            return
        apt.install(PACKAGES, units=("docker.service", "docker.socket", "containerd.service"))


def _find(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path=SBIN)


def _argv(folder: Path, run: Path, host: str, bridge: str, subnet: ipaddress.IPv4Network) -> list[str]:
    pools = list(subnet.subnets(new_prefix=17))
    settings = {
        "host": host,
        "containerd": run / "containerd.sock",
        "data-root": folder / "data",
        "exec-root": run / "exec",
        "pidfile": run / "docker.pid",
        "bridge": bridge,
        "fixed-cidr": next(pools[0].subnets(new_prefix=24)),
        "default-address-pool": f"base={pools[1]},size=24",
        "iptables": "false",
        "exec-opt": "native.cgroupdriver=cgroupfs",
        "cgroup-parent": f"/{bridge}",
        "log-level": "warn",
    }
    return ["dockerd", *(f"--{k}={v}" for k, v in settings.items())]


@contextmanager
def _containerd(folder: Path, run: Path, socket: Path) -> Iterator[None]:
    """Started here and not by dockerd, which gives it 15 seconds: too few on a busy machine."""
    settings = run / "containerd.toml"
    settings.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n', encoding="ascii")
    argv = ["containerd", f"--config={settings}", f"--address={socket}", "--log-level=warn"]
    argv += [f"--root={folder / 'containerd'}", f"--state={run / 'containerd'}"]
    with _process(argv, folder / "containerd.log", socket.exists):
        yield


@contextmanager
def _dockerd(argv: list[str], folder: Path, host: str) -> Iterator[None]:
    env = {**os.environ, "DOCKER_HOST": host}

    def answers() -> bool:
        return subprocess.run([CLIENT, "info"], env=env, capture_output=True, check=False).returncode == 0

    with _process(argv, folder / "dockerd.log", answers):
        try:
            yield
        finally:
            _empty(env)


@contextmanager
def _process(argv: list[str], log: Path, ready: Callable[[], bool]) -> Iterator[None]:
    """A daemon, for as long as the context lasts. ConfigError, with the end of its log, where it does not get ready."""
    env = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:{SBIN}"}
    # Should these tests be killed, it is told to end.
    argv = ["setpriv", "--pdeathsig", "TERM", *argv]
    with log.open("wb") as out:
        process = subprocess.Popen(
            argv, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise ConfigError(f"{argv[3]} does not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.2)
        yield
    finally:
        stop_process(process, STOP_SECONDS)


def _empty(env: dict[str, str]) -> None:
    """Remove every container and network: their processes, mounts and bridges would outlive the daemon."""
    for listing, removal in (
        (["ps", "--all", "--quiet"], ["rm", "--force", "--volumes"]),
        (["network", "ls", "--quiet", "--filter", "type=custom"], ["network", "rm"]),
    ):
        with suppress(subprocess.TimeoutExpired):
            found = subprocess.run([CLIENT, *listing], env=env, capture_output=True, text=True, check=False, timeout=60)
            if ids := found.stdout.split():
                subprocess.run([CLIENT, *removal, *ids], env=env, capture_output=True, check=False, timeout=120)


def _free_subnet() -> ipaddress.IPv4Network:
    """A /16 that no route of this machine meets."""
    listed = subprocess.run(["ip", "-4", "route", "show", "table", "all"], capture_output=True, text=True, check=False)
    taken = []
    for word in listed.stdout.split():
        with suppress(ValueError):
            net = ipaddress.IPv4Network(word, strict=False)
            taken += [net] if net.prefixlen else []
    for second in range(200, 255):
        subnet = ipaddress.IPv4Network(f"10.{second}.0.0/16")
        if not any(subnet.overlaps(net) for net in taken):
            return subnet
    raise ConfigError("no free /16 between 10.200.0.0 and 10.254.0.0 for a Docker engine")


@contextmanager
def _network(bridge: str, subnet: ipaddress.IPv4Network) -> Iterator[None]:
    """The default bridge of the engine, and the way out for its containers."""
    _sweep()
    rule = ["POSTROUTING", "-s", str(subnet), "!", "-d", str(subnet), *MARK, bridge, "-j", "MASQUERADE"]
    with ExitStack() as undo:
        _ip("link", "add", bridge, "type", "bridge")
        undo.callback(_ip, "link", "delete", bridge)
        _ip("address", "add", f"{subnet[1]}/17", "dev", bridge)
        _ip("link", "set", bridge, "up")
        _tool("iptables", "-t", "nat", "-A", *rule)
        undo.callback(_tool, "iptables", "-t", "nat", "-D", *rule)
        undo.callback(_restore_forwarding, bridge)
        _forward(bridge)
        yield


def _sweep() -> None:
    """Take away the bridges and rules of engines whose tests were killed."""
    rules = _tool("iptables", "-t", "nat", "-S", "POSTROUTING").splitlines()
    found = {name for rule in rules for name in re.findall(rf"\b{BRIDGE}\d+\b", rule)}
    found |= {p.name for p in Path("/sys/class/net").glob(f"{BRIDGE}*")}
    for bridge in found:
        if Path("/proc", bridge.removeprefix(BRIDGE)).exists():
            continue
        for rule in rules:
            if bridge in rule.split():
                _tool("iptables", "-t", "nat", "-D", *rule.split()[1:])
        if Path("/sys/class/net", bridge).exists():
            _ip("link", "delete", bridge)


def _forward(bridge: str) -> None:
    if _alone(bridge):
        (cache_dir() / FORWARDED).write_text(FORWARD.read_text())
    FORWARD.write_text("1\n")


def _restore_forwarding(bridge: str) -> None:
    """As it was before the first engine of those that ran at the same time; the last one to end does it."""
    before = cache_dir() / FORWARDED
    if _alone(bridge) and before.is_file():
        FORWARD.write_text(before.read_text())
        before.unlink()


def _alone(bridge: str) -> bool:
    return not [p for p in Path("/sys/class/net").glob(f"{BRIDGE}*") if p.name != bridge]


def _ip(*args: str) -> None:
    _tool("ip", *args)


def _tool(name: str, *args: str) -> str:
    done = subprocess.run([_find(name) or name, *args], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise FatalError(f"{name} {' '.join(args)}: {done.stderr.strip()}")
    return done.stdout


def _remove(folder: Path, run: Path) -> None:
    """Unmount what lies below the engine's folders, and remove them; its control groups too."""
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in sorted(mounted, key=len, reverse=True):
        if Path(point).is_relative_to(folder) or Path(point).is_relative_to(run):
            subprocess.run(["umount", "--lazy", point], capture_output=True, check=False)
    shutil.rmtree(folder, ignore_errors=True)
    for group in Path("/sys/fs/cgroup").glob(f"**/{BRIDGE}{os.getpid()}"):
        for inner in sorted(group.glob("**/"), key=lambda p: len(p.parts), reverse=True):
            with suppress(OSError):
                inner.rmdir()
