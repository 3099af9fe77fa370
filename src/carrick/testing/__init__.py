"""What tests of Carrick, and of projects written for it, are built from."""

from carrick.testing.clock import FakeChance, FakeClock

__all__ = ["FakeChance", "FakeClock"]
