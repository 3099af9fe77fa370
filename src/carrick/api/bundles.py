"""Projects as they are uploaded: base64 inside JSON."""

from __future__ import annotations

import asyncio
import base64
import binascii

from carrick.api.errors import invalid
from carrick.api.issues import issue
from carrick.deployments import Bundle, open_bundle
from carrick.errors import InvalidBody


async def read_bundle(text: str) -> Bundle:
    """Return an uploaded project.

    Raises:
        InvalidBody: It is not base64.
        ProjectInvalid: It is not a project.
    """
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        invalid(InvalidBody, [issue("Must be base64", ["bundle"])])
    # Unpacking takes long for a large project, and others are waiting.
    bundle, _ = await asyncio.to_thread(open_bundle, content)
    return bundle
