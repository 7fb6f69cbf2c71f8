"""Certificate requests, as libraries write them."""

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from headrace.identity import csr
from tests.enrolling import Key

# Made with mbedTLS 2.28.3: NULL behind ecdsa-with-SHA256.
MBEDTLS = """-----BEGIN CERTIFICATE REQUEST-----
MIHOMHMCAQAwETEPMA0GA1UEAwwGZGV2aWNlMFkwEwYHKoZIzj0CAQYIKoZIzj0D
AQcDQgAExJnVjVCeCib8tVPHjmIVy/avV4ODWqjKCkmTY/NcmjfwdYSSahxvyWYH
/hLSdNjcZrODRDOQiuVWC1jrjKpgbKAAMAwGCCqGSM49BAMCBQADSQAwRgIhANfw
3A/nEBXKBMpLnIXjZPilvpPr03M1INDlZTgXLGxoAiEAzWhgMGpcqCyFRb2f0Uqe
CFRitVAFn7jWjuLdudyDgtw=
-----END CERTIFICATE REQUEST-----
"""


def test_a_request_of_mbedtls_is_read_and_its_signature_counts() -> None:
    with pytest.raises(ValueError):
        x509.load_pem_x509_csr(MBEDTLS.encode())  # when this is read, csr.py is of no use any more
    found = csr.load(MBEDTLS)
    assert found.is_signature_valid
    der = base64.b64decode("".join(MBEDTLS.splitlines()[1:-1]))
    forged = base64.encodebytes(der[:-1] + bytes([der[-1] ^ 1])).decode()
    text = f"-----BEGIN CERTIFICATE REQUEST-----\n{forged}-----END CERTIFICATE REQUEST-----\n"
    assert not csr.load(text).is_signature_valid


def test_other_requests_are_read_as_they_are() -> None:
    text = Key().csr("name")
    der = serialization.Encoding.DER
    assert csr.load(text).public_bytes(der) == x509.load_pem_x509_csr(text.encode()).public_bytes(der)
    for wrong in ("", "garbage", "-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----", text[:200]):
        with pytest.raises(ValueError):
            csr.load(wrong)


@given(st.binary(max_size=80))
def test_bytes_that_are_no_request_are_refused(data: bytes) -> None:
    text = base64.encodebytes(data).decode()
    with pytest.raises(ValueError):
        csr.load(f"-----BEGIN CERTIFICATE REQUEST-----\n{text}-----END CERTIFICATE REQUEST-----\n")
