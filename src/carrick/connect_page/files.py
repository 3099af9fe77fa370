"""The files of the page, read once, each with its kind and a mark of its content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_STATIC = Path(__file__).with_name("static")
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class PageFile:
    """A file of the page."""

    content: bytes
    media_type: str
    #: Changes with the content, so that a browser can keep the file and ask whether it is current.
    etag: str


def page_files() -> Mapping[str, PageFile]:
    """Return every file by its path under the page, `index.html` among them."""
    return {
        path.relative_to(_STATIC).as_posix(): _read(path)
        for path in sorted(_STATIC.rglob("*"))
        if path.suffix in _KINDS
    }


def page_texts() -> Mapping[str, Mapping[str, str]]:
    """Return the texts of every language, for what a server writes for the same people."""
    return {
        path.stem: json.loads(path.read_bytes())
        for path in sorted((_STATIC / "texts").glob("*.json"))
    }


def _read(path: Path) -> PageFile:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:32]
    return PageFile(content, _KINDS[path.suffix], f'"{digest}"')
