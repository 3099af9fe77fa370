"""The model of the connection's metadata."""

from pydantic import BaseModel


class Metadata(BaseModel):
    """What the functions keep."""

    organization_id: str | None = None
    webhook_id: str | None = None
