"""The work of `headrace contracts new`: files written, and what to do next."""

import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import orjson
import typer

from headrace.cli import context
from headrace.cli.output import say
from headrace.config import Config
from headrace.contracts import files, write
from headrace.contracts.infer import Draft, infer
from headrace.contracts.sample import MAX_CHARACTERS, read_sample
from headrace.errors import ConfigError
from headrace.protocol import filters
from headrace.protocol.names import DEVICE, check_stream
from headrace.stack.state import State

CONFIG, FOLDER = "my.yaml", "contracts"


@dataclass(frozen=True)
class Wish:
    """The options of the command, as given."""

    sample: Path
    topic: str
    name: str
    out: Path
    force: bool


def make(wish: Wish) -> None:
    """Write the contract and, where there is none yet, the configuration; print what to do next."""
    topic = filters.parse(wish.topic, "--topic")
    if DEVICE not in topic.captures:
        raise ConfigError(
            f"--topic {wish.topic}: it must say which device publishes there. Write {{device_id}} for that level, as "
            "in plant/{device_id}/pump; or write the route of a gateway by hand (bridge/README.md)"
        )
    name = _name(wish)
    text = _read(wish.sample)
    readings = read_sample(text, _where(wish.sample))
    draft = infer(name, readings, tuple(topic.captures), _where(wish.sample))
    contract = wish.out / FOLDER / f"{name}{files.SUFFIX}"
    config = wish.out / CONFIG
    if contract.exists() and not wish.force:
        raise ConfigError(f"{contract} exists. Take another --name or --out, or replace it with --force")
    fresh = not config.exists()
    try:
        contract.parent.mkdir(parents=True, exist_ok=True)
        contract.write_text(draft.contract.text, encoding="utf-8")
        if fresh:
            config.write_text(write.config_yaml(name, wish.topic, FOLDER), encoding="utf-8")
    except OSError as e:
        raise ConfigError(f"{e.filename}: {e.strerror}. Choose another folder with --out") from None
    typer.echo(contract)
    if fresh:
        typer.echo(config)
    _explain(wish, draft, config, contract, fresh=fresh)
    device = str(readings[0].get("device_id", f"{name.replace('_', '-')}-01"))
    say(_next(wish, draft, config, device, write.example_topic(topic, device), text))


def _name(wish: Wish) -> str:
    if wish.name:
        try:
            return check_stream(wish.name)
        except ValueError as e:
            raise ConfigError(f"--name: {e}") from None
    plain = [level for level in wish.topic.split("/") if level and not set("{}+#") & set(level)]
    name = re.sub(r"[^a-z0-9]+", "_", plain[-1].lower()).strip("_")[:48] if plain else ""
    try:
        return check_stream(name)
    except ValueError:
        raise ConfigError(f"the topic {wish.topic} gives no name for the stream. Give one with --name") from None


def _read(path: Path) -> str:
    try:
        if path == Path("-"):
            return sys.stdin.read(MAX_CHARACTERS + 1)
        with path.open(encoding="utf-8-sig") as file:
            return file.read(MAX_CHARACTERS + 1)
    except OSError as e:
        raise ConfigError(f"--from {path}: {e.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"--from {path}: not UTF-8 text. A sample is JSON") from None


def _where(path: Path) -> str:
    return "standard input" if path == Path("-") else str(path)


def _explain(wish: Wish, draft: Draft, config: Path, contract: Path, *, fresh: bool) -> None:
    count = len(draft.contract.fields) - 1
    say(f"\nThe contract {draft.contract.name} has {count} fields. Look through it: {contract}")
    for hint in draft.hints:
        say(f"  - {hint}")
    if not fresh:
        say(f"\n{config} exists and stays as it is. Make sure that it has:\n")
        say(write.config_yaml(draft.contract.name, wish.topic, FOLDER).partition("\n")[2].rstrip())


def _next(wish: Wish, draft: Draft, config: Path, device: str, topic: str, text: str) -> str:
    from headrace.stack.show import command

    called, state = command(context.state()), State(context.state())
    send = ["mosquitto_pub", *_broker(state, device), "-q", "1", "-t", topic]
    add = f"  {called} devices add {device}    (prints its PASSWORD)"
    pipe = ""
    if wish.sample == Path("-"):
        send += ["-m", orjson.dumps(orjson.loads(text)).decode()] if _is_one(text) else ["-l"]
    elif _is_one(text):
        send += ["-f", str(wish.sample)]
    else:  # a message a line
        send, pipe = [*send, "-l"], f" < {shlex.quote(str(wish.sample))}"
    name = draft.contract.name
    if context.config_file() is not None and not state.exists:  # in a container, or on a cluster
        folder = wish.out / FOLDER
        return "\n".join([
            "\nNext: give the installation this configuration and its contracts. With docker-compose.yml:",
            f"  printf 'CONFIG=./{config}\\nCONTRACTS=./{folder}\\n' >> .env",
            "  docker compose up -d --wait",
            add,
            f"  {shlex.join(send)}{pipe}",
            f'  {called} query "select * from {name}"    (within a minute; at once: {called} tail {name})',  # noqa: S608 - shown, not run
        ])  # fmt: skip
    running = state.exists
    return "\n".join([
        "\nNext:",
        *([f"  {called} down"] if running else []),
        f"  {called} up --detach --config {shlex.quote(str(config))}",
        add,
        f"  {shlex.join(send)}{pipe}",
        f'  {called} query "select * from {name}"    (in a few seconds; at once: {called} tail {name})',  # noqa: S608 - shown, not run
    ])  # fmt: skip


def _is_one(text: str) -> bool:
    try:
        orjson.loads(text)
    except ValueError:
        return False
    return True


def _broker(state: State, device: str) -> list[str]:
    """Where the stack's broker is, or will be at its first start, and how the device logs in."""
    host, port = (state.config() if state.exists else Config()).mqtt.for_devices
    return ["-h", host, "-p", port, "-u", device, "-P", "PASSWORD"]
