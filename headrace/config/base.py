"""What every configuration section is: frozen, and closed to unknown keys."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

Port = Annotated[int, Field(ge=0, le=65535)]
Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A frozen group of settings. A secret `x` may instead be given as `x_file`, the path of a file that holds it."""

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


def _secret(key: str, path: Any) -> SecretStr:
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except OSError as e:
        raise ValueError(f"cannot read {key} {path}: {e.strerror}") from e
    except (TypeError, ValueError) as e:
        raise ValueError(f"{key} {path} is no text file") from e
    if not text:
        raise ValueError(f"{key} {path} is empty")
    return SecretStr(text)
