"""Walking through pages: cursors, links, offsets, and where each of them ends."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.sdk_host import MemoryHost, answer, context

from carrick.sdk import CarrickUsageError, Pagination


async def pages(host: MemoryHost, config: Any = None, **options: Any) -> list[list[Any]]:
    """Return every page of a list."""
    endpoint = options.pop("endpoint", "/contacts")
    return [page async for page in context(host).paginate(endpoint, paginate=config, **options)]


CURSOR: Pagination = {
    "type": "cursor",
    "cursor_path_in_response": "paging.next",
    "cursor_name_in_request": "after",
    "response_path": "results",
    "limit_name_in_request": "limit",
    "limit": 2,
}


async def test_a_cursor_is_followed_until_there_is_none() -> None:
    """Each page is asked for with the cursor of the one before, and the limit."""
    host = MemoryHost()
    host.replies(
        answer({"results": [1, 2], "paging": {"next": "c1"}}),
        answer({"results": [3], "paging": {}}),
    )
    assert await pages(host, CURSOR, params={"q": "x"}) == [[1, 2], [3]]
    assert [request["params"] for request in host.requests()] == [
        {"q": "x", "limit": "2"},
        {"q": "x", "limit": "2", "after": "c1"},
    ]


async def test_a_cursor_goes_into_the_body_of_a_post() -> None:
    """A list that is asked for with a body carries the cursor there."""
    host = MemoryHost()
    host.replies(answer({"results": [1], "paging": {"next": "c1"}}), answer({"results": [2]}))
    assert await pages(host, CURSOR, method="POST", data={"q": 1}) == [[1], [2]]
    assert [request["body"] for request in host.requests()] == [
        b'{"q":1,"limit":2}',
        b'{"q":1,"limit":2,"after":"c1"}',
    ]


async def test_the_same_page_again_and_again_is_an_error() -> None:
    """A cursor that does not move must not loop until the time limit."""
    host = MemoryHost()
    host.on["request"] = lambda _: answer({"results": [1], "paging": {"next": "c1"}})
    with pytest.raises(CarrickUsageError, match="again and again"):
        await pages(host, CURSOR)


async def test_a_link_header_is_followed() -> None:
    """The next page is where the provider's link says, at the address it says."""
    host = MemoryHost()
    link = '<https://api.example.com/v2/contacts?page=2>; rel="next", <https://x/>; rel="last"'
    host.replies(answer([1], headers={"link": link}), answer([2]))
    config = {"type": "link", "link_rel_in_response_header": "next"}
    assert await pages(host, config, params={"page": 1}) == [[1], [2]]
    second = host.requests()[1]
    assert second["endpoint"] == "/v2/contacts?page=2"
    assert second["base_url_override"] == "https://api.example.com"
    assert second["params"] == {}


async def test_a_link_in_the_body_may_be_relative() -> None:
    """A relative link stays with the provider's own address."""
    host = MemoryHost()
    host.replies(
        answer({"records": [1], "nextRecordsUrl": "/services/data/query/01-2"}),
        answer({"records": [2], "nextRecordsUrl": None}),
    )
    config = {
        "type": "link",
        "link_path_in_response_body": "nextRecordsUrl",
        "response_path": "records",
    }
    assert await pages(host, config) == [[1], [2]]
    assert host.requests()[1]["endpoint"] == "/services/data/query/01-2"
    assert host.requests()[1]["base_url_override"] is None


@pytest.mark.parametrize(
    ("config", "offsets"),
    [
        ({}, ["0", "2", "4"]),
        ({"offset_calculation_method": "per-page", "offset_start_value": 1}, ["1", "2", "3"]),
    ],
)
async def test_an_offset_counts_items_or_pages(config: Any, offsets: list[str]) -> None:
    """The offset moves by what the provider counts, until a page is empty."""
    host = MemoryHost()
    host.replies(answer([1, 2]), answer([3, 4]), answer([]))
    asked = {"type": "offset", "offset_name_in_request": "start", **config}
    assert await pages(host, asked) == [[1, 2], [3, 4]]
    assert [request["params"]["start"] for request in host.requests()] == offsets


async def test_a_short_page_is_the_last_one() -> None:
    """With a known limit nobody asks for the page after a short one."""
    host = MemoryHost()
    host.replies(answer([1, 2]), answer([3]))
    config = {
        "type": "offset",
        "offset_name_in_request": "start",
        "limit": 2,
        "limit_name_in_request": "count",
    }
    assert await pages(host, config) == [[1, 2], [3]]
    assert len(host.requests()) == 2


async def test_the_providers_own_settings_are_the_default() -> None:
    """What the catalogue knows need not be said; what is said wins."""
    host = MemoryHost()
    host.on["paginate_config"] = lambda _: {**CURSOR, "response_path": "items"}
    host.replies(answer({"results": [1]}))
    assert await pages(host, {"response_path": "results"}) == [[1]]


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (None, "does not know how this provider hands out pages"),
        ({"type": "cursor"}, "needs cursor_path_in_response"),
        ({"type": "offset"}, "needs offset_name_in_request"),
        ({"type": "link"}, "needs link_rel_in_response_header"),
        ({**CURSOR, "response_path": None}, "Set response_path"),
    ],
)
async def test_missing_settings_are_named(config: Any, told: str) -> None:
    """What is missing to walk through pages is said by name."""
    host = MemoryHost()
    host.on["request"] = lambda _: answer({"results": []})
    with pytest.raises(CarrickUsageError) as caught:
        await pages(host, config)
    assert told in str(caught.value)
