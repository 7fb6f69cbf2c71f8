"""From a YAML file and the environment to a `Config`, or to a `ConfigError` that says where and what to do."""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from headrace.config.model import Config
from headrace.errors import ConfigError

PREFIX = "HEADRACE_"
# Variables that are not settings of a Config: which stack, which file, where downloads are kept.
RESERVED = frozenset({"HEADRACE_STATE", "HEADRACE_CONFIG", "HEADRACE_CACHE"})


def load(path: Path | None, environ: Mapping[str, str] | None = None, *, over: dict[str, Any] | None = None) -> Config:
    """The configuration: `over`, over environment, over the YAML file, over defaults.

    A variable is HEADRACE_ and the keys, joined by two underscores: HEADRACE_KAFKA__BOOTSTRAP. Lists and maps are
    written as YAML. Raises ConfigError for a missing file, an unknown key or variable, or a value that does not fit.
    """
    data = read_yaml(path) if path is not None else {}
    for name, value in (os.environ if environ is None else environ).items():
        if name.startswith(PREFIX) and name not in RESERVED:
            _place(data, name, value)
    data = merge(data, over or {})
    try:
        return Config.model_validate(data)
    except ValidationError as e:
        raise ConfigError(_explain(e, path)) from None


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping; ConfigError otherwise."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file. Give the path of a configuration with --config") from None
    except OSError as e:
        raise ConfigError(f"{path}: {e.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise ConfigError(f"{path}: not YAML: {e}") from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: a mapping is expected at the top, not a {type(data).__name__}")
    return data


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`base` with `over` laid on it, mapping by mapping."""
    out = dict(base)
    for key, value in over.items():
        mine = out.get(key)
        out[key] = merge(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else value
    return out


def _place(data: dict[str, Any], variable: str, value: str) -> None:
    """Set in `data` what an environment variable says, checking that the key exists."""
    model: type[BaseModel] | None = Config
    here = data
    keys = variable.removeprefix(PREFIX).lower().split("__")
    for depth, key in enumerate(keys):
        if model is not None and key not in model.model_fields:
            close = difflib.get_close_matches(key, model.model_fields, n=1)
            where = "__".join(keys[:depth])
            hint = f"; did you mean {PREFIX}{'__'.join([*keys[:depth], close[0]]).upper()}?" if close else ""
            raise ConfigError(f"{variable}: no setting {key!r}{f' in {where}' if where else ''}{hint}")
        if depth == len(keys) - 1:
            text = model is not None and _is_text(model.model_fields[key].annotation)
            try:
                here[key] = value if text else yaml.safe_load(value)
            except yaml.YAMLError as e:
                raise ConfigError(f"{variable}: not a value: {e}") from None
            return
        model = _section(model.model_fields[key].annotation) if model is not None else None
        child = here.get(key)
        here[key] = child = dict(child) if isinstance(child, dict) else {}
        here = child


def _section(annotation: object) -> type[BaseModel] | None:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _is_text(annotation: object) -> bool:
    """Whether a value is taken as it stands, since 1e3 or `on` mean something else in YAML."""
    names = {getattr(a, "__name__", "") for a in (annotation, *get_args(annotation))}
    return bool(names & {"str", "SecretStr", "Path"}) and not names & {"dict", "tuple"}


def _explain(error: ValidationError, path: Path | None) -> str:
    lines = []
    for e in error.errors(include_url=False, include_input=False):
        key = ".".join(str(part) for part in e["loc"] if not str(part).startswith("function-"))
        message = e["msg"].removeprefix("Value error, ")
        if e["type"] == "extra_forbidden":
            message = "unknown key" + _suggest(e["loc"])
        lines.append(f"  {key or '(whole file)'}: {message}")
    where = str(path) if path is not None else "the environment"
    return f"{where}: configuration refused\n" + "\n".join(lines)


def _suggest(loc: tuple[int | str, ...]) -> str:
    model: type[BaseModel] | None = Config
    for part in loc[:-1]:
        info = model.model_fields.get(str(part)) if model is not None else None
        model = _section(info.annotation) if info is not None else model
    close = difflib.get_close_matches(str(loc[-1]), model.model_fields, n=1) if model is not None else []
    return f"; did you mean {close[0]}?" if close else ""
