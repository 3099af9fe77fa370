"""The host side of runner processes: the pool, its limits, and the calls a runner may make."""
