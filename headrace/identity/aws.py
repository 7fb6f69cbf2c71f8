"""Credentials that AWS gives to a pod or a machine, through minio's providers, and signatures made with them.

The variables are those that EKS sets: AWS_WEB_IDENTITY_TOKEN_FILE with AWS_ROLE_ARN (IRSA), or
AWS_CONTAINER_CREDENTIALS_FULL_URI with AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE (Pod Identity). Without them, EC2's own
service is asked.
"""

import base64
import hashlib
import hmac
import math
import os
import re
import time
import urllib.parse
from datetime import UTC
from functools import lru_cache

import urllib3
from minio.credentials.credentials import Credentials
from minio.credentials.providers import EnvAWSProvider, IamAwsProvider, Provider
from minio.error import MinioException

from headrace.errors import ConfigError, TransientError
from headrace.identity.renewal import Renewed

_TOKEN_SECONDS = 900
_RENEW_SECONDS = 300.0  # before they expire: AWS has new ones by then
_SPARE_SECONDS = 10.0  # that old ones must be valid for, to be used
_QUERY = re.compile(r"\?\S*")  # of a URL are shown: the URL of STS holds the pod's token
_REFUSED = re.compile(r"status code 40[0134]\b|AccessDenied")


class Identity(Provider):
    """Credentials of the pod or the machine, fetched anew from five minutes before they expire: see Renewed.

    Errors are raised only while there are no valid credentials. TransientError: the issuer does not answer, or refuses
    what it gave before. ConfigError: it refuses us.
    """

    def __init__(self, timeout: float) -> None:
        retry = urllib3.Retry(total=1, redirect=0, status=0, backoff_factor=0.2)
        self._http = urllib3.PoolManager(timeout=urllib3.Timeout(min(2.0, timeout), timeout), retries=retry)
        self._had = False
        self._renewed = Renewed(
            "AWS credentials",
            self._fetch,
            lambda it: _ends(it) - time.time() > _RENEW_SECONDS,
            lambda it: _ends(it) - time.time() > _SPARE_SECONDS,
            timeout,
        )

    def retrieve(self) -> Credentials:
        """The credentials, as minio asks for them before each request."""
        return self._renewed.get()

    def _fetch(self) -> Credentials:
        try:
            found = self._provider().retrieve()
        # SyntaxError is what the XML parser raises; an answer that is something else altogether makes the last three.
        except (
            urllib3.exceptions.HTTPError, OSError, MinioException, ValueError, SyntaxError, LookupError, TypeError,
            AttributeError,
        ) as e:  # fmt: skip
            raise self._told(e) from None  # its text, and that of its cause, may hold the pod's token
        self._had = True
        return found

    def _provider(self) -> Provider:
        """A new provider each time: minio's own would keep its credentials until ten seconds before they expire."""
        if os.environ.get("AWS_ACCESS_KEY_ID") and os.environ.get("AWS_SECRET_ACCESS_KEY"):
            return EnvAWSProvider()
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        # As in AWS's own clients: the endpoint of a private network.
        sts = os.environ.get("AWS_ENDPOINT_URL_STS") if os.environ.get("AWS_WEB_IDENTITY_TOKEN_FILE") else None
        return IamAwsProvider(custom_endpoint=sts, http_client=self._http, region=region)

    def _told(self, e: Exception) -> ConfigError | TransientError:
        words = _QUERY.sub("", f"AWS credentials: {getattr(e, 'reason', None) or e}")
        if not self._had and isinstance(e.__cause__ or e, FileNotFoundError | PermissionError):
            return ConfigError(f"{words}. Give the pod its service account, with IRSA or Pod Identity")
        if not self._had and _REFUSED.search(words):
            return ConfigError(f"{words}. Let this service account assume the role")
        return TransientError(f"{words}. Does the pod have an identity (IRSA, Pod Identity), or the machine a role?")


def _ends(it: Credentials) -> float:
    """When they expire, in seconds since 1970. minio keeps a UTC time without a zone."""
    return math.inf if it.expiration is None else it.expiration.replace(tzinfo=UTC).timestamp()


@lru_cache(maxsize=4)
def credentials(timeout: float) -> Identity:
    """The identity of this process. Made once, since it keeps what was fetched."""
    return Identity(timeout)


def msk_token(region: str, identity: Provider, now: float) -> tuple[str, float]:
    """(a token for MSK's IAM authentication, when it expires): a presigned request, signed here without any call.

    The form is that of AWS's own signers: https://github.com/aws/aws-msk-iam-sasl-signer-python
    """
    who = identity.retrieve()
    host = f"kafka.{region}.amazonaws.com"
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    scope = f"{stamp[:8]}/{region}/kafka-cluster/aws4_request"
    query = {
        "Action": "kafka-cluster:Connect",
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{who.access_key}/{scope}",
        "X-Amz-Date": stamp,
        "X-Amz-Expires": str(_TOKEN_SECONDS),
        "X-Amz-SignedHeaders": "host",
    }
    if who.session_token:
        query["X-Amz-Security-Token"] = who.session_token
    words = urllib.parse.urlencode(sorted(query.items()), quote_via=urllib.parse.quote, safe="-_.~")
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
    request = f"GET\n/\n{words}\nhost:{host}\n\nhost\n{hashlib.sha256(b'').hexdigest()}"
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{who.secret_key}".encode()
    for part in (*scope.split("/"), to_sign):
        key = hmac.digest(key, part.encode(), "sha256")
    url = f"https://{host}/?{words}&X-Amz-Signature={key.hex()}&User-Agent=headrace"
    token = base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")
    return token, min(now + _TOKEN_SECONDS, _ends(who))
