"""Faults of an input in the contract's words."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from carrick.api.issues import issues_of, summary
from carrick.api.schemas.connections import ConnectionImport, ConnectionListQuery, MetadataWrite
from carrick.api.schemas.integrations import IntegrationCreation
from carrick.api.schemas.sessions import SessionCreation


def faults(model: type[BaseModel], value: Any) -> list[dict[str, Any]]:
    """Return the issues of a value that does not fit."""
    with pytest.raises(ValidationError) as caught:
        model.model_validate(value)
    return issues_of(caught.value.errors(), model)


def test_a_missing_text_is_an_invalid_type() -> None:
    """What is missing is named with the type that was expected."""
    assert faults(IntegrationCreation, {"provider": "github"}) == [
        {
            "code": "invalid_type",
            "message": "Invalid input: expected string, received undefined",
            "path": ["unique_key"],
        }
    ]


def test_a_wrong_type_says_what_was_received() -> None:
    """A number is not taken for a text."""
    assert faults(IntegrationCreation, {"provider": 1, "unique_key": "a"}) == [
        {
            "code": "invalid_type",
            "message": "Invalid input: expected string, received number",
            "path": ["provider"],
        }
    ]


def test_unknown_keys_are_one_issue_of_their_parent() -> None:
    """Unknown keys are reported together, at the object that has them."""
    body = {"provider": "a", "unique_key": "b", "foo": 1, "bar": 2}
    assert faults(IntegrationCreation, body) == [
        {"code": "unrecognized_keys", "message": 'Unrecognized keys: "foo", "bar"', "path": []}
    ]


def test_path_elements_are_texts_and_leave_out_the_chosen_union_member() -> None:
    """Indexes are written as texts; which credentials were meant is not part of the path."""
    body = {"provider_config_key": "a", "credentials": {"type": "API_KEY"}}
    assert faults(ConnectionImport, body) == [
        {
            "code": "invalid_type",
            "message": "Invalid input: expected string, received undefined",
            "path": ["credentials", "apiKey"],
        }
    ]
    found = faults(SessionCreation, {"allowed_integrations": ["ok", "%%"], "tags": {}})
    assert found[0]["path"] == ["allowed_integrations", "1"]
    assert found[0]["code"] == "invalid_format"


def test_lengths_and_numbers_use_the_contracts_words() -> None:
    """Limits are named as the contract's tests expect them."""
    found = faults(ConnectionListQuery, {"limit": "5000", "search": ""})
    assert {(each["code"], each["message"]) for each in found} == {
        ("too_big", "Too big: expected number to be <=2000"),
        ("too_small", "Too small: expected string to have >=1 characters"),
    }


def test_text_that_no_database_can_keep_is_refused() -> None:
    """U+0000 and lone surrogates are the caller's fault, wherever they stand."""
    for text in ("a\x00b", "\ud800"):
        body = {"connection_id": "a", "provider_config_key": "b", "metadata": {"deep": [text]}}
        assert faults(MetadataWrite, body)[0]["code"] == "custom"


def test_a_summary_names_the_first_faults() -> None:
    """The message of an answer names where the first faults are."""
    issues = [{"path": ["a", "0"], "message": "one"}, {"path": [], "message": "two"}]
    assert summary(issues) == "a.0: one; two"
    assert summary([]) is None
    assert summary([*issues, *issues]) == "a.0: one; two; a.0: one; and 1 more"
