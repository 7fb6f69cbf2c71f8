"""The identity provider of people and programs: whose tokens (OpenID Connect, JWT) hub takes beside its own."""

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from headrace.config.base import Seconds, Section
from headrace.config.connect import HttpUrl, Tls

Algorithm = Literal["RS256", "ES256", "EdDSA"]  # with a public key only: a shared secret would sign for everybody
Role = Literal["viewer", "operator", "admin"]
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def _trusted(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        raise ValueError("it must begin with https://: whoever is on the way could give keys of their own")
    if parts.query or parts.fragment:
        raise ValueError("it can have neither ? nor #")
    return url


TrustedUrl = Annotated[HttpUrl, AfterValidator(_trusted)]


class Oidc(Section):
    """An issuer of signed tokens, for whom they are, and which of their claims give which role."""

    issuer: TrustedUrl = Field(description="as the claim iss of its tokens says, to the letter")
    audience: str = Field(min_length=1, description="that the claim aud must name: what the issuer calls hub")
    algorithms: tuple[Algorithm, ...] = Field(("RS256",), min_length=1, description="of signatures; others are refused")
    keys_url: TrustedUrl | None = Field(
        None, description="of the issuer's keys (JWKS); empty: as ISSUER/.well-known/openid-configuration says"
    )
    roles_claim: str = Field(
        "roles", min_length=1, description="the claim with the names of roles; a dot leads into it: realm_access.roles"
    )
    roles: dict[str, Role] = Field(min_length=1, description="what the names mean here: `platform-team: admin`")
    leeway_seconds: Annotated[float, Field(ge=0, le=300)] = Field(
        30.0, description="by which the issuer's clock and hub's may differ"
    )
    timeout_seconds: Seconds = 5.0
    console_url: TrustedUrl | None = Field(
        None,
        description="where browsers reach hub, to log in at the console with the issuer, which has to let them back to "
        "CONSOLE_URL/login/callback; none: the console takes tokens only",
    )
    client_id: str = Field("", description="of the console at the issuer; the audience when empty")
    client_secret: SecretStr | None = Field(None, description="its secret; none: it has none there, and PKCE is enough")
    client_secret_file: Path | None = None
    scope: str = Field("openid", description="what the console asks the issuer for; `openid` has to be among it")
    tls: Tls = Field(Tls(), description="for URLs that begin with https://")

    @model_validator(mode="after")
    def _fits(self) -> "Oidc":
        if self.tls != Tls() and not self.issuer.startswith("https://"):
            raise ValueError("tls is for an issuer that begins with https://, and this one does not")
        if "openid" not in self.scope.split():
            raise ValueError("scope needs the word openid: without it the issuer does not say who logs in")
        return self
