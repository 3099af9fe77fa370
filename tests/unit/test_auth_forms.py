"""The modes whose credentials are made of a form: what they ask, make, and make of bad answers."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import warnings
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from joserfc import jwk, jwt

from carrick.auth import ModeContext, Obtained, SigningMode, Steps, mode_for
from carrick.auth.aws_signature import AwsKeys, signed
from carrick.auth.login import COOKIES
from carrick.auth.xml import from_xml, to_xml
from carrick.errors import (
    AwsConfigMissing,
    AwsRegionMissing,
    CarrickError,
    ClientCertificateInvalid,
    InvalidAuthMode,
    InvalidBody,
    ProviderAnswerInvalid,
    ProviderRefused,
    ProviderUnavailable,
    SigningKeyInvalid,
)
from carrick.model.auth import AuthMode, Credentials
from carrick.model.environment import Integration, IntegrationState
from carrick.model.http import OutboundAnswer, OutboundRequest
from carrick.model.provider import FieldSpec, Provider
from carrick.providers import interpolate

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
NONCE = "0123456789abcdef0123456789abcdef"
RSA = jwk.RSAKey.generate_key(2048)
EC = jwk.ECKey.generate_key("P-256")
CALL = OutboundRequest("GET", "https://api.example.com/me")


def context(
    auth_mode: AuthMode,
    specs: Mapping[str, FieldSpec] | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    developer: Mapping[str, str] | None = None,
    previous: Mapping[str, Any] | None = None,
    options: Mapping[str, FieldSpec] | None = None,
    **definition: Any,
) -> ModeContext:
    return ModeContext(
        provider=Provider(
            "example",
            "Example",
            auth_mode,
            definition,
            credentials=specs or {},
            assertion_option=options or {},
        ),
        integration=Integration(
            row_id=1,
            environment_id=1,
            integration_id="example",
            provider="example",
            display_name=None,
            state=IntegrationState.ACTIVE,
            credentials=None,
            integration_config=developer or {},
        ),
        connection_config=config or {},
        now=NOW,
        render=interpolate,
        nonce=NONCE,
        previous_config=previous or {},
    )


def specs(*names: str) -> dict[str, FieldSpec]:
    return {name: FieldSpec(name, name) for name in names}


def answering(body: Any, status: int = 200, **headers: str) -> OutboundAnswer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return OutboundAnswer(status, headers, content)


def asked(steps: Steps | None, *answers: OutboundAnswer) -> OutboundRequest:
    assert steps is not None
    request = next(steps)
    for answer in answers:
        request = steps.send(answer)
    return request


def concluded(steps: Steps | None, *answers: OutboundAnswer) -> Obtained:
    assert steps is not None
    try:
        next(steps)
        for answer in answers:
            steps.send(answer)
    except StopIteration as finished:
        obtained: Obtained = finished.value
        return obtained
    raise AssertionError("the steps ask for more")


def read(body: bytes | None) -> Any:
    assert body is not None
    return json.loads(body)


# --- JWT ------------------------------------------------------------------------------------

JWT = mode_for(AuthMode.JWT)
KEY_SPECS = specs("privateKey", "issuerId")


def minting(protocol: str, **changes: Any) -> ModeContext:
    token = {
        "signing_key": "${credentials.privateKey}",
        "expires_in_ms": 1_200_000,
        "header": {"kid": "the-key"},
        "payload": {"iss": "${credentials.issuerId}", "aud": "api", "scope": "${credentials.none}"},
    }
    values = {"signature": {"protocol": protocol}, "token": token, **changes}
    return context(AuthMode.JWT, KEY_SPECS, **values)


@pytest.mark.parametrize(
    ("protocol", "algorithm", "key", "verifies"),
    [
        ("RSA", "RS256", RSA.as_pem(private=True).decode(), RSA),
        ("EC", "ES256", EC.as_pem(private=True).decode(), EC),
        ("EC", "ES256", EC.as_pem(private=True).decode().replace("\n", "\\n"), EC),
        ("HMAC", "HS256", "ab" * 32, jwk.OctKey.import_key(bytes.fromhex("ab" * 32))),
    ],
    ids=["rsa", "ec", "ec-on-one-line", "hmac"],
)
def test_tokens_are_signed_as_the_definition_says(
    protocol: str, algorithm: str, key: str, verifies: Any
) -> None:
    """Header, claims and lifetime are the definition's; what nothing fills is left out."""
    body = {"type": "JWT", "privateKey": key, "issuerId": "me"}
    made = concluded(JWT.from_input(minting(protocol), body)).credentials
    decoded = jwt.decode(made.values["token"], verifies, algorithms=[algorithm])
    assert decoded.header == {"kid": "the-key", "alg": algorithm, "typ": "JWT"}
    issued = int(NOW.timestamp())
    assert decoded.claims == {"iat": issued, "exp": issued + 1200, "iss": "me", "aud": "api"}
    assert made.expires_at == NOW + timedelta(minutes=20)
    assert set(made.values) == {"privateKey", "issuerId", "token"}
    authorized = JWT.authorize(minting(protocol), made, CALL)
    assert authorized.headers == {"Authorization": f"Bearer {made.values['token']}"}
    assert concluded(JWT.refresh(minting(protocol), made)).credentials.values.keys() == {
        "privateKey",
        "issuerId",
        "token",
    }


def test_an_hmac_secret_can_be_text() -> None:
    """`hmac_secret_encoding: utf8` takes the secret as it is written."""
    secret = "a secret that is long enough to sign with"
    ctx = minting("HMAC", signature={"protocol": "HMAC", "hmac_secret_encoding": "utf8"})
    made = concluded(JWT.from_input(ctx, {"privateKey": secret, "issuerId": "me"})).credentials
    jwt.decode(made.values["token"], jwk.OctKey.import_key(secret), algorithms=["HS256"])


@pytest.mark.parametrize(
    ("protocol", "key"),
    [
        ("RSA", "not a key"),
        ("RSA", EC.as_pem(private=True).decode()),
        ("EC", EC.as_pem(private=False).decode()),
        ("HMAC", "no hexadecimal digits"),
    ],
)
def test_keys_that_cannot_sign_are_refused(protocol: str, key: str) -> None:
    """The message does not hold the key."""
    steps = JWT.from_input(minting(protocol), {"privateKey": key, "issuerId": "me"})
    with pytest.raises(SigningKeyInvalid) as caught:
        next(steps)
    assert key not in caught.value.message


def test_an_unknown_signature_is_refused() -> None:
    """A definition that asks for what nobody implements fails, it does not sign otherwise."""
    with pytest.raises(InvalidAuthMode, match="XYZ"):
        next(JWT.from_input(minting("XYZ"), {"privateKey": "k", "issuerId": "me"}))


def test_a_minted_token_can_be_exchanged() -> None:
    """With a token address, the minted token is the assertion of RFC 7523."""
    ctx = minting("EC", token_url="https://login.example.com/token")
    body = {"privateKey": EC.as_pem(private=True).decode(), "issuerId": "me"}
    request = asked(JWT.from_input(ctx, body))
    form = dict(parse_qsl((request.body or b"").decode()))
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    jwt.decode(form["assertion"], EC, algorithms=["ES256"])
    answer = answering({"access_token": "bought", "expires_in": 60})
    made = concluded(JWT.from_input(ctx, body), answer).credentials
    assert made.values["token"] == "bought"


# --- fields that definitions describe -------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "sent", "kept"),
    [
        (FieldSpec("x", pattern="^a+$"), {"x": "aa"}, {"x": "aa"}),
        (FieldSpec("x", pattern="^a+$"), {"x": "b"}, None),
        (FieldSpec("x", enum=("a", "b")), {"x": "c"}, None),
        (FieldSpec("x", format="email"), {"x": "nobody"}, None),
        (FieldSpec("x", format="uuid"), {"x": "no"}, None),
        (FieldSpec("x", format="hostname"), {"x": "a.example.com/x"}, None),
        (FieldSpec("x", format="uri"), {"x": "ftp://a"}, None),
        (
            FieldSpec("x", format="uri"),
            {"x": "https://a.example.com"},
            {"x": "https://a.example.com"},
        ),
        (FieldSpec("x", optional=True), {}, {}),
        (FieldSpec("x", optional=True, pattern="^a$"), {"x": ""}, {}),
        (FieldSpec("x"), {}, None),
        (FieldSpec("x"), {"x": ""}, None),
        (FieldSpec("x"), {"x": 1}, None),
        (FieldSpec("x", default_value="d"), {}, {"x": "d"}),
        (FieldSpec("x", hidden=True, default_value="d"), {}, {"x": "d"}),
        (FieldSpec("x", automated=True), {"x": "mine"}, None),
        (FieldSpec("x", suffix=".example.com"), {"x": "acme.example.com"}, {"x": "acme"}),
        (FieldSpec("x", optional=True), {"y": "unknown"}, None),
        (FieldSpec("x"), {"x": "a" * 16_385}, None),
    ],
)
def test_fields_are_what_their_definition_says(
    spec: FieldSpec, sent: dict[str, Any], kept: dict[str, str] | None
) -> None:
    """Pattern, choice, form, default, decoration; unknown and automated fields are refused."""
    mode = mode_for(AuthMode.TWO_STEP)
    ctx = context(
        AuthMode.TWO_STEP, {"x": spec}, token_url="https://l.example.com", token_params={"a": "b"}
    )
    if kept is None:
        with pytest.raises(InvalidBody):
            mode.from_input(ctx, {"type": "TWO_STEP", **sent})
        return
    steps = mode.from_input(ctx, {"type": "TWO_STEP", **sent})
    made = concluded(steps, answering({"access_token": "t"})).credentials
    assert {name: made.values[name] for name in ("x",) if name in made.values} == kept


# --- TWO_STEP -------------------------------------------------------------------------------

TWO_STEP = mode_for(AuthMode.TWO_STEP)
LOGIN = {"type": "TWO_STEP", "user": "ann", "password": "hunter2-secret"}


def logging_in(**definition: Any) -> ModeContext:
    values = {
        "token_url": "https://login.example.com/session",
        "token_params": {"u": "${credentials.user}", "p": "${credentials.password}"},
        "token_response": {"token": "data.token"},
        **definition,
    }
    return context(AuthMode.TWO_STEP, specs("user", "password"), **values)


def test_a_login_is_asked_in_the_definitions_words() -> None:
    """JSON unless said otherwise; headers may hold credentials and functions."""
    ctx = logging_in(token_headers={"x-key": "${base64(${credentials.user})}"})
    request = asked(TWO_STEP.from_input(ctx, LOGIN))
    assert (request.method, request.url) == ("POST", "https://login.example.com/session")
    assert read(request.body) == {"u": "ann", "p": "hunter2-secret"}
    assert request.headers["x-key"] == base64.b64encode(b"ann").decode()
    form = asked(TWO_STEP.from_input(logging_in(body_format="form"), LOGIN))
    assert form.body == b"u=ann&p=hunter2-secret"
    get = asked(TWO_STEP.from_input(logging_in(token_request_method="GET"), LOGIN))
    assert (get.method, get.body) == ("GET", None)
    assert dict(parse_qsl(urlsplit(get.url).query)) == {"u": "ann", "p": "hunter2-secret"}
    document = logging_in(body_format="xml", token_params={"in": {"@v": "1", "u": "<${user}>"}})
    xml = asked(TWO_STEP.from_input(document, LOGIN))
    assert (xml.body or b"").endswith(b'<in v="1"><u>&lt;ann&gt;</u></in>')


def test_a_password_that_looks_like_a_placeholder_is_sent() -> None:
    """What a user types is never read as a template, nor taken for a missing value."""
    odd = {**LOGIN, "password": "${credentials.user}"}
    request = asked(TWO_STEP.from_input(logging_in(), odd))
    assert read(request.body)["p"] == "${credentials.user}"


def test_later_steps_use_earlier_answers() -> None:
    """`${stepN.x}`, headers kept by name, cookies joined; the token is in the last answer."""
    ctx = logging_in(
        token_response_headers=["set-cookie", "x-ticket"],
        additional_steps=[
            {
                "token_url": "https://login.example.com/${step1.data.id}/token",
                "token_headers": {"cookie": f"${{step1.{COOKIES}}}", "t": "${step1.x-ticket}"},
                "token_params": {"v": "2"},
            }
        ],
        token_response_metadata=["region"],
    )
    cookies = "a=1; Expires=Wed, 21 Oct 2099 07:28:00 GMT; Path=/, b=2; HttpOnly"
    first = answering({"data": {"id": "i 1"}}, **{"set-cookie": cookies, "x-ticket": "tick"})
    request = asked(TWO_STEP.from_input(ctx, LOGIN), first)
    assert request.url == "https://login.example.com/i%201/token"
    assert (request.headers["cookie"], request.headers["t"]) == ("a=1; b=2", "tick")
    last = answering({"data": {"token": "t"}, "region": "eu"})
    obtained = concluded(TWO_STEP.from_input(ctx, LOGIN), first, last)
    assert obtained.credentials.values["token"] == "t"
    assert obtained.connection_config == {"region": "eu"}


def own_end(seconds: int) -> str:
    claims = json.dumps({"exp": int(NOW.timestamp()) + seconds}).encode()
    return f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.sig"


@pytest.mark.parametrize(
    ("definition", "answer", "ends_in"),
    [
        ({"token_response": {"token": "t", "token_expiration": "e"}}, {"t": "x", "e": 60}, 60),
        (
            {
                "token_response": {
                    "token": "t",
                    "token_expiration": "e",
                    "token_expiration_strategy": "expireAt",
                }
            },
            {"t": "x", "e": "2026-01-05T09:01:00Z"},
            60,
        ),
        ({"token_response": {"token": "t"}, "token_expires_in_ms": 5000}, {"t": "x"}, 5),
        ({"token_response": {"token": "t"}, "token_expires_in_ms": 0}, {"t": own_end(9)}, None),
        ({"token_response": {"token": "t"}}, {"t": own_end(900)}, 900),
        ({"token_response": {"token": "t"}}, {"t": "opaque"}, None),
        ({"token_response": {"token": "t"}}, {"t": 12345}, None),
    ],
)
def test_when_a_bought_token_ends(
    definition: dict[str, Any], answer: dict[str, Any], ends_in: int | None
) -> None:
    """As the answer says, as the definition measures, as the token itself states, or never."""
    made = concluded(TWO_STEP.from_input(logging_in(**definition), LOGIN), answering(answer))
    expected = None if ends_in is None else NOW + timedelta(seconds=ends_in)
    assert made.credentials.expires_at == expected
    assert isinstance(made.credentials.values["token"], str)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (answering({"message": "password hunter2-secret is wrong"}, 401), ProviderRefused),
        (answering({"error": "hunter2-secret"}, 200), ProviderRefused),
        (answering({"error": "down"}, 500), ProviderUnavailable),
        (answering(b"<html><body>hunter2-secret</body></html>"), ProviderAnswerInvalid),
        (answering(b"<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>"), ProviderAnswerInvalid),
        (answering(b"not json hunter2-secret"), ProviderAnswerInvalid),
        (answering({"data": {}}), ProviderAnswerInvalid),
        (answering({"data": {"token": ""}}), ProviderAnswerInvalid),
        (answering({"data": {"token": {"hunter2-secret": 1}}}), ProviderAnswerInvalid),
    ],
)
def test_logins_that_buy_nothing(answer: OutboundAnswer, error: type[CarrickError]) -> None:
    """Refused, unavailable, nonsense: told apart, and never in words that hold the password."""
    with pytest.raises(error) as caught:
        concluded(TWO_STEP.from_input(logging_in(), LOGIN), answer)
    told = f"{caught.value.message} {caught.value.payload}"
    assert "hunter2-secret" not in told


def test_a_refresh_token_is_used_and_kept() -> None:
    """The refresh address gets it; without one in the answer the old one stays."""
    ctx = logging_in(
        refresh_url="https://login.example.com/refresh",
        refresh_token_params={"r": "${refresh_token}"},
        refresh_token_headers={"a": "Bearer ${accessToken}"},
    )
    stored = Credentials(
        AuthMode.TWO_STEP,
        {"user": "ann", "password": "p", "token": "old", "refresh_token": "rrr", "raw": {}},
    )
    request = asked(TWO_STEP.refresh(ctx, stored))
    assert request.url == "https://login.example.com/refresh"
    assert (read(request.body), request.headers["a"]) == ({"r": "rrr"}, "Bearer old")
    made = concluded(TWO_STEP.refresh(ctx, stored), answering({"data": {"token": "new"}}))
    assert made.credentials.values == {
        "user": "ann",
        "password": "p",
        "token": "new",
        "refresh_token": "rrr",
        "raw": {"data": {"token": "new"}},
    }


def test_a_dead_refresh_token_is_replaced_by_a_login() -> None:
    """A refusal of the refresh token is not the end while the password is known."""
    ctx = logging_in(refresh_url="https://login.example.com/refresh")
    stored = Credentials(
        AuthMode.TWO_STEP, {"user": "a", "password": "p", "token": "o", "refresh_token": "r"}
    )
    request = asked(TWO_STEP.refresh(ctx, stored), answering({"error": "expired"}, 401))
    assert request.url == "https://login.example.com/session"


def test_options_sign_an_assertion_and_are_not_kept() -> None:
    """`assertionOption` is used once; what needed it cannot be refreshed without it."""
    ctx = context(
        AuthMode.TWO_STEP,
        specs("company"),
        options=specs("privateKey"),
        token_url="https://login.example.com/token",
        token_params={"company": "${credentials.company}", "assertion": "${assertion}"},
        assertion={
            "type": "jwt",
            "key": "${assertionOption.privateKey}",
            "issuer": "us",
            "audiences": "them",
            "lifetimeInSeconds": 60,
            "payload": {"sub": "${credentials.company}"},
        },
    )
    pem = RSA.as_pem(private=True).decode()
    body = {"type": "TWO_STEP", "company": "acme", "assertionOption": {"privateKey": pem}}
    sent = read(asked(TWO_STEP.from_input(ctx, body)).body)
    decoded = jwt.decode(sent["assertion"], RSA, algorithms=["RS256"])
    issued = int(NOW.timestamp())
    assert decoded.claims == {
        "iat": issued,
        "exp": issued + 60,
        "iss": "us",
        "aud": "them",
        "sub": "acme",
    }
    made = concluded(TWO_STEP.from_input(ctx, body), answering({"access_token": "t"})).credentials
    assert set(made.values) == {"company", "token", "raw"}
    assert TWO_STEP.refresh(ctx, made) is None
    with pytest.raises(InvalidBody) as caught:
        TWO_STEP.from_input(ctx, {"company": "acme"})
    assert (caught.value.issues or ())[0]["path"] == ["assertionOption", "privateKey"]


def test_a_saml_assertion_is_not_made() -> None:
    """It is said clearly instead of sending something else."""
    with pytest.raises(InvalidAuthMode, match="SAML"):
        next(TWO_STEP.from_input(logging_in(assertion={"type": "saml"}), LOGIN))


def test_what_the_integration_brings_nobody_has_to_send() -> None:
    """A preconfigured field is used from there, and not stored with the connection."""
    ctx = context(
        AuthMode.TWO_STEP,
        specs("user", "app"),
        developer={"app": "ours"},
        token_url="https://login.example.com",
        token_params={"u": "${credentials.user}", "app": "${credentials.app}"},
    )
    steps = TWO_STEP.from_input(ctx, {"user": "ann"})
    assert read(asked(steps).body) == {"u": "ann", "app": "ours"}
    made = concluded(TWO_STEP.from_input(ctx, {"user": "ann"}), answering({"access_token": "t"}))
    assert "app" not in made.credentials.values


@pytest.mark.parametrize(
    ("headers", "authorized"),
    [
        ({}, {"Authorization": "Bearer t"}),
        ({"x-session": "${accessToken}"}, {}),
        ({"x-session": "${credentials.token}"}, {}),
        ({"cookie": "${credentials.raw._cookies}"}, {}),
        ({"x-version": "1"}, {"Authorization": "Bearer t"}),
    ],
)
def test_where_a_bought_token_goes(headers: dict[str, str], authorized: dict[str, str]) -> None:
    """A bearer header, unless the definition places the token itself."""
    ctx = logging_in(proxy={"headers": headers})
    credentials = Credentials(AuthMode.TWO_STEP, {"token": "t"})
    assert TWO_STEP.authorize(ctx, credentials, CALL).headers == authorized
    assert TWO_STEP.template_values(credentials)["accessToken"] == "t"


# --- SIGNATURE ------------------------------------------------------------------------------

SIGNATURE = mode_for(AuthMode.SIGNATURE)


@pytest.mark.parametrize("digest", ["hex", "raw"])
def test_a_user_name_token_digests_nonce_time_and_password(digest: str) -> None:
    """As text in most servers, as bytes with an encoded nonce in the profile itself."""
    ctx = context(AuthMode.SIGNATURE, signature={"digest": digest}, token={"expires_in_ms": 60_000})
    body = {"type": "SIGNATURE", "username": "ann", "password": "secret"}
    made = concluded(SIGNATURE.from_input(ctx, body)).credentials
    said = dict(re.findall(r'(\w+)="([^"]*)"', made.values["token"]))
    assert (said["Username"], said["Created"]) == ("ann", "2026-01-05T09:00:00Z")
    nonce = said["Nonce"] if digest == "hex" else base64.b64decode(said["Nonce"]).decode()
    sha1 = hashlib.sha1(f"{nonce}{said['Created']}secret".encode())
    expected = sha1.hexdigest().encode() if digest == "hex" else sha1.digest()
    assert base64.b64decode(said["PasswordDigest"]) == expected
    assert made.expires_at == NOW + timedelta(minutes=1)
    assert SIGNATURE.authorize(ctx, made, CALL).headers["X-WSSE"] == made.values["token"]
    placed = context(AuthMode.SIGNATURE, proxy={"headers": {"x-wsse": "${accessToken}"}})
    assert SIGNATURE.authorize(placed, made, CALL) is CALL


@pytest.mark.parametrize("body", [{"username": "a"}, {"username": 'a"', "password": "p"}, {}])
def test_a_signature_needs_both(body: dict[str, str]) -> None:
    """And a user name that does not end its own header."""
    with pytest.raises(InvalidBody):
        SIGNATURE.from_input(context(AuthMode.SIGNATURE), {"type": "SIGNATURE", **body})


# --- BILL -----------------------------------------------------------------------------------

BILL = mode_for(AuthMode.BILL)
BILL_FORM = {"username": "u", "password": "hunter2-secret", "organization_id": "o", "dev_key": "d"}


def bill() -> ModeContext:
    return context(AuthMode.BILL, token_url="https://gateway.example.com/login")


def test_a_session_is_opened_for_35_minutes() -> None:
    """Sent in BILL's own names; refreshing opens another with what is stored."""
    request = asked(BILL.from_input(bill(), BILL_FORM))
    assert read(request.body) == {
        "username": "u",
        "password": "hunter2-secret",
        "organizationId": "o",
        "devKey": "d",
    }
    answer = answering({"sessionId": "s", "userId": "i"})
    made = concluded(BILL.from_input(bill(), BILL_FORM), answer).credentials
    assert made.values == {**BILL_FORM, "session_id": "s", "user_id": "i", "raw": read(answer.body)}
    assert made.expires_at == NOW + timedelta(minutes=35)
    assert asked(BILL.refresh(bill(), made)) == request


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (answering([{"code": "BDC_1103", "message": "wrong"}], 401), ProviderRefused),
        (answering({"userId": "i"}), ProviderAnswerInvalid),
        (answering({"sessionId": "s", "userId": 1}), ProviderAnswerInvalid),
        (answering({}, 503), ProviderUnavailable),
        (answering(b"<html>"), ProviderAnswerInvalid),
    ],
)
def test_sessions_that_are_not_opened(answer: OutboundAnswer, error: type[CarrickError]) -> None:
    """Each bad answer is an error, never a session without an id."""
    with pytest.raises(error):
        concluded(BILL.from_input(bill(), BILL_FORM), answer)


# --- AWS ------------------------------------------------------------------------------------

AWS = mode_for(AuthMode.AWS_SIGV4)
AWS_CONFIG = {"aws_access_key_id": "AKID", "aws_secret_access_key": "aws-secret-key"}
ROLE = {"role_arn": "arn:aws:iam::123456789012:role/x"}
ASSUMED = (
    b'<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>'
    b"<Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>sss</SecretAccessKey>"
    b"<SessionToken>ttt</SessionToken><Expiration>2026-01-05T10:00:00Z</Expiration></Credentials>"
    b"</AssumeRoleResult></AssumeRoleResponse>"
)


def aws(**changes: Any) -> ModeContext:
    values = {"developer": {**AWS_CONFIG, "default_region": "eu-west-1"}, **changes}
    return context(AuthMode.AWS_SIGV4, **values)


def test_a_role_is_assumed_with_an_external_id() -> None:
    """Signed with the integration's keys, at the region's own STS, for an hour."""
    request = asked(AWS.from_input(aws(), {**ROLE, "region": "cn-north-1"}))
    assert request.url == "https://sts.cn-north-1.amazonaws.com.cn/"
    form = dict(parse_qsl((request.body or b"").decode()))
    assert (form["Action"], form["RoleArn"]) == ("AssumeRole", ROLE["role_arn"])
    obtained = concluded(AWS.from_input(aws(), ROLE), answering(ASSUMED))
    made = obtained.credentials
    assert {name: made.values[name] for name in ("access_key_id", "session_token", "region")} == {
        "access_key_id": "ASIA",
        "session_token": "ttt",
        "region": "eu-west-1",
    }
    assert made.expires_at == datetime(2026, 1, 5, 10, tzinfo=UTC)
    assert obtained.connection_config == {
        "external_id": made.values["external_id"],
        "region": "eu-west-1",
    }
    again = asked(AWS.refresh(aws(), made))
    again_form = dict(parse_qsl((again.body or b"").decode()))
    assert again_form["ExternalId"] == made.values["external_id"]


GIVEN = "9b2d3a9c-3d5c-4f43-9f0c-6c3f1f1f4a11"


@pytest.mark.parametrize(
    ("config", "previous", "sent"),
    [
        ({"external_id": GIVEN}, {}, GIVEN),
        ({"external_id": GIVEN}, {"external_id": "kept"}, "kept"),
        ({"external_id": "guessable"}, {}, "01234567-89ab-4def-8123-456789abcdef"),
        ({}, {}, "01234567-89ab-4def-8123-456789abcdef"),
    ],
)
def test_which_external_id_is_used(
    config: dict[str, str], previous: dict[str, str], sent: str
) -> None:
    """The connection's own for good, else a UUID that was asked for, else a new one."""
    request = asked(AWS.from_input(aws(config=config, previous=previous), ROLE))
    assert dict(parse_qsl((request.body or b"").decode()))["ExternalId"] == sent


@pytest.mark.parametrize(
    ("steps", "error"),
    [
        (lambda: AWS.from_input(aws(developer={}), ROLE), AwsConfigMissing),
        (lambda: AWS.from_input(aws(developer=AWS_CONFIG), ROLE), AwsRegionMissing),
        (lambda: AWS.from_input(aws(), {}), InvalidBody),
        (lambda: AWS.from_input(aws(), {**ROLE, "region": "x.evil.example/"}), InvalidBody),
        (lambda: AWS.from_input(aws(), {**ROLE, "other": "x"}), InvalidBody),
    ],
)
def test_roles_that_cannot_be_assumed(
    steps: Callable[[], Steps], error: type[CarrickError]
) -> None:
    """What is missing or wrong is said before anybody is asked."""
    with pytest.raises(error):
        steps()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (
            answering(
                b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>no aws-secret-key"
                b"</Message></Error></ErrorResponse>",
                403,
            ),
            ProviderRefused,
        ),
        (answering(b"<ErrorResponse><Error/></ErrorResponse>", 503), ProviderUnavailable),
        (
            answering(ASSUMED.replace(b"<SessionToken>ttt</SessionToken>", b"")),
            ProviderAnswerInvalid,
        ),
        (answering(b"<html><p>"), ProviderAnswerInvalid),
        (answering({}), ProviderAnswerInvalid),
    ],
)
def test_answers_of_sts_without_keys(answer: OutboundAnswer, error: type[CarrickError]) -> None:
    """Each is an error that names no secret."""
    with pytest.raises(error) as caught:
        concluded(AWS.from_input(aws(), ROLE), answer)
    assert "aws-secret-key" not in f"{caught.value.message} {caught.value.payload}"


@pytest.mark.parametrize(
    ("service", "url"),
    [
        ("execute-api", "https://api.example.com/a/b%20c?z=1&a=x:y&a=&q=1+2"),
        ("s3", "https://bucket.example.com/a//b/../c"),
        ("execute-api", "https://api.example.com"),
    ],
)
def test_requests_are_signed_as_botocore_signs_them(
    service: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same signature as its own `add_auth` makes of what goes out, at the same moment."""
    keys = AwsKeys("AKID", "secret", "token")
    sent = {"Content-Type": "application/json", "X-Other": "is not signed", "X-Amz-Target": "T.1"}
    request = OutboundRequest("POST", url, sent, b'{"a": 1}')
    ours = signed(request, keys, service, "eu-west-1", NOW)
    assert ours.headers["X-Other"] == "is not signed"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda **_: NOW)
    kind = botocore.auth.S3SigV4Auth if service == "s3" else botocore.auth.SigV4Auth
    signer = kind(ReadOnlyCredentials("AKID", "secret", "token"), service, "eu-west-1")
    headers = {name: text for name, text in sent.items() if name != "X-Other"}
    headers["X-Amz-Content-SHA256"] = hashlib.sha256(b'{"a": 1}').hexdigest()
    theirs = AWSRequest("POST", ours.url, headers, b'{"a": 1}')
    signer.add_auth(theirs)
    assert ours.headers["Authorization"] == theirs.headers["Authorization"]


def test_a_signature_of_the_callers_own_is_replaced() -> None:
    """Nothing of an earlier signature survives to contradict ours."""
    assert isinstance(AWS, SigningMode)
    made = concluded(AWS.from_input(aws(), ROLE), answering(ASSUMED)).credentials
    theirs = CALL.with_headers({"authorization": "AWS4 other", "x-amz-date": "20200101T000000Z"})
    ours = AWS.sign(aws(), made, theirs)
    named = {name.lower(): text for name, text in ours.headers.items()}
    assert len(named) == len(ours.headers)
    assert named["x-amz-date"] == "20260105T090000Z"
    assert named["authorization"].startswith("AWS4-HMAC-SHA256 Credential=ASIA/20260105/eu-west-1/")


# --- clients that prove themselves by a key or a certificate --------------------------------

CC = mode_for(AuthMode.OAUTH2_CC)


def test_a_client_may_sign_instead_of_showing_a_secret() -> None:
    """RFC 7523 §3: issuer and subject are the client, the audience is the token endpoint."""
    ctx = context(
        AuthMode.OAUTH2_CC,
        token_url="https://login.example.com/token",
        token_request_auth_method="private_key_jwt",
    )
    body = {"client_id": "c", "client_private_key": RSA.as_pem(private=True).decode()}
    form = dict(parse_qsl((asked(CC.from_input(ctx, body)).body or b"").decode()))
    assert form["client_id"] == "c"
    assert "client_secret" not in form
    assert form["client_assertion_type"].endswith(":jwt-bearer")
    decoded = jwt.decode(form["client_assertion"], RSA, algorithms=["RS256"])
    assert (decoded.claims["iss"], decoded.claims["sub"]) == ("c", "c")
    assert decoded.claims["aud"] == "https://login.example.com/token"
    assert decoded.claims["jti"]


def test_a_certificate_goes_with_login_and_calls() -> None:
    """Where the provider demands one; a client without is refused before anything is sent."""
    ctx = context(
        AuthMode.OAUTH2_CC,
        token_url="https://login.example.com/token",
        require_client_certificate=True,
    )
    body = {"client_id": "c", "client_certificate": "CERT", "client_private_key": "KEY"}
    request = asked(CC.from_input(ctx, body))
    assert request.client_certificate is not None
    assert (request.client_certificate.certificate, request.client_certificate.private_key) == (
        "CERT",
        "KEY",
    )
    assert b"client_assertion" not in (request.body or b"")
    assert "KEY" not in repr(request)
    made = concluded(CC.from_input(ctx, body), answering({"access_token": "t"})).credentials
    assert CC.authorize(ctx, made, CALL).client_certificate == request.client_certificate
    with pytest.raises(ClientCertificateInvalid):
        next(CC.from_input(ctx, {"client_id": "c", "client_secret": "s"}))


# --- XML ------------------------------------------------------------------------------------


def test_documents_are_read_as_they_are_written() -> None:
    """Attributes, text beside elements, lists; names without their namespaces."""
    data = {"a": {"@x": "1 & 2", "b": ["<", "2"], "c": {"@y": "z", "#text": "text"}}}
    assert from_xml(to_xml(data)) == data
    assert from_xml(b'<n:a xmlns:n="u"><n:b>1</n:b></n:a>') == {"a": {"b": "1"}}


@pytest.mark.parametrize(
    "document",
    [b"", b"<a>", b"<!DOCTYPE a><a/>", b"<a>" * 100 + b"</a>" * 100, b"<a>&b;</a>"],
)
def test_dangerous_documents_are_refused(document: bytes) -> None:
    """No document types, so no entities; no depth without end."""
    with pytest.raises(ValueError, match=r"\S"):
        from_xml(document)
