"""What AWS gives a pod or a machine: credentials, through minio's providers, and what is signed with them besides S3.

The variables are those that EKS injects: AWS_WEB_IDENTITY_TOKEN_FILE with AWS_ROLE_ARN (IRSA),
AWS_CONTAINER_CREDENTIALS_FULL_URI with AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE (Pod Identity); else EC2's own.
"""

import base64
import hashlib
import hmac
import os
import time
import urllib.parse
from datetime import UTC
from functools import lru_cache

import urllib3
from minio.credentials.credentials import Credentials
from minio.credentials.providers import EnvAWSProvider, IamAwsProvider, Provider
from minio.error import MinioException

from headrace.errors import ConfigError, TransientError

_TOKEN_SECONDS = 900


class Identity(Provider):
    """Credentials of the pod or the machine, fetched again before they expire.

    TransientError: whoever gives them is away. ConfigError: it refuses us.
    """

    def __init__(self, timeout: float) -> None:
        retry = urllib3.Retry(total=1, redirect=0, status=0, backoff_factor=0.2)
        http = urllib3.PoolManager(timeout=urllib3.Timeout(min(2.0, timeout), timeout), retries=retry)
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        # As in AWS's own clients: the endpoint of a private network.
        sts = os.environ.get("AWS_ENDPOINT_URL_STS") if os.environ.get("AWS_WEB_IDENTITY_TOKEN_FILE") else None
        static = os.environ.get("AWS_ACCESS_KEY_ID") and os.environ.get("AWS_SECRET_ACCESS_KEY")
        self._provider: Provider = (
            EnvAWSProvider() if static else IamAwsProvider(custom_endpoint=sts, http_client=http, region=region)
        )

    def retrieve(self) -> Credentials:
        """As minio asks for them, before each request."""
        try:
            return self._provider.retrieve()
        except (urllib3.exceptions.HTTPError, OSError, MinioException, ValueError, KeyError) as e:
            reason = getattr(e, "reason", None) or e
            words = f"AWS credentials: {reason}"
            if isinstance(e.__cause__ or e, FileNotFoundError | PermissionError):
                raise ConfigError(f"{words}. Give the pod its service account, with IRSA or Pod Identity") from e
            if any(f"status code {n}" in words for n in (400, 401, 403, 404)) or "AccessDenied" in words:
                raise ConfigError(f"{words}. Let this service account assume the role") from e
            raise TransientError(
                f"{words}. Has the pod an identity (IRSA, Pod Identity), or the machine a role?"
            ) from e


@lru_cache(maxsize=4)
def credentials(timeout: float) -> Identity:
    """The process's identity; made once, since it keeps what was fetched."""
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
    expires = now + _TOKEN_SECONDS
    if who.expiration is not None:
        expires = min(expires, who.expiration.replace(tzinfo=UTC).timestamp())  # minio keeps it in UTC, unsaid
    return token, expires
