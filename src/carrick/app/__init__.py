"""The composition root: builds every room from plain arguments, and serves them."""

from carrick.app.building import App, opened_store, running
from carrick.app.serving import serve, work

__all__ = ["App", "opened_store", "running", "serve", "work"]
