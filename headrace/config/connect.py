"""Where the broker, Kafka, the registry and the object store are, and how to be let in."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from headrace.config.base import Port, Positive, Seconds, Section

_ADDRESS = re.compile(r"(?:[^\s:/@\[\],]+|\[[0-9a-fA-F:.%]+\])(?::(\d{1,5}))?\Z")


def _is_address(text: str) -> bool:
    """Whether `text` is a host, or host:port."""
    found = _ADDRESS.match(text)
    return found is not None and (found[1] is None or 0 < int(found[1]) <= 65535)


def _address(text: str) -> str:
    if not _is_address(text):
        raise ValueError(f"{text!r} is not host:port, such as 127.0.0.1:8333")
    return text


def _addresses(text: str) -> str:
    # librdkafka takes a port modulo 65,536, and anything before :// as a protocol
    if not all(_is_address(one.strip()) for one in text.split(",")):
        raise ValueError(f"{text!r} is not host:port, such as 127.0.0.1:9092, or several separated by commas")
    return text


def _http_url(text: str) -> str:
    if re.match(r"https?://[^\s/]", text) is None:
        raise ValueError("a URL is expected that begins with http:// or https://")  # not repeated: may hold a password
    return text


class Tls(Section):
    """TLS towards one dependency. The host name is checked unless `verify_hostname` is false."""

    enabled: bool = False
    ca_file: Path | None = Field(None, description="CA bundle in PEM; the system's when absent")
    cert_file: Path | None = Field(None, description="client certificate in PEM")
    key_file: Path | None = Field(None, description="its private key in PEM")
    verify_hostname: bool = True

    @model_validator(mode="after")
    def _pair(self) -> "Tls":
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together")
        for path in (self.ca_file, self.cert_file, self.key_file):
            if path is not None and not path.is_file():
                raise ValueError(f"no such file: {path}")
        return self


class Mqtt(Section):
    """The MQTT broker (MQTT 5)."""

    host: str = "127.0.0.1"
    port: Port = 1883
    username: str | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    tls: Tls = Tls()


class Sasl(Section):
    """SASL towards Kafka."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    username: str = ""
    password: SecretStr | None = None
    password_file: Path | None = None


class Kafka(Section):
    """Apache Kafka, or what speaks its protocol."""

    bootstrap: Annotated[str, AfterValidator(_addresses)] = Field(
        "127.0.0.1:9092", description="host:port, several separated by commas"
    )
    tls: Tls = Tls()
    sasl: Sasl | None = None
    replication_factor: Positive = Field(1, description="of the topics that Headrace creates; 3 in production")
    min_insync_replicas: Positive = Field(1, description="of the same topics; 2 in production")
    librdkafka: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="further librdkafka settings, over Headrace's own where those may be changed"
    )


class Registry(Section):
    """A schema registry with Confluent's API (Apicurio under /apis/ccompat/v7)."""

    url: Annotated[str, AfterValidator(_http_url)] = "http://127.0.0.1:8081/apis/ccompat/v7"
    username: str | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    tls: Tls = Tls()
    timeout_seconds: Seconds = 5.0


class Store(Section):
    """The object store that holds the lake: S3-compatible, or a folder for tests and single machines."""

    kind: Literal["s3", "folder"] = "s3"
    endpoint: Annotated[str, AfterValidator(_address)] = Field("127.0.0.1:8333", description="host:port of the S3 API")
    region: str = "us-east-1"
    bucket: str = Field("headrace", pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    access_key: SecretStr | None = None
    access_key_file: Path | None = None
    secret_key: SecretStr | None = None
    secret_key_file: Path | None = None
    tls: Tls = Tls()
    timeout_seconds: Seconds = 30.0
    folder: Path | None = Field(None, description="where the lake lies, for kind: folder")
