"""What every section of the configuration is: frozen, and closed to unknown keys."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic.fields import FieldInfo

Port = Annotated[int, Field(ge=0, le=65535)]
Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]
Unit = Literal["s", "ms", "us", "ns"]  # of a time that is a number


class Section(BaseModel):
    """A frozen group of settings. Instead of a secret `x`, `x_file` may give the path of a file that holds it."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _read_secret_files(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        out = dict(data)
        for name in cls.model_fields:
            path = out.get(f"{name}_file")
            if f"{name}_file" not in cls.model_fields or path is None:
                continue
            if out.get(name) is not None:
                raise ValueError(f"give {name} or {name}_file, not both")
            out[name] = _secret(f"{name}_file", path)
        return out


def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a section by their keys in a configuration file: `from` and `copy` can't be names in Python."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def _secret(key: str, path: Any) -> SecretStr:
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except OSError as e:
        raise ValueError(f"cannot read {key} {path}: {e.strerror}") from e
    except (TypeError, ValueError) as e:
        raise ValueError(f"{key} {path} is not a text file") from e
    if not text:
        raise ValueError(f"{key} {path} is empty")
    return SecretStr(text)
