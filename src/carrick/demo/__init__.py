"""`carrick demo`: the whole life of one connection, on this machine, in a few seconds.

A real server process, the Salesforce example, and a fake provider; every step is checked against
what the server answered and what the provider really received.
"""

from carrick.demo.run import run

__all__ = ["run"]
