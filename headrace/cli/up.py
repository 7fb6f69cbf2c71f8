"""`headrace up`: start the local stack."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from headrace.cli import context
from headrace.errors import ConfigError, HeadraceError
from headrace.stack import show
from headrace.stack.state import StackLock, State


def up(
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when the stack is ready, and leave it running.")
    ] = False,
    listen: Annotated[
        str | None,
        typer.Option(
            metavar="ADDR[:PORT]",
            help="Let devices on the network connect, with TLS and a password. 0.0.0.0: all addresses; off: none.",
            show_default=False,
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None,
        typer.Option(help="Certificate in PEM for --listen, instead of the stack's own.", show_default=False),
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key in PEM.", show_default=False)] = None,
    port: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PORT",
            help="Port of mqtt (1883), mqtt.services (1884), mqtt.certificates (8884), mqtt.psk (8885), "
            "mqtt.websockets (9001), kafka (9092), registry (8081), s3 (8333), hub (8090), hub.tls (8092), "
            "ingest (8091) or ingest.tls (8093). May be repeated.",
            show_default=False,
        ),
    ] = None,
    auto_ports: Annotated[bool, typer.Option("--auto-ports", help="Take another port when one is in use.")] = False,
    config: Annotated[
        Path | None,
        typer.Option(help="File with your streams and settings; the stack adds its connections.", show_default=False),
    ] = None,
) -> None:
    """Start the local stack: Mosquitto, Kafka, registry, object store, bridge and processors.

    Ports, --listen and --config are kept: the next `headrace up` uses them again.
    """
    from headrace.stack.plan import Wishes

    wishes = Wishes(
        config=absolute(config or context.config_file()),
        ports=_ports(port or []),
        auto_ports=auto_ports,
        listen=listen,
        tls_cert=tls_cert,
        tls_key=tls_key,
    )
    state = State(context.state())
    state.create()
    lock = state.lock()
    if lock is None:
        _already(state, wishes)
        return
    try:
        _start(state, wishes, lock, detach=detach)
    finally:
        lock.close()


def _start(state: State, wishes: Any, lock: StackLock, *, detach: bool) -> None:
    from headrace.stack import extras

    _compare(state, wishes)
    extras.ensure(_say)
    from headrace.stack import aot, download, java, mosquitto, plan, progress, supervisor

    cleared = supervisor.clear(state)
    if cleared:
        _say(f"stopped {cleared} processes that an earlier run had left behind")
    mosquitto.obtain(_say)
    progress.fetch_shown(list(download.parts().values()))
    aot.make(state.path, java.find(), download.parts(), _say)
    made = plan.make(state, wishes)
    for note in made.notes:
        _say(note)
    state.write_json("stack.json", {})
    if detach:
        _detached(state, lock)
    else:
        _foreground(made)


def _compare(state: State, wishes: Any) -> None:
    """Say which streams' contracts the registry will refuse. ConfigError for a configuration that can't be used."""
    from headrace.stack import plan, registered

    for line in registered.lines(registered.refusals(state, plan.check_config(state, wishes))):
        _say(line)


def _foreground(made: Any) -> None:
    from headrace.stack import figures, run, supervisor

    welcomed = False
    if not sys.stdout.isatty():
        before: dict[str, str] = {}

        def tick(snapshot: dict[str, Any]) -> None:
            nonlocal welcomed
            for line in show.lines(before, snapshot):
                typer.echo(line)
            if snapshot["state"] == "ready" and not welcomed:
                welcomed = True
                typer.echo(show.welcome(snapshot))

        run.run(made, supervisor.specs(made), tick)
        return
    from rich.console import Console
    from rich.live import Live

    console, told = Console(), figures.Figures(made.config)
    with Live(console=console, auto_refresh=False) as live:
        drawn, state = 0.0, ""

        def draw(snapshot: dict[str, Any]) -> None:
            nonlocal welcomed, drawn, state
            if snapshot["state"] == "ready" and not welcomed:
                welcomed = True
                console.print(show.welcome(snapshot), highlight=False, markup=False)
                console.print("Ctrl-C stops it.\n")
            if snapshot["state"] != state or time.monotonic() - drawn > 0.4:
                drawn, state = time.monotonic(), snapshot["state"]
                live.update(show.table(told.beside(snapshot)), refresh=True)

        run.run(made, supervisor.specs(made), draw)
    _say("stopped; the data stays")


def _detached(state: State, lock: StackLock) -> None:
    """Start the supervisor as a process of its own and wait until it is ready or has failed."""
    argv = [sys.executable, "-m", "headrace.stack.run", "--state", str(state.path), "--lock", str(lock.fileno())]
    env = {**os.environ, "PYTHONPATH": _python_path()}
    with state.log_file("stack").open("ab") as output:
        child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=[lock.fileno()],
            cwd=state.path,
            env=env,
        )
    try:
        info = _await(state, child)
    except KeyboardInterrupt:
        child.send_signal(signal.SIGTERM)
        _say("stopping")
        child.wait()
        raise
    typer.echo(show.welcome(info))


def _await(state: State, child: "subprocess.Popen[bytes]") -> dict[str, Any]:
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    before: dict[str, str] = {}
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            code = child.poll()
            info = state.read_json("stack.json")
            if info.get("services"):
                if console.is_terminal:
                    live.update(show.table(info), refresh=True)
                else:
                    for line in show.lines(before, info):
                        _say(line)
                if info["state"] == "ready":
                    return info
            if code is not None:
                problem = info.get("error") or _last_line(state.log_file("stack")) or f"it ended with exit code {code}"
                raise HeadraceError(f"the stack did not start: {problem}")
            time.sleep(0.1)


def _already(state: State, wishes: Any) -> None:
    """Say that the stack is running. HeadraceError while it is starting or when it failed."""
    info = state.read_json("stack.json")
    if info.get("state") not in {"ready", "degraded"}:
        raise HeadraceError(
            f"the stack in {state.path} is {info.get('state', 'starting')}. See `{show.command(state.path)} status`"
        )
    _say(
        f"the stack in {state.path} runs already. `restart` takes changed streams and contracts; to "
        "change ports or --listen: `down`, then `up`"
    )
    _compare(state, wishes)
    typer.echo(show.welcome(info))


def _ports(given: list[str]) -> dict[str, int]:
    out = {}
    for text in given:
        name, _, number = text.partition("=")
        if not number.isdigit() or not 0 < int(number) < 65536:
            raise ConfigError(f"--port {text}: give NAME=PORT, such as mqtt=1884")
        out[name] = int(number)
    return out


def absolute(path: Path | None) -> Path | None:
    """The file wherever it will be read from."""
    return path.expanduser().absolute() if path is not None else None


def _python_path() -> str:
    """PYTHONPATH with which the supervisor finds this Headrace from any working folder, installed or not."""
    from headrace.runtime.service import IMPORT_PATH

    return os.pathsep.join([IMPORT_PATH, *filter(None, [os.environ.get("PYTHONPATH")])])


def _last_line(path: Path) -> str:
    try:
        found = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    return found[-1] if found else ""


def _say(text: str) -> None:
    typer.echo(text, err=True)
