"""Where the broker, Kafka, the registry and the object store are, and how to log in there."""

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


def _address_or_none(text: str) -> str:
    return _address(text) if text else ""


def _addresses(text: str) -> str:
    # librdkafka takes a port modulo 65,536, and anything before :// as a protocol
    if not all(_is_address(one.strip()) for one in text.split(",")):
        raise ValueError(f"{text!r} is not host:port, such as 127.0.0.1:9092, or several separated by commas")
    return text


def _http_url(text: str) -> str:
    if re.match(r"https?://[^\s/]", text) is None:
        raise ValueError("a URL is expected that begins with http:// or https://")  # not repeated: may hold a password
    return text


HttpUrl = Annotated[str, AfterValidator(_http_url)]


class Tls(Section):
    """TLS towards one dependency. The host name is checked unless `verify_hostname` is false."""

    enabled: bool = False
    ca_file: Path | None = Field(None, description="CA bundle in PEM; the system's when absent")
    cert_file: Path | None = Field(None, description="client certificate in PEM")
    key_file: Path | None = Field(None, description="its private key in PEM, not encrypted")
    verify_hostname: bool = True

    @model_validator(mode="after")
    def _pair(self) -> "Tls":
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together")
        for path in (self.ca_file, self.cert_file, self.key_file):
            if path is not None and not path.is_file():
                raise ValueError(f"no such file: {path}")
        return self


def _switched_on(tls: Tls) -> Tls:
    # Who names certificates wants TLS: without it, anyone on the network could read the passwords.
    if not tls.enabled and (tls.ca_file is not None or tls.cert_file is not None or not tls.verify_hostname):
        raise ValueError("these settings have no effect while TLS is off. Set enabled: true")
    return tls


SwitchedTls = Annotated[Tls, AfterValidator(_switched_on)]


class Devices(Section):
    """The broker's listeners for devices, where they are others than that of the services."""

    host: str = "127.0.0.1"
    port: Port = 1883
    tls: SwitchedTls = Tls()
    public: Annotated[str, AfterValidator(_address_or_none)] = Field(
        "", description="host:port by which devices outside know it, for what is printed; host and port when empty"
    )
    certificates: Annotated[str, AfterValidator(_address_or_none)] = Field(
        "", description="host:port of its listener for certificates, for what is printed; empty: there is none"
    )
    psk: Annotated[str, AfterValidator(_address_or_none)] = Field(
        "", description="host:port of its listener for keys (PSK), for what is printed; empty: there is none"
    )
    ca_file: Path | None = Field(None, description="authority of these listeners' certificate, for devices; in PEM")


class Mqtt(Section):
    """The MQTT broker (MQTT 5)."""

    host: str = "127.0.0.1"
    port: Port = 1883
    username: str | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    tls: SwitchedTls = Tls()
    devices: Devices | None = Field(None, description="where devices connect; at the same host and port when absent")

    @property
    def for_devices(self) -> tuple[str, str]:
        """Host and port at which devices outside connect."""
        there = self.devices or Devices(host=self.host, port=self.port)
        host, _, port = (there.public or f"{there.host}:{there.port}").rpartition(":")
        return host, port

    def as_device(self, identity: str, password: str) -> "Mqtt":
        """How a device connects that logs in with this name and password."""
        there = self.devices or Devices(host=self.host, port=self.port, tls=self.tls)
        return Mqtt(host=there.host, port=there.port, username=identity, password=SecretStr(password), tls=there.tls)


class Token(Section):
    """Where the tokens of SASL OAUTHBEARER come from. Each is fetched anew before it expires."""

    kind: Literal["oidc", "azure", "aws-msk-iam"] = Field(
        description="oidc: an OAuth 2 token endpoint; azure: Entra ID, for Event Hubs; aws-msk-iam: for MSK"
    )
    url: HttpUrl | None = Field(None, description="oidc: the token endpoint")
    client_id: str = Field("", description="for oidc and azure; azure: AZURE_CLIENT_ID when empty")
    client_secret: SecretStr | None = None
    client_secret_file: Path | None = None
    client_assertion_file: Path | None = Field(
        None, description="a JWT instead of a secret, read anew each time; azure: AZURE_FEDERATED_TOKEN_FILE when empty"
    )
    scope: str = Field("", description="for oidc and azure; azure: that of the namespace in kafka.bootstrap when empty")
    tenant_id: str = Field("", description="for azure; AZURE_TENANT_ID when empty")
    authority: HttpUrl | None = Field(
        None, description="azure: the login host; when empty AZURE_AUTHORITY_HOST, or https://login.microsoftonline.com"
    )
    region: str = Field(
        "", pattern=r"^[a-z0-9-]*$", description="aws-msk-iam: the cluster's region; AWS_REGION when empty"
    )
    extensions: dict[str, str] = Field(default_factory=dict, description="SASL extensions that the broker wants")
    tls: Tls = Tls()
    timeout_seconds: Seconds = 10.0

    @model_validator(mode="after")
    def _fits(self) -> "Token":
        own = _TOKEN_SETTINGS[self.kind] | {"kind", "extensions", "timeout_seconds"}
        if others := sorted(self.model_fields_set - own):
            raise ValueError(f"{', '.join(others)}: not for kind: {self.kind}")
        if self.kind == "oidc" and (self.url is None or not self.client_id):
            raise ValueError("kind: oidc needs url and client_id")
        if self.kind == "oidc" and (self.client_secret is None) == (self.client_assertion_file is None):
            raise ValueError("kind: oidc needs client_secret_file or client_assertion_file, one of them")
        if self.tls != Tls() and any(url.startswith("http://") for url in (self.url, self.authority) if url):
            raise ValueError("tls is for a url or an authority that begins with https://, and this one does not")
        return self


_SECRETS = {"client_id", "client_secret", "client_secret_file", "client_assertion_file", "scope", "tls"}
_TOKEN_SETTINGS = {
    "oidc": {"url", *_SECRETS},
    "azure": {"tenant_id", "authority", *_SECRETS},
    "aws-msk-iam": {"region"},
}


class Sasl(Section):
    """SASL towards Kafka. For a connection string of Event Hubs: PLAIN, with the username $ConnectionString."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = "PLAIN"
    username: str = ""
    password: SecretStr | None = None
    password_file: Path | None = None
    token: Token | None = Field(None, description="for OAUTHBEARER")

    @model_validator(mode="after")
    def _fits(self) -> "Sasl":
        bearer = self.mechanism == "OAUTHBEARER"
        if bearer != (self.token is not None):
            raise ValueError("token belongs to mechanism: OAUTHBEARER, which needs it")
        if bearer and (self.username or self.password is not None):
            raise ValueError("mechanism: OAUTHBEARER takes a token, no username and password. Remove these")
        if not bearer and (not self.username or self.password is None):
            raise ValueError(f"mechanism: {self.mechanism} needs username, and password or password_file")
        return self


class Kafka(Section):
    """Apache Kafka, or what speaks its protocol."""

    bootstrap: Annotated[str, AfterValidator(_addresses)] = Field(
        "127.0.0.1:9092", description="host:port, several separated by commas"
    )
    tls: SwitchedTls = Tls()
    sasl: Sasl | None = None
    replication_factor: Positive = Field(1, description="of the topics that Headrace creates; 3 in production")
    min_insync_replicas: Positive = Field(1, description="of the same topics; 2 in production")
    librdkafka: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="further librdkafka settings, over Headrace's own where those may be changed"
    )

    @model_validator(mode="after")
    def _fits(self) -> "Kafka":
        token = self.sasl.token if self.sasl is not None else None
        if token is not None and token.kind != "oidc" and not self.tls.enabled:
            raise ValueError(f"sasl.token of kind: {token.kind} needs tls.enabled: true")
        return self


class Registry(Section):
    """A schema registry with Confluent's API (Apicurio under /apis/ccompat/v7)."""

    url: HttpUrl = "http://127.0.0.1:8081/apis/ccompat/v7"
    username: str | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    tls: Tls = Field(Tls(), description="on where the url begins with https://")
    timeout_seconds: Seconds = 5.0

    @model_validator(mode="after")
    def _fits(self) -> "Registry":
        if self.tls != Tls() and not self.url.startswith("https://"):
            raise ValueError("tls is for a url that begins with https://, and this one does not")
        return self


class Sse(Section):
    """Encryption by the object store, asked for with every object."""

    kind: Literal["s3", "kms"] = Field(description="s3: with the store's own key (AES256); kms: with a key of its KMS")
    key: str = Field("", description="kms: id or ARN of the key; the bucket's or account's default when empty")

    @model_validator(mode="after")
    def _fits(self) -> "Sse":
        if self.key and self.kind != "kms":
            raise ValueError("key is for kind: kms")
        return self


class Azure(Section):
    """An Azure storage account. Without key and SAS token: Workload Identity, by the AZURE_* variables of the pod."""

    account: str = Field(pattern=r"^[a-z0-9]{3,24}$")
    url: HttpUrl | None = Field(
        None, description="of the Blob service where it is not https://<account>.blob.core.windows.net"
    )
    account_key: SecretStr | None = None
    account_key_file: Path | None = None
    sas_token: SecretStr | None = None
    sas_token_file: Path | None = None

    @model_validator(mode="after")
    def _fits(self) -> "Azure":
        if self.account_key is not None and self.sas_token is not None:
            raise ValueError("give account_key or sas_token, not both")
        return self


class Store(Section):
    """The object store that holds the lake: S3-compatible, Azure Blob, or a folder for tests and single machines."""

    kind: Literal["s3", "azure", "folder"] = "s3"
    endpoint: Annotated[str, AfterValidator(_address)] = Field("127.0.0.1:8333", description="host:port of the S3 API")
    region: str = "us-east-1"
    bucket: str = Field(
        "headrace", pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", description="for azure: the container"
    )
    credentials: Literal["keys", "aws"] = Field(
        "keys", description="of s3. keys: access_key and secret_key; aws: as EKS and EC2 give them to a pod (IRSA, ...)"
    )
    access_key: SecretStr | None = None
    access_key_file: Path | None = None
    secret_key: SecretStr | None = None
    secret_key_file: Path | None = None
    sse: Sse | None = None
    azure: Azure | None = None
    tls: SwitchedTls = Tls()
    timeout_seconds: Seconds = 30.0
    folder: Path | None = Field(None, description="the folder that holds the lake, for kind: folder")

    @model_validator(mode="after")
    def _fits(self) -> "Store":
        if self.credentials == "aws" and (self.access_key is not None or self.secret_key is not None):
            raise ValueError("access_key and secret_key are for credentials: keys")
        if self.kind != "s3" and (self.credentials != "keys" or self.sse is not None):
            raise ValueError(f"credentials and sse are for kind: s3, not {self.kind}")
        if (self.azure is not None) != (self.kind == "azure"):
            raise ValueError("azure belongs to kind: azure, which needs it")
        if self.kind == "azure" and self.tls.enabled:
            raise ValueError("tls is for kind: s3: Azure's url says whether TLS is used, with the system's trust")
        return self
