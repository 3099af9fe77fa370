"""Credentials that work: opened, refreshed before they expire, by one caller at a time."""

from carrick.credentials.fresh import FreshCredentials, RefreshObserver
from carrick.credentials.obtain import Send, drive
from carrick.credentials.sealed import open_credentials, seal_credentials

__all__ = [
    "FreshCredentials",
    "RefreshObserver",
    "Send",
    "drive",
    "open_credentials",
    "seal_credentials",
]
