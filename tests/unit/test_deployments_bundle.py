"""A bundle is the same bytes for the same project, and a hostile one gets nowhere."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path

import pytest

from carrick.deployments import open_bundle, pack, read_project
from carrick.deployments.project import MAX_FILES, MAX_PROJECT_BYTES, make_project
from carrick.errors import ProjectInvalid

TIDY = Path(__file__).parents[1] / "projects" / "tidy"


def zipped(*entries: tuple[str, bytes], mode: int = stat.S_IFREG | 0o644) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return buffer.getvalue()


def test_a_bundle_comes_back_as_the_project_it_was() -> None:
    """Every file survives, and so do the dependencies."""
    project = read_project(TIDY)
    bundle = pack(project)

    opened, again = open_bundle(bundle.content)

    assert dict(again.files) == dict(project.files)
    assert opened == bundle


def test_the_same_project_gives_the_same_bytes() -> None:
    """Neither the time nor the order of reading shows in a bundle."""
    files = {"a/x.json": b"1", "a/on_events/f.py": b"2"}

    one = pack(make_project(files))
    other = pack(make_project(dict(reversed(files.items()))))

    assert one == other
    assert len(one.id) == 64


def test_another_content_is_another_bundle() -> None:
    """The id is the content's."""
    assert pack(make_project({"a.py": b"1"})).id != pack(make_project({"a.py": b"2"})).id


def test_a_project_that_cannot_be_read_whole_is_not_packed() -> None:
    """What is wrong with it is told instead."""
    with pytest.raises(ProjectInvalid) as caught:
        pack(make_project({"pyproject.toml": b"["}))

    assert caught.value.payload is not None
    assert caught.value.payload["problems"][0]["file"] == "pyproject.toml"


@pytest.mark.parametrize(
    "name",
    [
        "../outside.py",
        "a/../../outside.py",
        "/etc/passwd.py",
        "a//b.py",
        "./a.py",
        "a\\b.py",
        "a/b.py/",
        ".ssh/key.py",
        "tests/x.py",
        "secrets.env",
        "a/new\nline.py",
        "a/" + "x" * 300 + ".py",
    ],
)
def test_names_that_no_project_has_are_refused(name: str) -> None:
    """Nothing can be written outside of a bundle's own folder."""
    with pytest.raises(ProjectInvalid, match="may not"):
        open_bundle(zipped((name, b"")))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFDIR, stat.S_IFIFO, stat.S_IFCHR])
def test_only_regular_files_are_taken(kind: int) -> None:
    """A link in a zip is as refused as one on disk."""
    with pytest.raises(ProjectInvalid, match="may not"):
        open_bundle(zipped(("a/on_events/f.py", b"/etc/passwd"), mode=kind | 0o777))


@pytest.mark.parametrize("content", [b"", b"not a zip", zipped(("a.py", b"x"))[:-30]])
def test_what_is_no_zip_is_refused(content: bytes) -> None:
    """A broken upload is said to be broken."""
    with pytest.raises(ProjectInvalid, match="not a readable zip"):
        open_bundle(content)


def test_a_damaged_file_is_refused() -> None:
    """A checksum that does not hold is no project."""
    content = bytearray(zipped(("a.py", b"x" * 1000)))
    content[40] ^= 0xFF

    with pytest.raises(ProjectInvalid, match="not a readable zip"):
        open_bundle(bytes(content))


def test_a_bundle_that_swells_is_refused() -> None:
    """What counts is what comes out, not what was sent."""
    bomb = zipped(*((f"a/{number}.json", b"\0" * (4 * 1024 * 1024)) for number in range(6)))
    assert len(bomb) < MAX_PROJECT_BYTES // 100

    with pytest.raises(ProjectInvalid, match="more than 20 MiB"):
        open_bundle(bomb)


def test_too_many_files_are_refused() -> None:
    """A zip of empty files costs more than its bytes."""
    with pytest.raises(ProjectInvalid, match="files"):
        open_bundle(zipped(*((f"a/{number}.json", b"") for number in range(MAX_FILES + 1))))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name_are_refused() -> None:
    """Which of them would win is nobody's guess."""
    with pytest.raises(ProjectInvalid, match="one name"):
        open_bundle(zipped(("a.py", b"1"), ("a.py", b"2")))
