"""What can be deployed: a handful of projects, each with its own idea of the three events."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

from carrick.deployments import pack, read_project
from carrick.deployments.bundle import Bundle

#: Attempts a setup and a cleanup get, and the seconds between them.
ATTEMPTS = 3
WAIT_S = 60
#: Seconds one attempt may take.
LIMIT_S = 5

_HEAD = "from carrick import ActionError, EventContext, create_on_event\n\n\n"
_DECLARED = """
@create_on_event(event="{event}", description="{kind}"{more})
async def function(ctx: EventContext) -> None:
"""
_MORE = f", timeout={LIMIT_S}, attempts={ATTEMPTS}, waits=[{WAIT_S}]"

_HOOK = """
    hook = await ctx.post("/webhooks", data={"url": "https://app.example/" + ctx.run_id})
    known = (await ctx.get_metadata()).get("hooks", [])
    if hook.data["id"] not in known:
        await ctx.update_metadata(hooks=[*known, hook.data["id"]])
"""
_ASKS = """
    me = await ctx.get("/api/me")
"""
_SAME = (
    _ASKS
    + """
    await ctx.require_same_account(me.data["organization_id"])
"""
)
_REMOVES = """
    hooks = list((await ctx.get_metadata()).get("hooks", []))
    hooks += [effect.data["id"] for effect in ctx.effects if effect.state == "succeeded"]
    for hook in hooks:
        await ctx.delete("/webhooks/" + hook)
"""
_REFUSES = '    raise ActionError("no")\n'
_BREAKS = '    raise ValueError("a mistake")\n'

#: What functions do, by the name the model has for it.
_BODIES: dict[str, tuple[str, str]] = {
    "same": ("validate-connection", _SAME),
    "notes": ("validate-connection", '    await ctx.update_metadata(seen="yes")' + _ASKS),
    "refuses": ("validate-connection", '    await ctx.update_metadata(seen="no")\n' + _REFUSES),
    "defective": ("validate-connection", _BREAKS),
    "hook": ("post-connection-creation", _HOOK),
    "again": ("post-connection-creation", _HOOK),
    "half": ("post-connection-creation", _HOOK.split("    known", maxsplit=1)[0] + _BREAKS),
    "declines": ("post-connection-creation", _REFUSES),
    "removes": ("pre-connection-deletion", _REMOVES),
    "parks": ("pre-connection-deletion", _REFUSES),
    "breaks": ("pre-connection-deletion", _BREAKS),
}

#: Function names in declared order, and what each does.
EDITIONS: dict[str, dict[str, str]] = {
    "plain": {"check": "same", "setup": "hook", "tidy": "removes"},
    "strict": {"check": "refuses", "setup": "hook", "tidy": "removes"},
    "sloppy": {"check": "notes", "setup": "half", "tidy": "removes"},
    "broken": {"check": "defective", "setup": "declines", "tidy": "breaks"},
    "bare": {"setup": "hook"},
    "eager": {
        "check": "same",
        "first": "declines",
        "setup": "again",
        "tidy": "removes",
        "wait": "parks",
    },
}


def event_of(kind: str) -> str:
    """Return the event that a kind of function is for."""
    return _BODIES[kind][0]


def write_bundles(directory: Path) -> Mapping[str, Bundle]:
    """Write every edition as a project and pack it as `carrick deploy` does."""
    bundles = {}
    for name, functions in EDITIONS.items():
        folder = directory / name / "ledger" / "on_events"
        folder.mkdir(parents=True)
        for function, kind in functions.items():
            (folder / f"{function}.py").write_text(_source(kind))
        bundles[name] = pack(read_project(directory / name))
    return bundles


def _source(kind: str) -> str:
    event, body = _BODIES[kind]
    more = "" if event == "validate-connection" else _MORE
    if kind == "again":
        more += ", on_reconnect=True"
    declared = _DECLARED.format(event=event, kind=kind, more=more)
    return _HEAD + textwrap.dedent(declared).lstrip() + body.lstrip("\n")
