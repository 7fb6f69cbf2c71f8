"""The work of `headrace contracts new`: files written from a sample, and what became of each key."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import typer

from headrace.cli import context, newroute, newsample, newtable, newversion
from headrace.cli.newnext import Sent, next_steps, steps_again
from headrace.cli.output import say
from headrace.config.load import read_yaml
from headrace.contracts import files, write
from headrace.contracts.infer import infer
from headrace.errors import ConfigError
from headrace.protocol.names import check_stream

CONFIG, FOLDER = "my.yaml", "contracts"


@dataclass(frozen=True)
class Wish:
    """The options of the command, as given."""

    samples: tuple[Path, ...] = ()
    topic: str = ""
    listen: str = ""
    listen_for: str = "60s"
    most: int = 1000
    name: str = ""
    out: Path = field(default_factory=Path)
    force: bool = False


def make(wish: Wish) -> None:
    """Write the contract and, where there is none yet, the configuration; print what to do next."""
    if bool(wish.samples) == bool(wish.listen):
        raise ConfigError("give a sample with --from, or a topic to listen to with --listen")
    if wish.listen:
        taken = newsample.listen(wish.listen, wish.topic, wish.listen_for, wish.most)
    else:
        newroute.checked(wish.topic)
        taken = newsample.read(wish.samples, wish.topic)
    sample, name = taken.sample, _name(wish.name, taken.topic)
    publisher = newroute.publisher(newroute.checked(taken.topic), taken)
    values = publisher.format == "value"
    draft = infer(name, sample.readings, publisher.captured, _where(wish), named=publisher.paths, values=values)
    route = newroute.drafted(publisher, draft, sample)
    contract = wish.out / FOLDER / f"{name}{files.SUFFIX}"
    config = wish.out / CONFIG
    before = files.read(contract) if contract.exists() else None
    if before is not None:
        draft = newversion.next_of(before, draft, sample, publisher.captured, contract, force=wish.force)
    fresh = not config.exists()
    used = not fresh and name in (read_yaml(config).get("streams") or {})
    try:
        contract.parent.mkdir(parents=True, exist_ok=True)
        contract.write_text(draft.contract.text, encoding="utf-8")
        if fresh:
            config.write_text(write.config_yaml(name, route, FOLDER), encoding="utf-8")
    except OSError as e:
        raise ConfigError(f"{e.filename}: {e.strerror}. Choose another folder with --out") from None
    typer.echo(contract)
    if fresh:
        typer.echo(config)
    if before is None:
        newtable.explain(draft, sample, contract)
    if used and before is not None and context.config_file() is None:
        if draft.contract.text != before.text:
            say(steps_again(context.state(), name))
        return
    if not fresh and not used and (more := write.with_stream(config.read_text("utf-8"), name, route, FOLDER)):
        config.write_text(more, encoding="utf-8")
        say(f"\n{config} has the stream {name} too now, at its end")
    elif not fresh and not used:
        say(f"\n{config} exists and stays as it is. Make sure that it has:\n")
        say(write.config_yaml(name, route, FOLDER).partition("\n")[2].rstrip())
    called = route.keys.get("device") == {"names": "mac"} and newroute.address(sample)
    sent = Sent(wish.samples[0] if wish.samples else None, publisher, sample, called or "", taken.messages[:1])
    say(next_steps(context.state(), context.config_file(), draft, config, wish.out / FOLDER, sent))


def _name(given: str, topic: str) -> str:
    if given:
        try:
            return check_stream(given)
        except ValueError as e:
            raise ConfigError(f"--name: {e}") from None
    plain = [level for level in topic.split("/") if level and not set("{}+#") & set(level)]
    name = re.sub(r"[^a-z0-9]+", "_", plain[-1].lower()).strip("_")[:48] if plain else ""
    try:
        return check_stream(name)
    except ValueError:
        raise ConfigError(f"the topic {topic} gives no name for the stream. Give one with --name") from None


def _where(wish: Wish) -> str:
    return ", ".join(map(newsample.called, wish.samples)) if wish.samples else f"what came on {wish.listen}"
