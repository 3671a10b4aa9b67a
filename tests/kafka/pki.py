"""A temporary certificate authority with certificates of a server, a client and of one that is both.

All are PEM files. Kafka reads PEM stores (KIP-651), so neither keytool nor passwords are needed. A key store
is a file with the unencrypted PKCS#8 key, followed by its certificate. A trust store is the authority's
certificate.
"""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CLIENT_NAME = "detector-client"
KEY_PASSWORD = "only-for-tests"
VALID = datetime.timedelta(days=30)
_KEY_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pki:
    """Paths of the files."""

    ca: Path  # the authority's certificate: what both sides trust
    server_store: Path  # the broker's key and certificate, for 127.0.0.1 and localhost
    server_expired: Path  # the same, with a certificate that ended an hour ago
    client_certificate: Path
    client_expired: Path
    client_key: Path
    client_locked_key: Path  # the same key, encrypted with KEY_PASSWORD
    peer_certificate: Path  # of one that is a server and a client, for localhost
    peer_key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class _Authority:
    name: x509.Name
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def create_pki(folder: Path) -> Pki:
    """Write a new authority and its certificates into `folder`, which is created."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = _authority()
    server_key = ec.generate_private_key(ec.SECP256R1())
    client_key = ec.generate_private_key(ec.SECP256R1())
    peer_key = ec.generate_private_key(ec.SECP256R1())
    server = _leaf(authority, server_key, "localhost", ExtendedKeyUsageOID.SERVER_AUTH)
    client = _leaf(authority, client_key, CLIENT_NAME, ExtendedKeyUsageOID.CLIENT_AUTH)
    purposes = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
    peer = _leaf(authority, peer_key, "localhost", *purposes)
    pki = Pki(
        ca=folder / "ca.pem",
        server_store=folder / "server.pem",
        server_expired=folder / "server_expired.pem",
        client_certificate=folder / "client.pem",
        client_expired=folder / "client_expired.pem",
        client_key=folder / "client.key",
        client_locked_key=folder / "client_locked.key",
        peer_certificate=folder / "peer.pem",
        peer_key=folder / "peer.key",
    )
    pki.ca.write_bytes(_pem(authority.certificate))
    pki.server_store.write_bytes(_pem_key(server_key) + _pem(server))
    pki.client_certificate.write_bytes(_pem(client))
    pki.client_key.write_bytes(_pem_key(client_key))
    pki.client_locked_key.write_bytes(_pem_key(client_key, KEY_PASSWORD))
    past = -datetime.timedelta(hours=1)
    server = _leaf(authority, server_key, "localhost", ExtendedKeyUsageOID.SERVER_AUTH, ends=past)
    client = _leaf(authority, client_key, CLIENT_NAME, ExtendedKeyUsageOID.CLIENT_AUTH, ends=past)
    pki.server_expired.write_bytes(_pem_key(server_key) + _pem(server))
    pki.client_expired.write_bytes(_pem(client))
    pki.peer_certificate.write_bytes(_pem(peer))
    pki.peer_key.write_bytes(_pem_key(peer_key))
    return pki


def _authority() -> _Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("detector test authority")
    certificate = (
        _builder(name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage("key_cert_sign", "crl_sign"), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _Authority(name=name, key=key, certificate=certificate)


def _leaf(
    authority: _Authority,
    key: ec.EllipticCurvePrivateKey,
    common_name: str,
    *purposes: x509.ObjectIdentifier,
    ends: datetime.timedelta = VALID,
) -> x509.Certificate:
    # Python 3.13 checks strictly (VERIFY_X509_STRICT): key usage and the authority's key id must be there.
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))]
    return (
        _builder(_name(common_name), authority.name, key, ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False
        )
        .sign(authority.key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    ends: datetime.timedelta = VALID,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=2))
        .not_valid_after(now + ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(*allowed: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: usage in allowed for usage in _KEY_USAGES})


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _pem_key(key: ec.EllipticCurvePrivateKey, password: str | None = None) -> bytes:
    locked: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        locked = serialization.BestAvailableEncryption(password.encode())
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
