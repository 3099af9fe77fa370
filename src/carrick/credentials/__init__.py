"""Credentials that work: opened, refreshed before they expire, by one caller at a time."""

from carrick.credentials.fresh import FreshCredentials
from carrick.credentials.observer import RefreshFailure, RefreshObserver, RefreshSuccess
from carrick.credentials.obtain import Send, drive
from carrick.credentials.results import Results
from carrick.credentials.sealed import open_credentials, seal_credentials

__all__ = [
    "FreshCredentials",
    "RefreshFailure",
    "RefreshObserver",
    "RefreshSuccess",
    "Results",
    "Send",
    "drive",
    "open_credentials",
    "seal_credentials",
]
