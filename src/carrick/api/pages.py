"""The page a popup ends at: says how it went, to the person and to the window that opened it."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

#: Characters that could end the script, or a line of it, from inside a text.
_ESCAPES = {ord(one): f"\\u{ord(one):04x}" for one in "<>&\u2028\u2029"}
#: Which is all that anybody can do here, whatever went wrong.
_NEXT = "Close this window. You can try again in the app you came from."

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style nonce="{nonce}">
:root {{ color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }}
body {{ margin: 12vh auto 2rem; max-width: 28rem; padding: 0 1.5rem }}
h1 {{ font-size: 1.25rem; margin: 0 0 1rem; padding-top: 1rem; border-top: 4px solid #2e8b57 }}
[role=alert] h1 {{ border-color: #d9483b }}
p {{ margin: 0 0 1rem; overflow-wrap: anywhere; white-space: pre-line }}
p + p {{ opacity: .75 }}
</style>
</head>
<body>
<main role="{role}">
<h1>{title}</h1>
{paragraphs}
</main>
<script nonce="{nonce}">
(() => {{
  const message = {message};
  const close = {closes};
  const channel = new BroadcastChannel("nango-oauth-callback");
  const done = (event) => {{
    if (event.data && event.data.type === "nango_oauth_callback_ack") window.close();
  }};
  channel.addEventListener("message", done);
  window.addEventListener("message", done);
  try {{ if (window.opener) window.opener.postMessage(message, "*"); }} catch (error) {{
    console.warn(error);
  }}
  channel.postMessage(message);
  if (close) setTimeout(() => window.close(), 500);
}})();
</script>
</body>
</html>
"""


def success_page(nonce: str, frame: Mapping[str, Any]) -> Response:
    """Return the page that says it worked; it closes itself.

    Args:
        nonce: An unpredictable text, by which the browser knows our script.
        frame: What its socket is told, for the window that opened it: that socket may be lost.
    """
    return _page(
        nonce,
        HTTPStatus.OK,
        "You are connected",
        ["You can close this window."],
        {"type": "nango_oauth_callback_success", "payload": dict(frame)},
    )


def pending_page(nonce: str, frame: Mapping[str, Any]) -> Response:
    """Return the page that says that somebody else has to agree; it closes itself, too."""
    return _page(
        nonce,
        HTTPStatus.OK,
        "Almost connected",
        ["Somebody has to approve the installation first.", "You can close this window."],
        {"type": "nango_oauth_callback_success", "payload": dict(frame)},
    )


def error_page(
    nonce: str, text: str, error_type: str, details: Mapping[str, Any] | None = None
) -> Response:
    """Return the page that says why it did not work; it stays open to be read.

    Args:
        nonce: An unpredictable text, by which the browser knows our script.
        text: For the person.
        error_type: For the window that opened it.
        details: What the provider itself said, which that window gets instead of the text.
    """
    told = json.dumps(dict(details)) if details else text
    payload = {"message": told, "errorType": error_type}
    message = {"type": "nango_oauth_callback_error", "payload": payload}
    title = "The connection was not made"
    return _page(nonce, HTTPStatus.BAD_REQUEST, title, [text, _NEXT], message)


def _page(
    nonce: str,
    status: HTTPStatus,
    title: str,
    paragraphs: Sequence[str],
    message: Mapping[str, Any],
) -> Response:
    went_well = status is HTTPStatus.OK
    content = _PAGE.format(
        title=html.escape(title),
        paragraphs="\n".join(f"<p>{html.escape(text)}</p>" for text in paragraphs),
        role="status" if went_well else "alert",
        message=json.dumps(message).translate(_ESCAPES),
        closes=json.dumps(went_well),
        nonce=nonce,
    )
    policy = (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",  # the address holds a code and a state
    }
    return Response(content, int(status), headers, media_type="text/html")
