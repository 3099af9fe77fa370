"""The connect page's files: complete in every language, small, nothing from outside."""

from __future__ import annotations

import json
import re

import pytest

from carrick.connect_page import page_files

FILES = {name: file.content.decode() for name, file in page_files().items()}
SCRIPTS = {name: text for name, text in FILES.items() if name.endswith(".js")}
TEXTS = {
    name.removeprefix("texts/").removesuffix(".json"): json.loads(text)
    for name, text in FILES.items()
    if name.endswith(".json")
}
#: Keys that are put together: `error.<kind>.title`, `field.<name>.title`, `fault.<format>`; and
#: those of the page a popup ends at, which the server writes.
_COMPOSED = re.compile(r"(error|field|fault|window)\.")


@pytest.mark.parametrize("language", sorted(set(TEXTS) - {"en"}))
def test_every_language_says_everything(language: str) -> None:
    """The same keys as English, with the same names to be filled in."""

    def gaps(texts: dict[str, str]) -> dict[str, set[str]]:
        return {key: set(re.findall(r"\{\w+\}", text)) for key, text in texts.items()}

    assert gaps(TEXTS[language]) == gaps(TEXTS["en"])
    assert all(text.strip() for text in TEXTS[language].values())


def test_every_language_is_offered() -> None:
    """The script knows the languages that there are texts for."""
    offered = re.search(r"LANGUAGES = \[(.*?)\]", SCRIPTS["texts.js"])
    assert offered is not None
    assert sorted(re.findall(r"'(\w+)'", offered.group(1))) == sorted(TEXTS)


def test_no_text_is_missing_or_left_over() -> None:
    """What the scripts ask for is there, and what is there is asked for."""
    named = {
        key
        for script in SCRIPTS.values()
        for key in re.findall(r"'([a-z_]+(?:\.[a-z_]+)*)'", script)
    }
    asked = {
        key
        for script in SCRIPTS.values()
        for call in re.findall(r"\btext\(([^;]*?)\)", script, re.DOTALL)
        for key in re.findall(r"(?<!=== )'([a-z_.]+)'", call)
    }
    assert asked - set(TEXTS["en"]) == set()
    assert {key for key in TEXTS["en"] if not _COMPOSED.match(key)} - named == set()
    titles = {key for key in TEXTS["en"] if re.fullmatch(r"error\.\w+\.title", key)}
    messages = {key for key in TEXTS["en"] if re.fullmatch(r"error\.\w+\.message", key)}
    assert {key.replace(".message", ".title") for key in messages} <= titles


@pytest.mark.parametrize("name", sorted(FILES))
def test_files_fit_into_a_head(name: str) -> None:
    """No file of the page is longer than 400 lines."""
    assert len(FILES[name].splitlines()) < 400


def test_nothing_comes_from_outside() -> None:
    """No file names another server, but for examples, XML's own names and what `new URL` needs."""
    addresses = {
        address
        for name, text in FILES.items()
        if not name.startswith("texts/")
        for address in re.findall(r"https?://[\w.-]+", text)
    }
    assert addresses <= {"http://www.w3.org", "https://mcp.example.com"}


def test_the_page_holds_no_script_or_style_of_its_own() -> None:
    """The content security policy would stop both."""
    page = FILES["index.html"]
    assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=", page)
    assert not any(
        re.search(r"innerHTML|insertAdjacentHTML|eval\(", text) for text in SCRIPTS.values()
    )


def test_every_script_is_fetched_at_once() -> None:
    """The page names all scripts, so that none waits for another to ask for it."""
    page = FILES["index.html"]
    named = set(re.findall(r'assets/([\w/]+\.js)"', page))
    assert named == set(SCRIPTS)
