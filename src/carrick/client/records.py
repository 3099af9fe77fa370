"""What happened: operations, cleanups and notifications."""

from __future__ import annotations

from carrick.client.transport import Transport, data_of, part
from carrick.model.json import JSONObject

#: Lines of an operation that are asked for at a time: the most a server gives.
_MESSAGES = 1000


class Records(Transport):
    """Operations, cleanups and notifications."""

    async def operations(
        self,
        *,
        state: str | None = None,
        type: str | None = None,  # noqa: A002 - the name on the wire
        integration_id: str | None = None,
        connection_id: str | None = None,
        limit: int = 50,
    ) -> list[JSONObject]:
        """Return the newest operations."""
        filters = {
            "state": state,
            "type": type,
            "integration_id": integration_id,
            "connection_id": connection_id,
        }
        return await self._listed("/operations", filters, limit=limit)

    async def operation(self, operation_id: str) -> JSONObject:
        """Return an operation with all of its messages."""
        path = f"/operations/{part(operation_id)}"
        query = {"limit": str(_MESSAGES)}
        found = data_of(await self._call("GET", path, query=query))
        page = messages = list(found["messages"])
        while len(page) == _MESSAGES:
            after = {**query, "after": str(page[-1]["id"])}
            page = list(data_of(await self._call("GET", path, query=after))["messages"])
            messages += page
        return {**found, "messages": messages}

    async def retry_operation(self, operation_id: str) -> JSONObject:
        """Run a failed setup again."""
        return data_of(await self._call("POST", f"/operations/{part(operation_id)}/retry", {}))

    async def cleanups(self, *, state: str | None = None, limit: int = 50) -> list[JSONObject]:
        """Return the cleanups that are not done, parked ones first, or only those (`parked`)."""
        if state is not None:
            return await self._listed("/cleanups", {"state": state}, limit=limit)
        # Asked for apart: a page of the others may be full before the first parked one comes.
        parked = await self._listed("/cleanups", {"state": "parked"}, limit=limit)
        unfinished = await self._listed("/cleanups", {}, limit=limit)
        others = [one for one in unfinished if one["state"] != "parked"]
        return [*parked, *others][:limit]

    async def cleanup(self, cleanup_id: str) -> JSONObject:
        """Return a cleanup that is not done."""
        return data_of(await self._call("GET", f"/cleanups/{part(cleanup_id)}"))

    async def retry_cleanups(self, *, integration_id: str | None = None) -> int:
        """Try every parked cleanup again, or those of one integration; return how many."""
        body: JSONObject = {"integration_id": integration_id} if integration_id else {}
        return int(str(data_of(await self._call("POST", "/cleanups/retry", body))["retried"]))

    async def retry_cleanup(self, cleanup_id: str) -> JSONObject:
        """Try a parked cleanup again."""
        return data_of(await self._call("POST", f"/cleanups/{part(cleanup_id)}/retry", {}))

    async def force_cleanup(self, cleanup_id: str, reason: str) -> JSONObject:
        """Give a cleanup up, so that its connection can go; the reason is recorded."""
        body = {"reason": reason}
        return data_of(await self._call("POST", f"/cleanups/{part(cleanup_id)}/force", body))

    async def notifications(
        self,
        *,
        state: str | None = None,
        integration_id: str | None = None,
        connection_id: str | None = None,
        limit: int = 50,
    ) -> list[JSONObject]:
        """Return the newest notifications to the app."""
        filters = {
            "state": state,
            "integration_id": integration_id,
            "connection_id": connection_id,
        }
        return await self._listed("/notifications", filters, limit=limit)

    async def notification(self, notification_id: str) -> JSONObject:
        """Return a notification with its body and every attempt at it."""
        return data_of(await self._call("GET", f"/notifications/{part(notification_id)}"))

    async def retry_notification(self, notification_id: str) -> JSONObject:
        """Send a notification now that waits or was given up."""
        path = f"/notifications/{part(notification_id)}/retry"
        return data_of(await self._call("POST", path, {}))
