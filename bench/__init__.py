"""Benchmarks: how fast and how large a server is, beside Nango's figures."""
