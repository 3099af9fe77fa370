"""Names that several functions use."""

GREETING = "hello"
