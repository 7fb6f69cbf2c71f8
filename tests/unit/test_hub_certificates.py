"""What devices log in with, as hub makes, lists and ends it: certificates, keys (PSK), the list of those that ended."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from headrace.config.model import DevicesCa
from headrace.errors import ConfigError
from headrace.hub.client import RefusedError, device_path
from headrace.identity import ca, crl
from headrace.identity.ca import Authority
from headrace.runtime import metrics
from hub import authority as authorities
from hub import service
from hub.changes import counter
from hub.database import Database
from tests.hubworld import Served, add, lite, served

OURS = Authority.make("devices")
PEM = serialization.Encoding.PEM


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Served]:
    with served(lite(tmp_path), OURS) as it:
        yield it


def public(key: Any) -> str:
    return str(key.public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode())


def request(*names: str, key: Any = None) -> str:
    """A request with these common names."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, n) for n in names])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return made.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(PEM).decode()


def certify(hub: Served, device: str, **body: str) -> dict[str, Any]:
    made: dict[str, Any] = hub.admin.post(device_path(device, "certificate"), body or {"csr": request(device)})
    return made


def ended(hub: Served) -> tuple[crl.Crl, dict[str, str]]:
    """The list that the broker gets, without the canary, and whose those in it are."""
    told = hub.broker.get("/api/broker")["certificates"]
    found = crl.read(told["crl"], OURS.pair.cert, "it")
    canary = ca.facts(told["canary"]["cert"], "it").serial
    assert canary in found.serials
    assert ca.facts(told["witness"]["cert"], "it").serial not in found.serials
    assert found.number == told["number"]
    return found._replace(serials=found.serials - {canary}), told["owners"]


def refused(hub: Served, path: str, body: Any = None) -> tuple[int, str]:
    with pytest.raises(RefusedError) as e:
        hub.admin.post(path, body)
    return e.value.status, str(e.value)


def test_a_certificate_names_the_device_whatever_the_request_says(hub: Served) -> None:
    hub.admin.post("/api/devices", {"id": "board-01", "credential": "none"})
    for asked in (request("board-02", "headrace"), request(), request("a/b")):
        made = certify(hub, "board-01", csr=asked)
        subject = x509.load_pem_x509_certificate(made["certificate"].encode()).subject
        assert subject.rfc4514_string() == "CN=board-01"
        assert made["authority"] == OURS.pair.cert
        assert (
            x509.load_pem_x509_certificate(made["certificate"].encode()).public_key()
            == x509.load_pem_x509_csr(asked.encode()).public_key()
        )
    assert hub.broker.get("/api/broker")["passwords"] == {}


def test_who_has_not_the_private_key_gets_no_certificate(hub: Served) -> None:
    add(hub.admin, "board-01")
    path = device_path("board-01", "certificate")
    good = x509.load_pem_x509_csr(request("board-01").encode()).public_bytes(serialization.Encoding.DER)
    forged = good[:-1] + bytes([good[-1] ^ 1])
    text = x509.load_der_x509_csr(forged).public_bytes(PEM).decode()
    assert refused(hub, path, {"csr": text}) == (422, "board-01: the request is not signed with the key in it")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "give a csr or a public_key"),
        ({"csr": "x", "public_key": "y"}, "give a csr or a public_key"),
        ({"csr": "garbage"}, "expected a certificate request or a public key in PEM"),
        ({"public_key": public(rsa.generate_private_key(65537, 2048).public_key())}, "expected an ECDSA key"),
        ({"public_key": public(ec.generate_private_key(ec.SECP192R1()).public_key())}, "of 256 bits or more"),
        ({"csr": "x" * 20_000}, "at most 16384"),
    ],
)
def test_a_key_that_is_of_no_use_is_refused_in_words(hub: Served, body: dict[str, str], words: str) -> None:
    add(hub.admin, "board-01")
    status, message = refused(hub, device_path("board-01", "certificate"), body)
    assert status == 422
    assert words in message
    assert ended(hub)[1] == {}


def test_two_certificates_live_beside_each_other_and_a_third_ends_the_oldest(hub: Served) -> None:
    add(hub.admin, "b")
    version = hub.broker.get("/api/broker")["version"]
    one, two = (
        certify(hub, "b"),
        certify(hub, "b", public_key=public(ec.generate_private_key(ec.SECP256R1()).public_key())),
    )
    assert two["broker_version"] == version, "the broker need not know"
    assert ended(hub)[1] == {}
    before = ended(hub)[0].number
    three = certify(hub, "b")
    found, owners = ended(hub)
    assert owners == {one["serial"]: "b"}
    assert found.serials == {int(one["serial"], 16)}
    assert (three["broker_version"], found.number) == (version + 1, before + 1)
    held = hub.admin.get(device_path("b"))["credentials"]
    assert [(c["kind"], c.get("serial"), c["revoked"] is None) for c in held] == [
        ("password", None, True), ("certificate", one["serial"], False), ("certificate", two["serial"], True),
        ("certificate", three["serial"], True),
    ]  # fmt: skip
    assert held[2]["ends"][:19] == two["ends"][:19]


def test_the_list_has_who_was_revoked_and_for_now_who_is_not_active(hub: Served) -> None:
    made = {d: certify(hub, d)["serial"] for d in ("a", "b", "c") if add(hub.admin, d)}
    hub.admin.post(device_path("a", "revoke"))
    hub.admin.patch(device_path("b"), {"state": "quarantined"})
    found, owners = ended(hub)
    assert owners == {made["a"]: "a", made["b"]: "b"}
    assert found.serials == {int(s, 16) for s in owners}
    assert found.ends == ca.facts(OURS.pair.cert, "it").ends, "a list that ends sooner locks everybody out"
    hub.admin.patch(device_path("b"), {"state": "active"})
    hub.admin.patch(device_path("a"), {"state": "active"})
    again, owners = ended(hub)
    assert owners == {made["a"]: "a"}, "what was revoked stays so"
    assert again.number > found.number
    number = again.number
    hub.admin.post(device_path("c", "rotate"))
    assert ended(hub)[0].number == number, "a password changes nothing in it"


def test_one_credential_can_be_ended_alone(hub: Served) -> None:
    add(hub.admin, "b")
    one, two = certify(hub, "b"), certify(hub, "b")
    number = next(
        c["number"] for c in hub.admin.get(device_path("b"))["credentials"] if c.get("serial") == two["serial"]
    )
    hub.admin.post(device_path("b", "credentials", str(number), "revoke"))
    assert ended(hub)[1] == {two["serial"]: "b"}
    assert one["serial"] not in ended(hub)[1]
    assert refused(hub, device_path("b", "credentials", str(number), "revoke"))[0] == 404
    assert set(hub.broker.get("/api/broker")["passwords"]) == {"b"}
    hub.admin.post(device_path("b", "credentials", "1", "revoke"))
    assert hub.broker.get("/api/broker")["passwords"] == {}


def test_no_certificate_for_who_is_not_active_nor_where_hub_makes_none(hub: Served, tmp_path: Path) -> None:
    add(hub.admin, "b")
    hub.admin.patch(device_path("b"), {"state": "quarantined"})
    assert refused(hub, device_path("b", "certificate"), {"csr": request("b")})[0] == 409
    assert refused(hub, device_path("c", "certificate"), {"csr": request("c")})[0] == 404
    with served(f"sqlite:///{tmp_path / 'other.sqlite'}") as without:
        add(without.admin, "b")
        assert "hub.serve.devices_ca" in refused(without, device_path("b", "certificate"), {"csr": request("b")})[1]
        assert without.broker.get("/api/broker")["certificates"] is None


def test_a_key_is_given_to_the_broker_as_it_is_and_renewed(hub: Served) -> None:
    made = hub.admin.post("/api/devices", {"id": "b", "credential": "psk"})
    assert len(bytes.fromhex(made["psk"])) == 32
    assert "password" not in made
    told = hub.broker.get("/api/broker")
    assert (told["psks"], told["passwords"]) == ({"b": made["psk"]}, {})
    assert made["psk"] not in str(hub.admin.get(device_path("b")))
    new = hub.admin.post(device_path("b", "psk"))
    assert hub.broker.get("/api/broker")["psks"] == {"b": new["psk"]} != {"b": made["psk"]}
    hub.admin.post(device_path("b", "rotate"))
    told = hub.broker.get("/api/broker")
    assert (set(told["psks"]), set(told["passwords"])) == ({"b"}, {"b"}), "one kind does not end another"
    hub.admin.post(device_path("b", "revoke"))
    assert hub.broker.get("/api/broker")["psks"] == {}


def test_the_broker_is_told_who_is_a_gateway(hub: Served) -> None:
    add(hub.admin, "d")
    for gateway in ("g2", "g1"):
        add(hub.admin, gateway, kind="gateway")
    assert hub.broker.get("/api/broker")["gateways"] == ["g1", "g2"]
    hub.admin.post(device_path("g2", "revoke"))
    assert hub.broker.get("/api/broker")["gateways"] == ["g1"]


def test_an_import_says_who_got_what(hub: Served) -> None:
    fleet = [{"id": "a"}, {"id": "b", "credential": "psk"}, {"id": "c", "credential": "none"}]
    made = hub.admin.post("/api/devices/import", {"devices": fleet})
    assert (set(made["passwords"]), set(made["psks"])) == ({"a"}, {"b"})


def files(folder: Path, pair: ca.Pair) -> DevicesCa:
    for name, text in (("ca.pem", pair.cert), ("ca.key", pair.key)):
        (folder / name).write_text(text)
    return DevicesCa(cert_file=folder / "ca.pem", key_file=folder / "ca.key")


def no_crl_sign() -> ca.Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    made = x509.load_pem_x509_certificate(OURS.pair.cert.encode())
    usage = x509.KeyUsage(True, False, False, False, False, True, False, False, False)
    cert = (
        x509.CertificateBuilder().subject_name(made.subject).issuer_name(made.subject).public_key(key.public_key())
        .serial_number(1).not_valid_before(made.not_valid_before_utc).not_valid_after(made.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True).sign(key, hashes.SHA256())
    )  # fmt: skip
    text = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    return ca.Pair(cert.public_bytes(PEM).decode(), text)


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        (ca.Pair(OURS.pair.cert, "garbage"), "expected a private key in PEM"),
        (ca.Pair(OURS.pair.cert, Authority.make("other").pair.key), "the key is not that of the certificate"),
        (OURS.client("headrace"), "is not the certificate of an authority"),
        (Authority.make("old", days=-0.01).pair, "it ended on"),
        (no_crl_sign(), "may not sign lists of revoked certificates"),
    ],
)
def test_an_authority_that_would_harm_is_refused_at_the_start(tmp_path: Path, pair: ca.Pair, words: str) -> None:
    with pytest.raises(ConfigError, match=r"hub\.serve\.devices_ca: ") as e:
        authorities.read(files(tmp_path, pair))
    assert words in str(e.value)


def test_an_authority_is_read_from_its_files_or_is_not_there(tmp_path: Path) -> None:
    assert authorities.read(DevicesCa()) is None
    good = files(tmp_path, OURS.pair)
    found = authorities.read(good)
    assert found is not None
    assert found.pair == OURS.pair
    (tmp_path / "ca.key").unlink()
    with pytest.raises(ConfigError, match=r"ca\.key: No such file"):
        authorities.read(good)


def test_another_authority_is_news_for_the_broker_and_the_same_is_none(tmp_path: Path) -> None:
    database = Database(lite(tmp_path))
    database.migrate()

    def versions() -> tuple[int, int]:
        with database.read() as connection:
            return counter(connection, "broker"), counter(connection, "crl")

    seen = []
    for it in (None, OURS, OURS, Authority.make("devices"), None):
        authorities.note(database, it)
        seen.append(versions())
    assert seen == [(0, 0), (1, 1), (1, 1), (2, 2), (3, 3)]
    database.close()


def test_hub_notes_while_the_broker_does_not_go_by_the_list(hub: Served) -> None:
    add(hub.admin, "b")

    def noted() -> tuple[float, float]:
        service.measure(hub.database)
        return tuple(g._value.get() for g in (metrics.HUB_APPLIED, metrics.HUB_UNPROVEN))

    hub.broker.post("/api/broker/applied", {"version": 1})
    certify(hub, "b")
    hub.admin.post(device_path("b", "revoke"))
    hub.broker.post("/api/broker/applied", {"version": 2, "unproven": True})
    assert noted() == (1, 1)
    assert not hub.admin.in_force(2, 0)
    hub.broker.post("/api/broker/applied", {"version": 2})
    assert noted() == (2, 0)
