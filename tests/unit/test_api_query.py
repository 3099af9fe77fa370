"""Query strings as both official clients write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrick.api.query import parse_query, texts
from carrick.errors import InvalidQuery


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", {}),
        (b"a=1", {"a": "1"}),
        (b"a=", {"a": ""}),
        (b"a", {"a": ""}),
        (b"a=1&a=2&a=3", {"a": ["1", "2", "3"]}),
        (b"include[]=webhook", {"include": ["webhook"]}),
        (b"include[]=a&include[]=b", {"include": ["a", "b"]}),
        (b"tags[a]=b&tags[c]=d", {"tags": {"a": "b", "c": "d"}}),
        (b"tags%5Bend_user_email%5D=a%2Bb%40c.de", {"tags": {"end_user_email": "a+b@c.de"}}),
        (b"a[b][c]=1", {"a": {"b": {"c": "1"}}}),
        (b"a=1&a[b]=2", {"a": {"": "1", "b": "2"}}),
        (b"a[b]=2&a=1", {"a": {"b": "2", "": "1"}}),
        (b"q=two+words", {"q": "two words"}),
        (b"a[b=1", {"a[b": "1"}),
        (b"[a]=1", {"[a]": "1"}),
        (b"a[1][2][3][4][5][6]=1", {"a[1][2][3][4][5][6]": "1"}),
        (b"q=%C3%A9", {"q": "é"}),
    ],
)
def test_a_query_string_is_nested_data(raw: bytes, expected: dict[str, object]) -> None:
    """Brackets make maps, repeated keys make lists, everything else is text."""
    assert parse_query(raw) == expected


@given(st.binary(max_size=200))
def test_no_query_string_breaks_the_parser(raw: bytes) -> None:
    """Any bytes give data or nothing, never an exception."""
    assert isinstance(parse_query(raw), dict)


def test_a_query_string_may_have_a_thousand_fields() -> None:
    """A query string with more than a thousand fields is refused."""
    parse_query(b"&".join(b"a=1" for _ in range(1000)))
    with pytest.raises(InvalidQuery):
        parse_query(b"&".join(b"a=1" for _ in range(1001)))


def test_only_plain_texts_of_a_map_are_kept() -> None:
    """Lists and maps among `params` are ignored, as the contract says."""
    assert texts({"a": "1", "b": ["2"], "c": {"d": "3"}}) == {"a": "1"}
    assert texts("not a map") == {}
