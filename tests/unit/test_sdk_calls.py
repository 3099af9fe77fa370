"""A context's calls: how requests are built, how answers are read, what goes wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel
from tests.unit.sdk_host import FACTS, MemoryHost, answer, context

from carrick.sdk import (
    CarrickUsageError,
    HostError,
    IncompleteDryRun,
    Placeholder,
    ProviderError,
    Response,
    WriteOutcomeUnknown,
)


class Contact(BaseModel):
    name: str


@pytest.mark.parametrize(
    ("options", "body", "content_type"),
    [
        ({}, None, None),
        ({"data": {"b": 1, "a": "ü"}}, '{"b":1,"a":"ü"}'.encode(), "application/json"),
        ({"data": [1, None, True]}, b"[1,null,true]", "application/json"),
        ({"data": Contact(name="Ada")}, b'{"name":"Ada"}', "application/json"),
        ({"json": "text"}, b'"text"', "application/json"),
        ({"data": "text"}, b"text", None),
        ({"data": b"\x00"}, b"\x00", None),
        (
            {"form": {"a": "1 2", "b": [1, 2], "c": None, "d": True}},
            b"a=1+2&b=1&b=2&d=true",
            "application/x-www-form-urlencoded",
        ),
        (
            {"data": {"a": 1}, "headers": {"content-type": "application/vnd.api+json"}},
            b'{"a":1}',
            None,
        ),
    ],
)
async def test_a_body_is_built_from_what_was_given(
    options: dict[str, Any], body: bytes | None, content_type: str | None
) -> None:
    """Dicts, lists and models become JSON, text and bytes stay, forms are urlencoded."""
    host = MemoryHost()
    await context(host).post("/x", **options)
    (request,) = host.requests()
    assert (request["body"], request["content_type"]) == (body, content_type)


async def test_a_request_carries_every_option() -> None:
    """Method, parameters, headers and retry settings reach the host as plain data."""
    host = MemoryHost()
    await context(host).get(
        "/x",
        params={"q": "a", "ids": [1, 2], "none": None, "flag": False},
        headers={"X-One": "1"},
        retries=2,
        retry_on=(409,),
        base_url_override="https://eu.example.com",
    )
    assert host.requests() == [
        {
            "kind": "provider",
            "method": "GET",
            "endpoint": "/x",
            "params": {"q": "a", "ids": ["1", "2"], "flag": "false"},
            "headers": {"X-One": "1"},
            "body": None,
            "content_type": None,
            "retries": 2,
            "retry_on": [409],
            "base_url_override": "https://eu.example.com",
        }
    ]


async def test_every_verb_sends_its_own_method() -> None:
    """Each call has its HTTP method; `proxy` takes any, `fetch` goes without credentials."""
    host = MemoryHost()
    ctx = context(host)
    for verb in ("get", "post", "put", "patch", "delete"):
        await getattr(ctx, verb)("/x")
    await ctx.proxy("options", "/x")
    await ctx.fetch("https://example.com", data={"a": 1}, method="POST")
    sent = [(request["kind"], request["method"]) for request in host.requests()]
    assert sent == [
        ("provider", "GET"),
        ("provider", "POST"),
        ("provider", "PUT"),
        ("provider", "PATCH"),
        ("provider", "DELETE"),
        ("provider", "OPTIONS"),
        ("fetch", "POST"),
    ]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"data": {"at": object()}}, "convert it first"),
        ({"data": {"x": float("nan")}}, "cannot be written as JSON"),
        ({"data": {}, "json": {}}, "not both"),
        ({"params": "a=b"}, "params must be a dict"),
        ({"headers": ["a"]}, "headers must be a dict"),
        ({"body": {}}, "takes no 'body'"),
    ],
)
async def test_a_wrong_option_is_told_before_anything_is_sent(
    options: dict[str, Any], told: str
) -> None:
    """Options that cannot work raise an error that says what does, and nothing leaves."""
    host = MemoryHost()
    with pytest.raises(CarrickUsageError) as caught:
        await context(host).post("/x", **options)
    assert told in str(caught.value)
    assert host.calls == []


async def test_an_unknown_method_is_refused() -> None:
    """`proxy` refuses what is no HTTP method."""
    with pytest.raises(CarrickUsageError, match="There is no method 'FETCH'"):
        await context(MemoryHost()).proxy("FETCH", "/x")


@pytest.mark.parametrize(
    ("content_type", "body", "kind", "data"),
    [
        ("application/json; charset=utf-8", b'{"a":1}', None, {"a": 1}),
        ("application/vnd.api+json", b"12", None, 12),
        (None, b'[{"a":1}]', None, [{"a": 1}]),
        ("text/plain", b"12", None, "12"),
        ("text/html", b"<p>", None, "<p>"),
        ("application/json", b"{broken", None, "{broken"),
        ("text/plain; charset=latin-1", b"\xfc", None, "ü"),
        ("text/plain; charset=nonsense", b"\xfc", None, "\ufffd"),
        ("application/json", b"", None, None),
        ("application/json", b'{"a":1}', "text", '{"a":1}'),
        ("application/json", b'{"a":1}', "bytes", b'{"a":1}'),
        ("text/plain", b'"x"', "json", "x"),
    ],
)
async def test_data_is_the_body_as_its_type_says(
    content_type: str | None, body: bytes, kind: Any, data: Any
) -> None:
    """`data` is parsed JSON where the provider says so or the body looks it, else text."""
    host = MemoryHost()
    headers = {"content-type": content_type} if content_type else {}
    host.replies(answer(body=body, headers=headers))
    response = await context(host).get("/x", response_type=kind)
    assert response.data == data
    assert response.content == body


async def test_json_that_was_asked_for_must_be_json() -> None:
    """With `response_type="json"` a body that is not JSON is an error, not text."""
    host = MemoryHost()
    host.replies(answer(body=b"<p>"))
    with pytest.raises(ValueError, match="Expecting value"):
        await context(host).get("/x", response_type="json")


def test_a_response_reads_headers_by_lower_case_names() -> None:
    """Header names are lower case whatever the provider wrote; `json()` parses on demand."""
    response = Response(201, {"X-Total": "3"}, b'{"a": [1]}')
    assert response.headers["x-total"] == "3"
    assert response.json() == {"a": [1]}
    assert response.ok
    assert "201" in repr(response)


async def test_an_answer_that_is_not_2xx_raises() -> None:
    """The error has the response, its status, and a message that quotes where and what."""
    host = MemoryHost()
    host.replies(answer({"error": "gone"}, status=410))
    with pytest.raises(ProviderError) as caught:
        await context(host).delete("/webhooks/1")
    assert caught.value.status == 410
    assert caught.value.response is not None
    assert caught.value.response.data == {"error": "gone"}
    assert str(caught.value) == 'DELETE /webhooks/1 answered 410: {"error": "gone"}'


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        (
            {
                "date": "Mon, 05 Jan 2026 09:00:00 GMT",
                "retry-after": "Mon, 05 Jan 2026 09:02:00 GMT",
            },
            120.0,
        ),
        ({"retry-after": "Mon, 05 Jan 2015 09:02:00 GMT"}, 0.0),
    ],
)
def test_retry_after_is_read_in_both_its_forms(
    headers: dict[str, str], seconds: float | None
) -> None:
    """Seconds and dates are understood; a date counts from the answer's own."""
    assert ProviderError(Response(429, headers)).retry_after == seconds


@pytest.mark.parametrize("code", ["provider_unreachable", "provider_timeout"])
async def test_silence_is_a_provider_error_without_a_response(code: str) -> None:
    """A provider that did not answer raises the error authors already handle."""
    host = MemoryHost()
    host.fails("request", code, "no route")
    with pytest.raises(ProviderError) as caught:
        await context(host).get("/x")
    assert caught.value.response is None
    assert caught.value.status is None
    assert caught.value.retry_after is None
    assert str(caught.value) == "no route"


async def test_what_was_not_declared_is_a_usage_error() -> None:
    """The host's refusal for lack of a declaration reads as advice."""
    host = MemoryHost()
    host.fails("get_integration", "not_declared", "declare it")
    with pytest.raises(CarrickUsageError, match="declare it"):
        await context(host).get_integration()


async def test_an_unknown_write_ends_the_run_through_every_except() -> None:
    """A write that stops the run cannot be swallowed by `except Exception`."""
    host = MemoryHost()
    host.fails("request", "unknown_write")
    with pytest.raises(WriteOutcomeUnknown) as caught:
        await context(host).post("/webhooks")
    assert (caught.value.method, caught.value.endpoint) == ("POST", "/webhooks")
    assert not isinstance(caught.value, Exception)


async def test_other_host_errors_keep_their_code() -> None:
    """What the SDK has no word for reaches the author as it is."""
    host = MemoryHost()
    host.fails("request", "egress_denied", "not that address")
    with pytest.raises(HostError) as caught:
        await context(host).fetch("http://10.0.0.1")
    assert caught.value.code == "egress_denied"


async def test_a_host_may_end_a_dry_run_as_incomplete() -> None:
    """The host can say that a dry run needs what only a real write gives."""
    host = MemoryHost()
    host.fails("request", "incomplete")
    with pytest.raises(IncompleteDryRun):
        await context(host).get("/x")


async def test_a_withheld_write_answers_with_a_placeholder() -> None:
    """A dry run's write gives 200 and data that says where it would have come from."""
    host = MemoryHost()
    host.replies(answer(body=b"", withheld="POST /webhooks"))
    ctx = context(host, replace(FACTS, dry_run=True))
    response = await ctx.post("/webhooks", data={"url": "u"})
    assert response.status == 200
    assert isinstance(response.data, Placeholder)
    assert response.text == "«POST /webhooks»"
    assert str(response.json()["id"]) == "«POST /webhooks → id»"
    await ctx.post("/log", data={"id": response.data["id"]})
    assert host.requests()[1]["body"] == '{"id":"«POST /webhooks → id»"}'.encode()


async def test_a_read_at_a_withheld_address_ends_the_dry_run() -> None:
    """A read whose address holds a placeholder is not sent: it would read something else."""
    host = MemoryHost()
    host.replies(answer(body=b"", withheld="POST /webhooks"))
    ctx = context(host)
    created = await ctx.post("/webhooks")
    with pytest.raises(IncompleteDryRun):
        await ctx.get(f"/webhooks/{created.data['id']}")
    with pytest.raises(IncompleteDryRun):
        await ctx.get("/webhooks", params={"id": created.data["id"]})
    await ctx.delete(f"/webhooks/{created.data['id']}")
    assert len(host.requests()) == 2
