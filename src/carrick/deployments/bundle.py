"""A project as one file: a zip whose bytes depend on nothing but the project's content.

What comes back in is not trusted: sizes, counts, names and kinds of entries are checked before a
byte is written.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from carrick.deployments.problem import project_invalid
from carrick.deployments.project import MAX_FILES, MAX_PROJECT_BYTES, Project, belongs, make_project
from carrick.errors import ProjectInvalid

_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
_REGULAR_FILE = 0o100644 << 16
_FILE_KIND = 0o170000 << 16


@dataclass(frozen=True)
class Bundle:
    """A packed project."""

    #: SHA-256 of the content.
    id: str
    content: bytes = field(repr=False)
    dependencies: tuple[str, ...] = ()


def pack(project: Project) -> Bundle:
    """Pack a project; the same project always gives the same bundle.

    Raises:
        ProjectInvalid: The project cannot be read whole.
    """
    if project.problems:
        raise project_invalid(project.problems)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for path in sorted(project.files):
            entry = zipfile.ZipInfo(path, _ZIP_EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3
            entry.external_attr = _REGULAR_FILE
            archive.writestr(entry, project.files[path])
    content = buffer.getvalue()
    return Bundle(hashlib.sha256(content).hexdigest(), content, project.dependencies)


def open_bundle(content: bytes) -> tuple[Bundle, Project]:
    """Read a bundle that somebody sent.

    Raises:
        ProjectInvalid: It is not a bundle, or holds what a project may not.
    """
    project = make_project(dict(_entries(content)))
    if project.problems:
        raise project_invalid(project.problems)
    bundle = Bundle(hashlib.sha256(content).hexdigest(), content, project.dependencies)
    return bundle, project


def _entries(content: bytes) -> Iterator[tuple[str, bytes]]:
    if len(content) > MAX_PROJECT_BYTES:
        raise ProjectInvalid("The bundle is larger than 20 MiB.")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            infos = archive.infolist()
            if len(infos) > MAX_FILES:
                raise ProjectInvalid(f"The bundle has more than {MAX_FILES} files.")
            if len({info.filename for info in infos}) != len(infos):
                raise ProjectInvalid("The bundle has two files of one name.")
            left = MAX_PROJECT_BYTES
            for info in infos:
                data = _read(archive, info, left)
                left -= len(data)
                yield info.filename, data
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise ProjectInvalid(f"The bundle is not a readable zip file: {error}.") from error
    except (UnicodeDecodeError, ValueError, OSError) as error:
        raise ProjectInvalid("The bundle is not a readable zip file.") from error


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, left: int) -> bytes:
    path = PurePosixPath(info.filename)
    kind = info.external_attr & _FILE_KIND
    if (
        not _is_plain(info.filename)
        or info.is_dir()
        or kind not in (0, _REGULAR_FILE & _FILE_KIND)
        or not belongs(path)
    ):
        raise ProjectInvalid(f"The bundle holds {info.filename[:200]!r}, which a project may not.")
    with archive.open(info) as stream:
        # The size in the header is the sender's word: count what really comes out.
        data = stream.read(left + 1)
    if len(data) > left:
        raise ProjectInvalid("The bundle holds more than 20 MiB.")
    return data


def _is_plain(name: str) -> bool:
    parts = name.split("/")
    return (
        bool(name)
        and len(name) <= 500
        and "\\" not in name
        and all(part not in ("", ".", "..") and len(part.encode()) <= 255 for part in parts)
        and name.isprintable()
    )
