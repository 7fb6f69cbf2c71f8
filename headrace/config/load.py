"""Reads a YAML file and the environment into a `Config`, or raises a `ConfigError` that says where and what to do."""

import difflib
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from headrace import textfile
from headrace.config.base import fields_of
from headrace.config.model import Config
from headrace.errors import ConfigError
from headrace.protocol.names import ENTRY_POINT

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

PREFIX = "HEADRACE_"
MAX_TEXT = 4 * 1024 * 1024  # bytes of a configuration file
# Variables that are not settings of a Config: which stack, which file, where downloads are kept.
RESERVED = frozenset({"HEADRACE_STATE", "HEADRACE_CONFIG", "HEADRACE_CACHE"})

_LIST, _MAPPING = "expected a list, such as [a, b]", "expected a mapping: lines of `key: value` below it"
# By pydantic's types of errors; in braces, what it says of the limit.
_WORDS = {
    "tuple_type": _LIST,
    "list_type": _LIST,
    "dict_type": _MAPPING,
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "int_type": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "string_type": "expected text; put a number in quotes",
    "greater_than": "it must be greater than {gt}",
    "greater_than_equal": "it must be at least {ge}",
    "less_than_equal": "it must be at most {le}",
    "string_pattern_mismatch": "it must match the pattern {pattern}",
    "missing": "this key is required",
}


def load(
    path: Path | None,
    environ: Mapping[str, str] | None = None,
    *,
    over: dict[str, Any] | None = None,
    without: Collection[str] = (),
) -> Config:
    """The configuration. `over` counts first, then environment variables, then the YAML file, then the defaults.

    What the file says in the sections `without` does not count.

    A variable is HEADRACE_ and the keys, joined by two underscores: HEADRACE_KAFKA__BOOTSTRAP. Lists and maps are
    written as YAML. A relative path in the file starts at the file's folder. Raises ConfigError for a missing file, an
    unknown key or variable, or a value that does not fit.
    """
    data = _anchor(read_yaml(path), Config, path.absolute().parent) if path is not None else {}
    data = {key: value for key, value in data.items() if key not in without}
    places = [str(path)] if path is not None else []
    for name, value in sorted((os.environ if environ is None else environ).items()):
        if name.startswith(PREFIX) and name not in RESERVED:
            _place(data, name, value)
            places.append(name)
    data = merge(data, over or {})
    try:
        return Config.model_validate(data)
    except ValidationError as e:
        raise ConfigError(_explain(e, " and ".join(places) or "the settings")) from None


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. ConfigError when the file can't be read or holds something else."""
    text = textfile.read(path, "a configuration", MAX_TEXT, "Give the path of a configuration with --config")
    try:
        data = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except RecursionError:
        raise ConfigError(f"{path}: not a configuration: nested too deeply") from None
    except (yaml.YAMLError, ValueError) as e:
        raise ConfigError(f"{path}{_yaml_problem(e)}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected `key: value` lines at the top level, but it is something else")
    return data


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`base` with `over` laid on it, mapping by mapping."""
    out = dict(base)
    for key, value in over.items():
        mine = out.get(key)
        out[key] = merge(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else value
    return out


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice: YAML would drop the first one without an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if str(key.value) in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} is given twice", problem_mark=key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def _anchor(data: dict[str, Any], model: type[BaseModel], folder: Path) -> dict[str, Any]:
    """`data` with its relative paths made absolute, starting at `folder`."""
    out = dict(data)
    for key, value in data.items():
        info = fields_of(model).get(key)
        if info is None:
            continue
        inner, item = _section(info.annotation), _item(info.annotation)
        if isinstance(value, dict) and inner is not None and not _is_map(info.annotation):
            out[key] = _anchor(value, inner, folder)
        elif isinstance(value, dict) and inner is not None:
            out[key] = {k: _anchor(v, inner, folder) if isinstance(v, dict) else v for k, v in value.items()}
        elif isinstance(value, list) and item is not None:
            out[key] = [_anchor(v, item, folder) if isinstance(v, dict) else v for v in value]
        elif isinstance(value, dict) and "Path" in _names(info.annotation):
            out[key] = {k: str(folder / Path(v).expanduser()) if isinstance(v, str) else v for k, v in value.items()}
        elif "Path" in _names(info.annotation) and isinstance(value, str) and not re.fullmatch(ENTRY_POINT, value):
            out[key] = str(folder / Path(value).expanduser())
        elif "Path" in _names(info.annotation) and isinstance(value, list):
            out[key] = [str(folder / Path(v).expanduser()) if isinstance(v, str) else v for v in value]
    return out


def _place(data: dict[str, Any], variable: str, value: str) -> None:
    """Set in `data` what an environment variable says, checking that the key exists."""
    model: type[BaseModel] | None = Config
    free = False  # the next key is a name of the user's choice, such as a stream's
    here = data
    keys = variable.removeprefix(PREFIX).lower().split("__")
    for depth, key in enumerate(keys):
        annotation: object = None
        if not key or (model is not None and not free and key not in fields_of(model)):
            raise ConfigError(f"{variable}: {_unknown(keys, depth, model)}")
        if model is not None and not free:
            annotation = fields_of(model)[key].annotation
        if depth == len(keys) - 1:
            try:
                here[key] = value if _is_text(annotation) else yaml.safe_load(value)
            except yaml.YAMLError as e:
                raise ConfigError(f"{variable}: not a value: {e}") from None
            return
        if not free:
            model, free = _section(annotation), _is_map(annotation)
        else:
            free = False
        child = here.get(key)
        here[key] = child = dict(child) if isinstance(child, dict) else {}
        here = child


def _unknown(keys: list[str], depth: int, model: type[BaseModel] | None) -> str:
    """Says that there is no key as at `depth` of a variable, and which one may be meant."""
    close = difflib.get_close_matches(keys[depth], fields_of(model), n=1) if model is not None else []
    section = next((s for s in fields_of(model) if keys[depth].startswith(f"{s}_")), None) if model else None
    if section is not None:  # KAFKA_BOOTSTRAP: one underscore where two belong
        close = [f"{section}__{keys[depth].removeprefix(f'{section}_')}"]
    where = "__".join(keys[:depth])
    hint = f"; did you mean {PREFIX}{'__'.join([*keys[:depth], close[0]]).upper()}?" if close else ""
    return f"no setting {keys[depth]!r}{f' in {where}' if where else ''}{hint}"


def _yaml_problem(error: yaml.YAMLError | ValueError) -> str:
    """Where in the file, and what is wrong. Without the excerpt, which may hold a secret."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return f": not YAML: {error}"
    words = [w for w in (getattr(error, "context", None), getattr(error, "problem", None)) if w]
    return f", line {mark.line + 1}, column {mark.column + 1}: not YAML: {', '.join(words)}"


def _section(annotation: object) -> type[BaseModel] | None:
    """The section that an annotation names, alone, as optional, or as the values of a map."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _item(annotation: object) -> type[BaseModel] | None:
    """The section that each item of a list is."""
    return next((found for a in get_args(annotation) if (found := _section(a)) is not None), None)


def _is_map(annotation: object) -> bool:
    return get_origin(annotation) is dict


def _names(annotation: object) -> set[str]:
    return {getattr(a, "__name__", "") for a in (annotation, *get_args(annotation))}


def _is_text(annotation: object) -> bool:
    """Whether a value is taken literally: 1e3 or `on` would mean something else in YAML."""
    names = _names(annotation)
    return bool(names & {"str", "SecretStr", "Path"}) and not names & {"dict", "tuple"}


def _explain(error: ValidationError, where: str) -> str:
    lines = []
    for e in error.errors(include_url=False, include_input=False):
        message = "unknown key" + _suggest(e["loc"]) if e["type"] == "extra_forbidden" else _words(e)
        lines.append(f"  {_key(e['loc']) or '(whole file)'}: {message}")
    return f"{where}: configuration refused\n" + "\n".join(lines)


def _words(e: "ErrorDetails") -> str:
    """What is wrong with a value. For common mistakes in plain words, else as pydantic has it."""
    message = e["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    template = _WORDS.get(e["type"])
    return template.format(**e.get("ctx", {})) if template is not None else message


def _key(loc: tuple[int | str, ...]) -> str:
    """The key as people write it: streams.imu.routes[0].filter."""
    parts = [part for part in loc if not str(part).startswith("function-")]
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).removeprefix(".")


def _suggest(loc: tuple[int | str, ...]) -> str:
    """Which key may be meant, else which keys there are."""
    model: type[BaseModel] | None = Config
    for part in loc[:-1]:
        info = fields_of(model).get(str(part)) if model is not None else None
        model = _section(info.annotation) or _item(info.annotation) if info is not None else model
    if model is None:
        return ""
    close = difflib.get_close_matches(str(loc[-1]), fields_of(model), n=1)
    return f"; did you mean {close[0]}?" if close else f". There are: {', '.join(fields_of(model))}"
