"""The life of a connection: connect, reconnect, delete, and the events that follow from them.

One file per journey. `rooms` is what they all work with, `attempts` runs one function once,
`mailbox` keeps functions of one connection from overlapping, `drain` works a mailbox off.
"""
