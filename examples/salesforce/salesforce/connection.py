"""What the three functions share: the metadata model and the address of webhooks."""

from __future__ import annotations

from pydantic import BaseModel

#: The REST class that our managed package brings into the customer's organisation.
WEBHOOKS = "/services/apexrest/webhooks"


class Metadata(BaseModel):
    """Facts kept in the connection's metadata."""

    organization_id: str | None = None
    webhook_id: str | None = None
