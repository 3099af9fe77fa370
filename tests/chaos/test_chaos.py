"""A short storm with every `make test`; `make chaos` blows as long as it is told to."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.run import Storm, run


async def test_nothing_is_lost_in_a_short_storm(store_url: str, tmp_path: Path) -> None:
    """Function processes are killed under load; records, provider and apps agree afterwards.

    `make chaos` kills nodes as well, which takes longer than a test may.
    """
    url = store_url if store_url.startswith("postgres") else None
    storm = Storm(seconds=6, apps=4, servers=1, workers=1, of_nodes=0, seed=7)
    outcome = await run(tmp_path, url, storm)
    assert outcome.kills_of_runners > 0
    assert outcome.verdict.events > 0
    assert outcome.verdict.is_clean, outcome.verdict
