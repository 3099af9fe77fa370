"""The composition root: builds every room from plain arguments, and serves them."""

from carrick.app.serving import serve, work
from carrick.app.starting import App, running
from carrick.app.stores import opened_store

__all__ = ["App", "opened_store", "running", "serve", "work"]
