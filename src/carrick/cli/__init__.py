"""The command line: one file per command, each of which parses, calls and prints.

Exit codes: 0 it worked; 1 it did not, and one sentence on stderr says why; 2 the command was used
wrongly. Commands import what they need when they run, so that `--help` is quick.
"""
