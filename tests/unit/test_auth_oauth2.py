"""OAuth 2 without a provider: what is asked, and what is made of the answers."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest

from carrick.auth import ModeContext, Obtained, Steps, authorization_url, exchange, mode_for
from carrick.auth.expiry import expiry_of
from carrick.errors import (
    CarrickError,
    ClientCertificateInvalid,
    InvalidAuthMode,
    InvalidBody,
    InvalidConnectionConfig,
    MissingConnectionConfig,
    ProviderAnswerInvalid,
    ProviderRefused,
    ProviderUnavailable,
)
from carrick.model.auth import AuthMode, Credentials
from carrick.model.environment import Integration, IntegrationState
from carrick.model.http import OutboundAnswer, OutboundRequest
from carrick.model.provider import Provider
from carrick.providers import interpolate

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
OAUTH2 = mode_for(AuthMode.OAUTH2)
CC = mode_for(AuthMode.OAUTH2_CC)
STORED = Credentials(
    AuthMode.OAUTH2,
    {"access_token": "old-access", "refresh_token": "old-refresh", "raw": {"scope": "a"}},
    NOW,
)


def context(
    config: Mapping[str, Any] | None = None,
    *,
    auth_mode: AuthMode = AuthMode.OAUTH2,
    client: Mapping[str, Any] | None = None,
    **definition: Any,
) -> ModeContext:
    defaults = {
        "authorization_url": "https://login.example.com/authorize",
        "token_url": "https://login.example.com/token",
    }
    credentials = {"client_id": "the-client", "client_secret": "the-secret"}
    return ModeContext(
        provider=Provider("example", "Example", auth_mode, {**defaults, **definition}),
        integration=Integration(
            row_id=1,
            environment_id=1,
            integration_id="example",
            provider="example",
            display_name=None,
            state=IntegrationState.ACTIVE,
            credentials=credentials if client is None else client,
        ),
        connection_config=config or {},
        now=NOW,
        render=interpolate,
    )


def answering(
    body: Any, status: int = 200, kind: str = "application/json", **headers: str
) -> OutboundAnswer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return OutboundAnswer(status, {"content-type": kind, **headers}, content)


def asked(steps: Steps | None) -> OutboundRequest:
    assert steps is not None
    return next(steps)


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


def form(request: OutboundRequest) -> dict[str, str]:
    assert request.body is not None
    return dict(parse_qsl(request.body.decode(), keep_blank_values=True))


# --- the consent page -----------------------------------------------------------------------


def page(ctx: ModeContext, scopes: Any = (), **params: str) -> tuple[str, dict[str, str]]:
    url = authorization_url(
        ctx, "the-state", "https://here/cb", VERIFIER, scopes=scopes, params=params
    )
    parts = urlsplit(url)
    return url, dict(
        parse_qsl(parts.query or parts.fragment.partition("?")[2], keep_blank_values=True)
    )


def test_the_consent_page_gets_what_the_standard_asks_for() -> None:
    """Client, callback, state, scopes joined by spaces, and a PKCE challenge by default."""
    url, query = page(context(), ["a", "b"])
    assert url.startswith("https://login.example.com/authorize?response_type=code&")
    assert query == {
        "response_type": "code",
        "client_id": "the-client",
        "redirect_uri": "https://here/cb",
        "scope": "a b",
        "state": "the-state",
        # RFC 7636, appendix B.
        "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
        "code_challenge_method": "S256",
    }


def test_the_definition_shapes_the_consent_page() -> None:
    """Separator, parameters with values filled in, and no PKCE where it is not understood."""
    ctx = context(
        {"audience": "acme & co"},
        authorization_url="https://${connectionConfig.audience}.example.com/a?own=1",
        authorization_params={"audience": "${connectionConfig.audience}", "prompt": "consent"},
        scope_separator=",",
        disable_pkce=True,
    )
    with pytest.raises(InvalidConnectionConfig):
        page(ctx, "a,b")
    ctx = context(
        {"host": "acme"},
        authorization_url="https://${connectionConfig.host}.example.com/a?own=1",
        authorization_params={"audience": "${connectionConfig.host}", "gone": "${nobody}"},
        scope_separator=",",
        disable_pkce=True,
    )
    url, query = page(ctx, "a,b")
    assert url.startswith("https://acme.example.com/a?own=1&")
    assert query["scope"] == "a,b"
    assert query["audience"] == "acme"
    assert not query.keys() & {"gone", "code_challenge", "code_challenge_method"}


def test_a_caller_adds_and_removes_parameters_but_not_protection() -> None:
    """`undefined` takes a parameter away; what protects the exchange is not the caller's."""
    ctx = context(authorization_params={"prompt": "consent", "access_type": "offline"})
    _, query = page(
        ctx,
        prompt="undefined",
        user_scope="x",
        state="forged",
        redirect_uri="https://evil/",
        client_id="evil",
        code_challenge="forged",
    )
    assert query["user_scope"] == "x"
    assert query["access_type"] == "offline"
    assert "prompt" not in query
    assert query["state"] == "the-state"
    assert query["redirect_uri"] == "https://here/cb"
    assert query["client_id"] == "the-client"
    assert query["code_challenge"] != "forged"


def test_odd_consent_pages() -> None:
    """Fragments, literal replacements, scopes as written and empty parameters left out."""
    url, _ = page(
        context(
            authorization_url_fragment="oauth",
            authorization_url_replacements={"response_type=code": "response_type=the_code"},
            authorization_url_skip_encode=["scopes"],
            authorization_url_skip_empty=True,
            authorization_params={"empty": ""},
            scope_separator="+",
        ),
        ["a:b", "c"],
    )
    assert url.startswith("https://login.example.com/authorize#oauth?response_type=the_code&")
    assert "scope=a:b+c&" in url
    assert "empty=" not in url


def test_an_address_that_lacks_a_value_is_named() -> None:
    """Nobody is sent to an address with a placeholder in it."""
    ctx = context(authorization_url="https://${connectionConfig.subdomain}.example.com/")
    with pytest.raises(MissingConnectionConfig, match="lacks subdomain"):
        page(ctx)
    with pytest.raises(MissingConnectionConfig, match="client_id"):
        page(context(client={}))


# --- exchange -------------------------------------------------------------------------------


def test_a_code_is_exchanged() -> None:
    """The code, its callback and the PKCE verifier buy tokens, kept with the answer."""
    ctx = context(token_params={"grant_type": "authorization_code", "x": "${clientId}"})
    request = asked(exchange(ctx, "the-code", "https://here/cb", "verifier"))
    assert (request.method, request.url) == ("POST", "https://login.example.com/token")
    assert form(request) == {
        "grant_type": "authorization_code",
        "x": "the-client",
        "code": "the-code",
        "redirect_uri": "https://here/cb",
        "code_verifier": "verifier",
        "client_id": "the-client",
        "client_secret": "the-secret",
    }
    body = {"access_token": "a", "refresh_token": "r", "expires_in": 3600, "scope": "x"}
    obtained = concluded(exchange(ctx, "c", "https://here/cb", "v"), answering(body))
    assert obtained.credentials.values == {"access_token": "a", "refresh_token": "r", "raw": body}
    assert obtained.credentials.expires_at == NOW + timedelta(hours=1)


def test_a_connection_may_bring_its_own_client() -> None:
    """An own client asks and is kept; an own refresh token replaces the received one."""
    own = {"client_id": "own", "client_secret": "own-secret"}
    steps = exchange(
        context(), "c", "https://here/cb", "v", config_override=own, refresh_token_override="theirs"
    )
    assert form(asked(steps))["client_id"] == "own"
    with pytest.raises(StopIteration) as finished:
        steps.send(answering({"access_token": "a", "refresh_token": "r"}))
    values = finished.value.value.credentials.values
    assert values["config_override"] == own
    assert values["refresh_token"] == values["raw"]["refresh_token"] == "theirs"
    refreshed = asked(OAUTH2.refresh(context(), finished.value.value.credentials))
    assert form(refreshed)["client_secret"] == "own-secret"


def test_what_the_answer_adds_to_connection_config() -> None:
    """Listed fields are copied under the name they are written with, text and booleans only."""
    ctx = context(token_response_metadata=["instance_url", "team.id", "expires_in", "absent"])
    body = {"access_token": "a", "instance_url": "https://x", "team": {"id": "T1"}, "expires_in": 9}
    obtained = concluded(exchange(ctx, "c", "https://here/cb", "v"), answering(body))
    assert obtained.connection_config == {"instance_url": "https://x", "team.id": "T1"}


def test_a_token_somewhere_else_in_the_answer() -> None:
    """The definition says where the token is when it is not on top."""
    ctx = context(alternate_access_token_response_path="authed_user")
    body = {"ok": True, "authed_user": {"access_token": "u", "refresh_token": "r"}}
    obtained = concluded(exchange(ctx, "c", "https://here/cb", "v"), answering(body))
    assert obtained.credentials.values == {"access_token": "u", "refresh_token": "r", "raw": body}


@pytest.mark.parametrize(
    "definition",
    [{"token_request_auth_method": "basic"}, {"authorization_method": "header"}],
)
def test_a_client_in_the_header_is_not_in_the_body(definition: dict[str, Any]) -> None:
    """A client authenticates in one way, not in two (RFC 6749 §2.3)."""
    request = asked(exchange(context(**definition), "c", "https://here/cb", "v"))
    expected = base64.b64encode(b"the-client:the-secret").decode()
    assert request.headers["Authorization"] == f"Basic {expected}"
    assert not form(request).keys() & {"client_id", "client_secret"}


def test_a_client_in_the_header_is_written_as_in_a_form() -> None:
    """So a server that decodes it gets the secret it knows (RFC 6749 §2.3.1)."""
    ctx = context(token_request_auth_method="basic")
    own = {"client_id": "an id", "client_secret": "a+b%2F:c"}
    request = asked(exchange(ctx, "c", "https://here/cb", "v", config_override=own))
    encoded = request.headers["Authorization"].removeprefix("Basic ")
    assert base64.b64decode(encoded) == b"an+id:a%2Bb%252F%3Ac"


def test_the_shapes_of_token_requests() -> None:
    """JSON, a query, or a body whose parameters name the client themselves."""
    as_json = asked(exchange(context(body_format="json"), "c", "https://here/cb", "v"))
    assert as_json.headers["Content-Type"] == "application/json"
    assert json.loads(as_json.body or b"")["code"] == "c"
    as_query = asked(exchange(context(body_format="query"), "c", "https://here/cb", "v"))
    assert parse_qs(urlsplit(as_query.url).query)["code"] == ["c"]
    assert as_query.body is None
    custom = context(token_request_auth_method="custom", token_params={"app": "${clientId}"})
    assert form(asked(exchange(custom, "c", "https://here/cb", "v")))["app"] == "the-client"
    public = context(client={"client_id": "public"})
    assert "client_secret" not in form(asked(exchange(public, "c", "https://here/cb", "v")))
    with pytest.raises(InvalidAuthMode):  # flat parameters are no document
        asked(exchange(context(body_format="xml"), "c", "https://here/cb", "v"))


# --- refresh --------------------------------------------------------------------------------


def test_a_refresh_asks_with_the_stored_refresh_token() -> None:
    """`token_params` apply again except for the grant; a refresh address of its own is used."""
    ctx = context(
        token_params={"grant_type": "authorization_code", "audience": "x"},
        refresh_url="https://login.example.com/refresh",
    )
    request = asked(OAUTH2.refresh(ctx, STORED))
    assert request.url == "https://login.example.com/refresh"
    assert form(request) == {
        "grant_type": "refresh_token",
        "audience": "x",
        "refresh_token": "old-refresh",
        "client_id": "the-client",
        "client_secret": "the-secret",
    }


def test_refresh_params_replace_token_params() -> None:
    """Where a refresh has parameters of its own, only those apply, even to the grant."""
    ctx = context(
        token_params={"audience": "x"},
        refresh_params={"grant_type": "exchange", "access_token": "${accessToken}"},
    )
    sent = form(asked(OAUTH2.refresh(ctx, STORED)))
    assert (sent["grant_type"], sent["access_token"]) == ("exchange", "old-access")
    assert "audience" not in sent


def test_a_refresh_keeps_what_the_answer_does_not_replace() -> None:
    """The refresh token stays unless there is a new one; `raw` is the answer's."""
    kept = concluded(OAUTH2.refresh(context(), STORED), answering({"access_token": "n"}))
    assert kept.credentials.values["refresh_token"] == "old-refresh"
    assert kept.credentials.values["access_token"] == "n"
    assert kept.credentials.values["raw"] == {"access_token": "n"}
    assert kept.credentials.expires_at is None
    body = {"access_token": "n", "refresh_token": "new", "expires_in": "60"}
    rotated = concluded(OAUTH2.refresh(context(), STORED), answering(body))
    assert rotated.credentials.values["refresh_token"] == "new"
    assert rotated.credentials.expires_at == NOW + timedelta(seconds=60)


def test_without_a_refresh_token_there_is_no_refresh() -> None:
    """Credentials that cannot be refreshed say so before anything is sent."""
    bare = Credentials(AuthMode.OAUTH2, {"access_token": "a"})
    assert OAUTH2.refresh(context(), bare) is None
    assert OAUTH2.refresh(context(token_url=None), STORED) is None


# --- answers --------------------------------------------------------------------------------


def refresh_with(answer: OutboundAnswer) -> Obtained:
    return concluded(OAUTH2.refresh(context(), STORED), answer)


def test_answers_may_be_forms() -> None:
    """Some token endpoints answer with a form, and call it one or not."""
    body = b"access_token=n&scope=a%2Cb&token_type=bearer"
    for kind in ("application/x-www-form-urlencoded", "text/plain", "text/html"):
        assert refresh_with(answering(body, kind=kind)).credentials.values["access_token"] == "n"


@pytest.mark.parametrize(
    "answer",
    [
        answering({"error": "invalid_grant", "error_description": "revoked"}, 400),
        answering({"error": "bad_refresh_token", "error_description": "revoked"}, 200),
        answering({"ok": False, "error": "invalid_refresh_token", "message": "revoked"}, 200),
        answering({"error": {"code": 190, "message": "revoked"}}, 401),
        answering(b"error=bad_verification_code&error_description=revoked", 200, "text/plain"),
        answering(b"<html>revoked</html>", 403, "text/html"),
        answering({}, 404),
    ],
)
def test_refusals_in_every_shape(answer: OutboundAnswer) -> None:
    """4xx is a refusal, and so is an error that comes with 200."""
    with pytest.raises(ProviderRefused) as caught:
        refresh_with(answer)
    assert caught.value.payload is not None
    assert caught.value.payload["status"] == answer.status
    if "revoked" in answer.text() and "html" not in answer.headers["content-type"]:
        assert "revoked" in caught.value.message


@pytest.mark.parametrize(
    "answer",
    [
        answering(b"<html>down</html>", 502, "text/html"),
        answering({"error": "x"}, 500),
        answering({}, 429, **{"retry-after": "7"}),
        answering({"error": "temporarily_unavailable"}, 400),
        answering({"error": "server_error"}, 200),
    ],
)
def test_a_provider_that_cannot_answer_has_not_refused(answer: OutboundAnswer) -> None:
    """5xx, 408, 429 and the errors that mean `later` are told apart from a no."""
    with pytest.raises(ProviderUnavailable) as caught:
        refresh_with(answer)
    assert caught.value.retryable
    assert caught.value.retry_after_s == (7.0 if answer.status == 429 else None)


@pytest.mark.parametrize(
    "answer",
    [
        answering(b"<!doctype html><title>Sign in</title>", kind="text/html"),
        answering(b"", kind="text/plain"),
        answering([1, 2]),
        answering({}),
        answering({"access_token": ""}),
        answering({"access_token": 5}),
        answering(b"[" * 100_000),
        answering(b"", 302),
    ],
)
def test_answers_without_a_token_make_no_sense(answer: OutboundAnswer) -> None:
    """HTML, nothing, lists, redirects and tokens that are none are told apart from a no."""
    with pytest.raises(ProviderAnswerInvalid):
        refresh_with(answer)


def test_errors_carry_no_secrets() -> None:
    """What was sent is cut out of what the provider says about it, however it quotes it."""
    ctx = context(client={"client_id": "the-client", "client_secret": "s3cr+t/="})
    said = "token old-refresh of s3cr+t/= (s3cr%2Bt%2F%3D), access old-access\x00 " + "x" * 2000
    answer = answering({"error": "invalid_grant", "error_description": said}, 400)
    with pytest.raises(ProviderRefused) as caught:
        concluded(OAUTH2.refresh(ctx, STORED), answer)
    for text in (caught.value.message, json.dumps(caught.value.payload)):
        assert "token [secret] of [secret] ([secret]), access [secret]" in text
        assert not any(secret in text for secret in ("old-refresh", "s3cr", "old-access", "\x00"))
        assert len(text) < 700


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({}, None),
        ({"expires_in": 60}, NOW + timedelta(seconds=60)),
        ({"expires_in": "60"}, NOW + timedelta(seconds=60)),
        ({"expires_in": 0}, None),
        ({"expires_in": -1}, None),
        ({"expires_in": None}, None),
        ({"expires_in": True}, None),
        ({"expires_in": float("nan")}, None),
        ({"expires_in": 1e300}, datetime(9000, 1, 1, tzinfo=UTC)),
        ({"expires_at": 1_800_000_000}, datetime(2027, 1, 15, 8, 0, tzinfo=UTC)),
        ({"expires_at": "1800000000"}, datetime(2027, 1, 15, 8, 0, tzinfo=UTC)),
        ({"expires_at": 1_800_000_000_000}, datetime(2027, 1, 15, 8, 0, tzinfo=UTC)),
        ({"expires_at": "2027-01-15T08:00:00Z"}, datetime(2027, 1, 15, 8, 0, tzinfo=UTC)),
        ({"expires_at": "2027-01-15T09:00:00+01:00"}, datetime(2027, 1, 15, 8, 0, tzinfo=UTC)),
        ({"expires_at": "2027-01-15 08:00:00"}, datetime(2027, 1, 15, 8, 0, tzinfo=UTC)),
        ({"expires_at": "1:02:03"}, NOW + timedelta(days=1, hours=2, minutes=3)),
        ({"expires_at": "soon", "expires_in": 5}, NOW + timedelta(seconds=5)),
    ],
)
def test_expiry_in_every_way_it_is_said(answer: dict[str, Any], expected: datetime | None) -> None:
    """Seconds, moments as text or numbers, spans; what says nothing means no expiry."""
    assert expiry_of(answer, NOW) == expected


def test_expiry_in_milliseconds() -> None:
    """The definition may say that the lifetime is counted in milliseconds."""
    assert expiry_of({"expires_in": 1500}, NOW, milliseconds=True) == NOW + timedelta(seconds=1.5)


# --- imports --------------------------------------------------------------------------------


def test_tokens_are_imported() -> None:
    """An import is taken as it is, with its own client apart and what was submitted as `raw`."""
    body = {
        "type": "OAUTH2",
        "access_token": "a",
        "refresh_token": "r",
        "expires_at": "2026-01-05T10:00:00Z",
        "config_override": {"client_id": "own"},
    }
    credentials = concluded(OAUTH2.from_import(context(), body)).credentials
    assert credentials.expires_at == NOW + timedelta(hours=1)
    assert credentials.values["config_override"] == {"client_id": "own"}
    assert credentials.values["raw"] == {k: v for k, v in body.items() if k != "config_override"}
    in_ms = concluded(OAUTH2.from_import(context(), {**body, "expires_at": 1_800_000_000_000}))
    assert in_ms.credentials.expires_at == datetime(2027, 1, 15, 8, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("body", "path", "code"),
    [
        ({}, ["credentials", "access_token"], "invalid_type"),
        ({"access_token": ""}, ["credentials", "access_token"], "too_small"),
        ({"access_token": "x" * 16_385}, ["credentials", "access_token"], "too_big"),
        ({"access_token": 5}, ["credentials", "access_token"], "invalid_type"),
        ({"access_token": "a", "token": "t"}, ["credentials"], "unrecognized_keys"),
        ({"access_token": "a", "expires_at": "x"}, ["credentials", "expires_at"], "invalid_date"),
        (
            {"access_token": "a", "config_override": "x"},
            ["credentials", "config_override"],
            "invalid_type",
        ),
        (
            {"access_token": "a", "config_override": {"client_id": ""}},
            ["credentials", "config_override", "client_id"],
            "too_small",
        ),
    ],
)
def test_imports_that_do_not_fit(body: dict[str, Any], path: list[str], code: str) -> None:
    """Each fault says where it is and of which kind."""
    with pytest.raises(InvalidBody) as caught:
        OAUTH2.from_import(context(), body)
    assert [(one["path"], one["code"]) for one in caught.value.issues or ()] == [(path, code)]


def test_no_form_can_carry_consent() -> None:
    """OAuth 2 has no credentials form."""
    with pytest.raises(InvalidAuthMode):
        OAUTH2.from_input(context(), {"access_token": "a"})


# --- client credentials ---------------------------------------------------------------------

FORM = {"client_id": "theirs", "client_secret": "their-secret"}


def cc_context(config: Mapping[str, Any] | None = None, **definition: Any) -> ModeContext:
    return context(config, auth_mode=AuthMode.OAUTH2_CC, client={"scopes": "a,b"}, **definition)


def test_client_credentials_buy_a_token() -> None:
    """The end user's client buys the token, and is kept to buy the next."""
    ctx = cc_context({"region": "eu"}, token_params={"audience": "${connectionConfig.region}"})
    assert form(asked(CC.from_input(ctx, FORM))) == {
        "grant_type": "client_credentials",
        "audience": "eu",
        "scope": "a b",
        **FORM,
    }
    obtained = concluded(CC.from_input(ctx, FORM), answering({"access_token": "t"})).credentials
    assert obtained.values == {**FORM, "token": "t", "raw": {"access_token": "t"}}
    assert obtained.expires_at == NOW + timedelta(minutes=55)
    again = concluded(
        CC.refresh(ctx, obtained), answering({"access_token": "t2", "expires_in": 60})
    )
    assert again.credentials.values["token"] == "t2"
    assert again.credentials.values["client_secret"] == "their-secret"
    assert again.credentials.expires_at == NOW + timedelta(seconds=60)


def test_scopes_of_the_connection_win() -> None:
    """A connection may ask for scopes of its own."""
    ctx = cc_context({"oauth_scopes": "x,y"}, scope_separator=",")
    assert form(asked(CC.from_input(ctx, FORM)))["scope"] == "x,y"


def test_client_credentials_are_imported() -> None:
    """An imported token is refreshed in time even if nobody said when it ends."""
    credentials = concluded(CC.from_import(cc_context(), {**FORM, "token": "t"})).credentials
    assert credentials.values["token"] == "t"
    assert credentials.expires_at == NOW + timedelta(minutes=55)


@pytest.mark.parametrize(
    ("steps", "error"),
    [
        (lambda: CC.from_input(cc_context(), {"client_id": "x"}), InvalidBody),
        (lambda: CC.from_import(cc_context(), FORM), InvalidBody),
        (lambda: asked(CC.from_input(cc_context(token_url=None), FORM)), InvalidAuthMode),
        (
            lambda: asked(CC.from_input(cc_context(require_client_certificate=True), FORM)),
            ClientCertificateInvalid,
        ),
        (
            lambda: concluded(CC.from_input(cc_context(), FORM), answering({"token": "t"})),
            ProviderAnswerInvalid,
        ),
        (
            lambda: asked(
                CC.from_input(cc_context(token_url="https://${connectionConfig.x}/t"), FORM)
            ),
            MissingConnectionConfig,
        ),
    ],
)
def test_client_credentials_that_buy_nothing(steps: Any, error: type[CarrickError]) -> None:
    """Missing fields, definitions that do not fit and answers without a token are told apart."""
    with pytest.raises(error):
        steps()


def test_tokens_are_sent_as_bearer() -> None:
    """Both OAuth 2 modes add the token to a request and replace what was there."""
    request = OutboundRequest("GET", "https://api.example.com/", {"authorization": "none"})
    authorized = OAUTH2.authorize(context(), STORED, request)
    assert authorized.headers == {"Authorization": "Bearer old-access"}
    bought = Credentials(AuthMode.OAUTH2_CC, {"token": "t"})
    assert CC.authorize(cc_context(), bought, request).headers == {"Authorization": "Bearer t"}
    assert OAUTH2.template_values(STORED)["accessToken"] == "old-access"
    assert CC.template_values(bought)["accessToken"] == "t"
