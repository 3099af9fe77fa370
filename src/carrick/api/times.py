"""Timestamps as the wire writes them: milliseconds, `Z` almost everywhere."""

from __future__ import annotations

from datetime import UTC, datetime


def with_z(moment: datetime) -> str:
    """Return `2026-10-01T10:00:00.123Z`."""
    return _text(moment) + "Z"


def with_offset(moment: datetime) -> str:
    """Return `2026-10-01T10:00:00.123+00:00`, as stored connections are shown."""
    return _text(moment) + "+00:00"


def with_z_or_none(moment: datetime | None) -> str | None:
    """Return a moment with `Z`, or `None` where there is none."""
    return None if moment is None else with_z(moment)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")
