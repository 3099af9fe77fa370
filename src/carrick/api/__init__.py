"""The HTTP API: one error mapper, one place per way of asking, wire names in `schemas` only."""

from carrick.api.app import create_api
from carrick.api.services import Readiness, Services

__all__ = ["Readiness", "Services", "create_api"]
