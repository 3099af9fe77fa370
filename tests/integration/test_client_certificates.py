"""Client certificates: shown in real handshakes to a server that knows its callers by them."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.api.asking import Asking

from carrick.app import App, running
from carrick.egress import Egress, EgressPolicy
from carrick.environments import NewIntegration
from carrick.errors import ClientCertificateInvalid, ProviderUnreachable
from carrick.model.http import ClientCertificate, OutboundRequest
from carrick.settings import Settings
from carrick.testing.fake_provider import Account, FakeProvider

KEY = "3c2f8a56-0f3e-4c55-9d0e-2b1f6a7c8d90"


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._signed(self._name, self._key, is_authority=True)

    def issue(self, name: str) -> tuple[str, str]:
        """Return a certificate with that common name, valid for this machine, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return self._signed(subject, key, is_authority=False), private.decode()

    def _signed(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, is_authority: bool
    ) -> str:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]),
                critical=False,
            )
        )
        made = builder.sign(self._key, hashes.SHA256())
        return made.public_bytes(serialization.Encoding.PEM).decode()


@dataclass
class Guarded:
    """A provider that lets in who shows a certificate of its authority."""

    authority: Authority
    provider: FakeProvider

    def shown_by(self, account: Account) -> dict[str, str]:
        """Return what an account's client shows."""
        certificate, key = self.authority.issue(account.name)
        return {
            "client_id": account.username,
            "client_certificate": certificate,
            "client_private_key": key,
        }


@pytest.fixture
async def guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Guarded]:
    """A provider behind TLS that demands certificates, whose own this process trusts."""
    authority = Authority("test authority")
    trusted = tmp_path / "authority.pem"
    trusted.write_text(authority.certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    certificate, key = authority.issue("provider")
    chain = tmp_path / "provider.pem"
    chain.write_text(certificate + key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=authority.certificate)
    context.load_cert_chain(chain)
    context.verify_mode = ssl.CERT_REQUIRED
    async with FakeProvider(tls=context) as provider:
        yield Guarded(authority, provider)


@pytest.fixture
async def egress() -> AsyncIterator[Egress]:
    """Egress that may call this machine."""
    egress = Egress(EgressPolicy((ip_network("127.0.0.0/8"),)))
    yield egress
    await egress.close()


@pytest.fixture
async def app(tmp_path: Path, guarded: Guarded) -> AsyncIterator[App]:
    """A server with an integration of that provider."""
    url = guarded.provider.url
    entry = {
        "display_name": "Guarded",
        "auth_mode": "OAUTH2_CC",
        "token_url": f"{url}/oauth/token",
        "require_client_certificate": True,
        "proxy": {"base_url": url, "verification": {"method": "GET", "endpoints": ["/user"]}},
    }
    (tmp_path / "providers.yaml").write_text(yaml.safe_dump({"guarded": entry}))
    settings = Settings(
        data_dir=tmp_path / "data",
        egress_allow=("127.0.0.0/8",),
        providers_file=tmp_path / "providers.yaml",
        secret_keys={"dev": KEY},
    )
    async with running(settings, migrate_first=True) as app:
        environment = await app.rooms.environments.by_name("dev")
        assert environment is not None
        await app.rooms.integrations.create(
            environment.row_id, NewIntegration("guarded", "guarded")
        )
        yield app


async def test_a_certificate_opens_login_and_api(guarded: Guarded, app: App) -> None:
    """Token bought, verified and used for a proxied call, each over a handshake with it."""
    ask, account = Asking(app.api, KEY), guarded.provider.add_account("org-a")
    session = await ask("POST", "/connect/sessions", {"end_user": {"id": "u"}})
    query = f"connect_session_token={session.json['data']['token']}"
    form = guarded.shown_by(account)
    made = await ask("POST", f"/oauth2/auth/guarded?{query}", form, key=None)
    assert made.status == 200, made.body
    headers = {"Provider-Config-Key": "guarded", "Connection-Id": made.json["connectionId"]}
    me = await ask("GET", "/proxy/api/me", headers=headers)
    assert me.json["organization_id"] == account.organization_id
    other = guarded.shown_by(guarded.provider.add_account("org-b"))
    mixed = {**form, "client_private_key": other["client_private_key"]}
    refused = await ask("POST", f"/oauth2/auth/guarded?{query}", mixed, key=None)
    assert (refused.status, refused.code) == (400, "invalid_certificate_or_key_format")
    nothing = {"client_id": account.username, "client_secret": account.password}
    refused = await ask("POST", f"/oauth2/auth/guarded?{query}", nothing, key=None)
    assert (refused.status, refused.code) == (400, "invalid_certificate_or_key_format")
    borrowed = {**other, "client_id": account.username}
    refused = await ask("POST", f"/oauth2/auth/guarded?{query}", borrowed, key=None)
    assert (refused.status, refused.code) == (400, "client_credentials_fetch_error")


async def test_who_shows_no_good_certificate_is_not_let_in(
    guarded: Guarded, egress: Egress
) -> None:
    """None at all, or one of another authority, ends the handshake."""
    url = f"{guarded.provider.url}/api/me"
    stranger = ClientCertificate(*Authority("somebody else").issue("org-a"))
    for certificate in (stranger, None):
        request = OutboundRequest("GET", url, client_certificate=certificate)
        with pytest.raises(ProviderUnreachable):
            await egress.send(request)
    assert guarded.provider.calls == []


async def test_connections_are_shared_by_one_certificate_alone(
    guarded: Guarded, egress: Egress
) -> None:
    """A connection on which somebody is known is not used for anybody else."""
    first, second = (guarded.provider.add_account(name) for name in ("org-a", "org-b"))
    certificates = [
        ClientCertificate(*guarded.authority.issue(one.name)) for one in (first, second)
    ]
    for number in (0, 1, 0, 1):
        account = (first, second)[number]
        answer = await egress.send(
            OutboundRequest(
                "GET",
                f"{guarded.provider.url}/api/me",
                {"Authorization": f"Bearer {account.access_token}"},
                client_certificate=certificates[number],
            )
        )
        assert answer.json()["name"] == account.name


async def test_a_certificate_does_not_follow_to_another_server(
    guarded: Guarded, egress: Egress
) -> None:
    """A redirect to another origin goes on without it, and there the handshake fails."""
    account = guarded.provider.add_account("org-a")
    certificate = ClientCertificate(*guarded.authority.issue(account.name))
    async with FakeProvider() as elsewhere:
        elsewhere.fail(
            "status", status=302, headers={"Location": f"{guarded.provider.url}/api/me"}, times=None
        )
        request = OutboundRequest("GET", f"{elsewhere.url}/x", client_certificate=certificate)
        with pytest.raises(ProviderUnreachable):
            await egress.send(request, follow=1)
    assert guarded.provider.calls == []


@pytest.mark.parametrize("text", ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END"])
async def test_what_is_no_certificate_is_refused(egress: Egress, text: str) -> None:
    """Before anything is sent, and without asking a terminal for anything."""
    certificate = ClientCertificate(text, text)
    with pytest.raises(ClientCertificateInvalid):
        await egress.send(
            OutboundRequest("GET", "https://127.0.0.1:9/", client_certificate=certificate)
        )
