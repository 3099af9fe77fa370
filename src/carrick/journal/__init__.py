"""The write journal: a function's outward writes happen once, over all attempts of a run."""

from carrick.journal.journal import Answer, Journal, Recorder, Replay, Send, WriteKey

__all__ = ["Answer", "Journal", "Recorder", "Replay", "Send", "WriteKey"]
