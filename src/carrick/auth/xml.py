"""XML as the same nested data JSON gives: `@name` is an attribute, `#text` text beside others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

_DEEPEST = 64


def to_xml(data: Mapping[str, Any]) -> bytes:
    """Write a document.

    Raises:
        ValueError: It has no root, or several.
    """
    if len(data) != 1:
        raise ValueError("an XML document has one root element")
    (name, value), *_ = data.items()
    return f'<?xml version="1.0" encoding="UTF-8"?>{_element(name, value)}'.encode()


def from_xml(document: bytes) -> dict[str, Any]:
    """Read a document: elements by their local names, repeated ones as a list.

    Raises:
        ValueError: It is not XML, or declares its own entities, or is nested too deeply.
    """
    reader = _Reader()
    parser = expat.ParserCreate(namespace_separator="}")
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = reader.doctype
    try:
        parser.Parse(document, True)
    except expat.ExpatError as error:
        raise ValueError("not XML") from error
    return reader.root


def _element(name: str, value: Any) -> str:
    if isinstance(value, list):
        return "".join(_element(name, each) for each in value)
    if not isinstance(value, Mapping):
        return f"<{name}>{escape(_text(value))}</{name}>"
    attributes = "".join(
        f" {key[1:]}={quoteattr(_text(inner))}" for key, inner in value.items() if key[:1] == "@"
    )
    content = "".join(
        escape(_text(inner)) if key == "#text" else _element(key, inner)
        for key, inner in value.items()
        if key[:1] != "@"
    )
    return f"<{name}{attributes}>{content}</{name}>"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


@dataclass
class _Open:
    name: str
    content: dict[str, Any]
    text: list[str] = field(default_factory=list)


class _Reader:
    def __init__(self) -> None:
        self.root: dict[str, Any] = {}
        self._open: list[_Open] = []

    def doctype(self, *_: Any) -> None:
        # Entities are how a small document becomes a large one, or one that reads files.
        raise ValueError("a document type is not accepted")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._open) >= _DEEPEST:
            raise ValueError("nested too deeply")
        content = {f"@{_local(key)}": text for key, text in attributes.items()}
        self._open.append(_Open(_local(name), dict(content)))

    def text(self, data: str) -> None:
        self._open[-1].text.append(data)

    def end(self, name: str) -> None:
        done = self._open.pop()
        text = "".join(done.text).strip()
        value: Any = text
        if done.content:
            value = {**done.content, "#text": text} if text else done.content
        into = self._open[-1].content if self._open else self.root
        if done.name not in into:
            into[done.name] = value
        elif isinstance(into[done.name], list):
            into[done.name].append(value)
        else:
            into[done.name] = [into[done.name], value]


def _local(name: str) -> str:
    return name.rpartition("}")[2]
