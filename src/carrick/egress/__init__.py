"""The only room that opens outbound sockets: where calls may go, and how much may come back."""

from carrick.egress.client import MAX_ANSWER_BYTES, MAX_REDIRECTS, Egress, StreamedAnswer
from carrick.egress.policy import EgressPolicy

__all__ = ["MAX_ANSWER_BYTES", "MAX_REDIRECTS", "Egress", "EgressPolicy", "StreamedAnswer"]
