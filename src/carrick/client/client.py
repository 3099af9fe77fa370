"""An asynchronous client of one environment of a Carrick server."""

from __future__ import annotations

from carrick.client.accounts import Accounts
from carrick.client.configuration import Configuration
from carrick.client.deployments import Deployments
from carrick.client.records import Records
from carrick.model.json import JSONObject


class Client(Accounts, Configuration, Deployments, Records):
    """Calls a Carrick server with an environment's API key. Use as `async with Client(...)`."""

    async def health(self) -> JSONObject:
        """Say whether the server is up and can run functions.

        Raises:
            ApiError: It is up and cannot (yet).
        """
        found: JSONObject = await self._call("GET", "/health")
        return found
