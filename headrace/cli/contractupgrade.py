"""`headrace contracts upgrade`: an incompatible contract becomes a stream of its own, which follows the old one."""

from pathlib import Path
from typing import NamedTuple

from headrace import textfile
from headrace.cli import context
from headrace.cli.contractdiff import Registered
from headrace.config import Config, check, load
from headrace.config.follow import following, next_name
from headrace.config.load import MAX_TEXT
from headrace.contracts import files, lint
from headrace.contracts.changes import differences
from headrace.contracts.model import Contract, parse
from headrace.errors import ConfigError
from headrace.lake import united
from headrace.protocol.names import check_stream, raw_topic
from headrace.stack.state import State


class Step(NamedTuple):
    """What is to be written. Each file takes its new text as a whole."""

    stream: str  # the new one
    config: Path
    text: str  # of the configuration
    new: Path  # the contract of the new stream
    before: Path  # the contract of the stream that it follows
    old: Contract  # as it is registered
    changed: Contract  # as it is in `before` now


def plan(config: Config, stream: str, name: str, registry: Registered, *, force: bool) -> Step:
    """The step that gives the changed contract of `stream` a stream of its own, called `name`, or `<stream>_v2`.

    ConfigError where there is nothing to do, or where the files are not the user's own. Writes nothing.
    """
    if stream not in config.streams:
        raise ConfigError(f"no stream {stream!r}. There are: {', '.join(config.streams) or 'none'}")
    if made_of := config.streams[stream].source:
        raise ConfigError(
            f"{stream}: it is made of {made_of}, and one that took its place would make the rows of all readings again "
            "that Kafka still has: the view would have them twice. Give the changed contract a name and a stream of "
            f"its own, with `from: {made_of}` and without `follows`; {stream} keeps its rows"
        )
    new = name or next_name(stream, set(config.streams))
    try:
        check_stream(new)
    except ValueError as e:
        raise ConfigError(f"--name {e}") from None
    if new in config.streams:
        raise ConfigError(f"--name {new}: there is such a stream already. Choose another name")
    contract = config.contract_of(stream)
    path = files.available(config.contracts)[files.find(contract, config.contracts).name]
    changed = lint.require(files.read(path))
    old = _registered(stream, changed, registry, force=force)
    if path.parent == files.shipped():
        raise ConfigError(f"{path}: it ships with Headrace. Copy it into a folder of yours, named in `contracts`")
    target = path.with_name(f"{new}{files.SUFFIX}")
    if target.exists():
        raise ConfigError(f"{target}: it is there already. Remove it, or give the new stream another name with --name")
    place = _own_file()
    text = following(textfile.read(place, "a configuration", MAX_TEXT), stream, new, contract)
    return Step(new, place, text, target, path, old, changed)


def carry_out(step: Step) -> None:
    """Write the files. ConfigError, with everything as it was, where the new configuration would not hold."""
    trial = step.config.with_name(f".{step.config.name}.{step.stream}")
    try:
        step.new.write_text(step.changed.text, encoding="utf-8")
        trial.write_text(step.text, encoding="utf-8")
        check.require(load(trial), [check.Service.BRIDGE, check.Service.PROVISION], step.config)
        _replace(step.before, step.old.text)
        _replace(step.config, step.text)
    except (OSError, ConfigError) as e:
        step.new.unlink(missing_ok=True)
        if isinstance(e, ConfigError):
            raise
        raise ConfigError(f"{e.filename}: {e.strerror}. Run the command where both files may be written") from None
    finally:
        trial.unlink(missing_ok=True)


def told(step: Step, stream: str, called: str) -> list[str]:
    """What was done and what comes next, for a person."""
    apart = united.lines({stream: step.old, step.stream: step.changed})
    return [
        f"{step.stream}: a new stream with the changed contract ({_short(step.new)}) and the routes of {stream}",
        f"{stream}: its contract is the registered one again ({_short(step.before)}); it keeps what it has",
        f"The view {stream} now has the rows of both; those of one alone: where _topic = '{stream}.clean'",
        *(f"  {line}" for line in apart),
        f"{_short(step.config)} says so, with `follows: {stream}`",
        "",
        "Next:",
        f"  {called} restart    (elsewhere: provision, then start bridge and clean again)",
        f"  {called} dlq redrive --stream {stream}    sends what was refused of {stream} to {step.stream}",
    ]


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _registered(stream: str, changed: Contract, registry: Registered, *, force: bool) -> Contract:
    subject = f"{raw_topic(stream)}-value"
    text = registry.latest(subject)
    if text is None:
        raise ConfigError(
            f"{stream}: no contract is registered for it yet, so there is nothing to follow. Just start it"
        )
    old = parse(changed.name, text, "the registered contract")
    if not differences(old, changed):
        raise ConfigError(f"{stream}: its contract is the registered one. Change the contract first, then upgrade")
    if not force and not registry.check(subject, changed):
        raise ConfigError(
            f"{stream}: its contract may follow the registered one, so it needs no other stream: the next start "
            "registers it. For another stream all the same: --force"
        )
    return old


def _replace(path: Path, text: str) -> None:
    """Give a file another text as a whole; who could read it still can."""
    made = textfile.fresh(path, text)
    made.chmod(path.stat().st_mode & 0o777)
    made.replace(path)


def _own_file() -> Path:
    """The configuration that the user writes: the one given, or the one that the local stack was given."""
    given = context.config_file()
    known = State(context.state()).read_json("settings.json").get("config", "")
    if given is None and not known:
        raise ConfigError(
            "the streams are the local stack's own, which has no file to change. Write a configuration with your "
            "streams, and start with `headrace up --config FILE`"
        )
    return given or Path(known)
