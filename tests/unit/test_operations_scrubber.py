"""Secrets do not get into what is written down."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick.operations import SECRET, Scrubber
from carrick.operations import scrubber as scrubber_module
from carrick.operations.bounds import LONGEST_MESSAGE, bounded_fields, bounded_text


@pytest.fixture
def scrubber() -> Scrubber:
    """A scrubber that knows one secret."""
    scrubber = Scrubber()
    scrubber.add(["s3cr3t/t0ken+1"])
    return scrubber


@given(
    before=st.text(max_size=30),
    secret=st.text(min_size=6, max_size=30),
    after=st.text(max_size=30),
)
def test_no_secret_survives(before: str, secret: str, after: str) -> None:
    """Whatever surrounds a secret, it is gone from the text."""
    scrubber = Scrubber()
    scrubber.add([secret])

    scrubbed = scrubber.scrub_text(before + secret + after)

    assert SECRET in scrubbed
    assert not any(secret in part for part in scrubbed.split(SECRET))


def test_texts_without_secrets_stay_as_they_are(scrubber: Scrubber) -> None:
    """A text that holds no secret, not even its first half, is left alone."""
    assert scrubber.scrub_text("GET /webhooks s3cr3t answered 200") == (
        "GET /webhooks s3cr3t answered 200"
    )


@pytest.mark.parametrize(
    "spelling",
    [
        quote("s3cr3t/t0ken+1", safe=""),
        base64.b64encode(b"s3cr3t/t0ken+1:").decode(),
        base64.b64encode(b"s3cr3t/t0ken+1").decode(),
    ],
)
def test_encoded_secrets_are_found(scrubber: Scrubber, spelling: str) -> None:
    """A secret is found in a URL and in a Basic header too."""
    assert spelling[:12] not in scrubber.scrub_text(f"sent {spelling} there")


def test_a_secret_inside_a_secret_leaves_no_rest() -> None:
    """Of two secrets that begin alike the longer one is taken out whole."""
    scrubber = Scrubber()
    scrubber.add(["abcdef", "abcdefghij"])

    assert scrubber.scrub_text("x abcdefghij y") == f"x {SECRET} y"


def test_json_is_scrubbed_through_and_through(scrubber: Scrubber) -> None:
    """Values and keys at any depth are scrubbed, other types stay, and the copy is one's own."""
    value = {"a": ["x s3cr3t/t0ken+1", 1, None, True], "s3cr3t/t0ken+1": {"b": 1.5}}

    scrubbed = scrubber.scrub(value)

    assert scrubbed == {"a": [f"x {SECRET}", 1, None, True], SECRET: {"b": 1.5}}
    assert scrubbed is not value


def test_fields_with_secret_names_are_blanked(scrubber: Scrubber) -> None:
    """An Authorization header is blanked although nobody told its value."""
    headers = {"Authorization": "Bearer x", "set-cookie": "a=b", "Accept": "*/*", "token": ""}

    assert scrubber.scrub({"headers": headers}) == {
        "headers": {"Authorization": SECRET, "set-cookie": SECRET, "Accept": "*/*", "token": ""}
    }


def test_endless_nesting_ends(scrubber: Scrubber) -> None:
    """A value that contains itself is cut off."""
    value: dict[str, object] = {}
    value["again"] = value

    assert "too deep" in str(scrubber.scrub(value))


def test_secrets_of_any_characters_can_be_learnt() -> None:
    """Half a surrogate pair, as JSON may bring it, does not stop the scrubber."""
    scrubber = Scrubber()
    scrubber.add(["secret-\ud800-token"])

    assert scrubber.scrub_text("a secret-\ud800-token") == f"a {SECRET}"


def test_short_words_are_no_secrets() -> None:
    """Texts under six characters are not taken for secrets."""
    scrubber = Scrubber()
    scrubber.add(["", "a", "admin"])

    assert scrubber.scrub_text("admin a") == "admin a"


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The secrets that were not used for longest are forgotten; one added again is kept."""
    monkeypatch.setattr(scrubber_module, "_MOST_CHARACTERS", 300)
    scrubber = Scrubber()
    scrubber.add(["keep-this-secret"])
    for number in range(50):
        scrubber.add([f"secret-number-{number}", "keep-this-secret"])

    assert scrubber.scrub_text("secret-number-0") == "secret-number-0"
    assert scrubber.scrub_text("keep-this-secret secret-number-49") == f"{SECRET} {SECRET}"


def test_long_messages_are_cut() -> None:
    """A message has a greatest length, and its end shows that it was cut."""
    text = bounded_text("x" * (LONGEST_MESSAGE + 5))

    assert len(text) == LONGEST_MESSAGE
    assert text.endswith("…")


def test_characters_no_database_takes_are_replaced() -> None:
    """NUL and half surrogate pairs are replaced, in keys as well."""
    assert bounded_text("a\0b\ud800") == "a\N{REPLACEMENT CHARACTER}b?"
    assert bounded_fields({"k\0": ["\ud800"], "n": float("nan")}).fields == {
        "k\N{REPLACEMENT CHARACTER}": ["?"],
        "n": "nan",
    }


def test_large_fields_are_replaced_by_their_beginning() -> None:
    """Fields of more than 64 KiB keep their beginning and say how large they were."""
    bounded = bounded_fields({"a": "x" * 40_000, "b": "y" * 40_000})

    assert bounded.fields["truncated"] is True
    assert bounded.fields["size_bytes"] > 80_000
    assert bounded.fields["beginning"].startswith('{"a": "xxx')
