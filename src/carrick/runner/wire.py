"""Frames between host and runner: a length of four bytes, then msgpack of one tagged message.

The host never trusts what comes from a runner: messages are typed, parts that the host does not
look into stay undecoded until their size is known, and a malformed frame ends the runner.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias, TypeVar, cast

import msgspec

from carrick.sdk.host import Facts

MAX_FRAME = 32 * 1024 * 1024
#: Bytes of a call's parameters, bodies apart. Small, because msgpack unfolds to far more memory.
MAX_PARAMS = 1024 * 1024
#: Bytes of an `ActionError`'s payload as JSON.
MAX_PAYLOAD = 64 * 1024
_LENGTH = 4


class BadFrame(Exception):
    """The other side sent something that is not a message."""


class FrameTooLarge(Exception):
    """A message is too large to be sent."""


# --- from the host --------------------------------------------------------------------------


class Run(msgspec.Struct, tag="run", array_like=True, frozen=True):
    """Run a function."""

    run: int
    integration_id: str
    function: str
    facts: Facts


class Result(msgspec.Struct, tag="result", array_like=True, frozen=True):
    """The answer to a call."""

    run: int
    call: int
    value: Any


class Failed(msgspec.Struct, tag="failed", array_like=True, frozen=True):
    """A call could not be answered."""

    run: int
    call: int
    code: str
    message: str
    payload: Any = None


class Cancel(msgspec.Struct, tag="cancel", array_like=True, frozen=True):
    """Stop a run."""

    run: int


class Preload(msgspec.Struct, tag="preload", array_like=True, frozen=True):
    """Import every function now, so that the first run does not have to."""


# --- from the runner ------------------------------------------------------------------------


class Ready(msgspec.Struct, tag="ready", array_like=True, frozen=True):
    """The process is up and takes runs."""


class Beat(msgspec.Struct, tag="beat", array_like=True, frozen=True):
    """The loop turns."""


class Started(msgspec.Struct, tag="started", array_like=True, frozen=True):
    """A run's code is about to execute."""

    run: int


class Call(msgspec.Struct, tag="call", array_like=True, frozen=True):
    """A call of the host. `body` travels apart from the parameters, as it may be large."""

    run: int
    call: int
    method: str
    params: msgspec.Raw
    body: bytes | None = None


Kind: TypeAlias = Literal[
    "succeeded",
    "action_refused",
    "provider_failed",
    "defective",
    "incomplete",
    "unknown_write",
    "cancelled",
]


class Done(msgspec.Struct, tag="done", array_like=True, frozen=True):
    """What became of a run; which fields count depends on the kind."""

    run: int
    kind: Kind
    message: str | None = None
    detail: str = ""
    #: JSON text of an `ActionError`'s payload.
    payload: str | None = None
    status: int | None = None
    retry_after_s: float | None = None
    method: str = ""
    endpoint: str = ""


ToRunner: TypeAlias = Run | Result | Failed | Cancel | Preload
FromRunner: TypeAlias = Ready | Beat | Started | Call | Done

_Message = TypeVar("_Message")
_encoder = msgspec.msgpack.Encoder()
_to_runner: msgspec.msgpack.Decoder[ToRunner] = msgspec.msgpack.Decoder(ToRunner)
_from_runner: msgspec.msgpack.Decoder[FromRunner] = msgspec.msgpack.Decoder(FromRunner)

_params = msgspec.msgpack.Decoder(dict[str, Any])


def encode(message: ToRunner | FromRunner) -> bytearray:
    """Return the frame of a message.

    Raises:
        FrameTooLarge: It is over 32 MiB.
        TypeError, ValueError: It holds something that is not plain data.
    """
    frame = bytearray(_LENGTH)
    _encoder.encode_into(message, frame, _LENGTH)
    length = len(frame) - _LENGTH
    if length > MAX_FRAME:
        raise FrameTooLarge(f"a message of {length} bytes is over the limit of {MAX_FRAME}")
    frame[:_LENGTH] = length.to_bytes(_LENGTH, "big")
    return frame


def encode_params(params: dict[str, Any]) -> tuple[msgspec.Raw, bytes | None]:
    """Return a call's parameters and body in the form in which they travel.

    Raises:
        FrameTooLarge: The parameters are over 1 MiB or the body does not fit into a frame.
        TypeError, ValueError: They hold something that is not plain data.
    """
    body = params.get("body")
    if isinstance(body, bytes):
        params = {name: value for name, value in params.items() if name != "body"}
    else:
        body = None
    raw = _encoder.encode(params)
    if len(raw) > MAX_PARAMS:
        raise FrameTooLarge(f"{len(raw)} bytes of parameters are over the limit of {MAX_PARAMS}")
    if body is not None and len(body) > MAX_FRAME - MAX_PARAMS - 1024:
        raise FrameTooLarge(f"a body of {len(body)} bytes is over the limit")
    return msgspec.Raw(raw), body


def decode_params(call: Call) -> dict[str, Any]:
    """Return a call's parameters with its body among them.

    Raises:
        BadFrame: They are too large, or not a map with text keys.
    """
    raw = memoryview(call.params)
    if len(raw) > MAX_PARAMS:
        raise BadFrame(f"{len(raw)} bytes of parameters")
    params = _decode(_params, bytes(raw))
    if call.body is not None:
        params["body"] = call.body
    return params


def decode_to_runner(frame: bytes) -> ToRunner:
    """Return the message in a frame that the host sent."""
    return _decode(_to_runner, frame)


def decode_from_runner(frame: bytes) -> FromRunner:
    """Return the message in a frame that a runner sent.

    Raises:
        BadFrame: It is not one.
    """
    return _decode(_from_runner, frame)


def _decode(decoder: msgspec.msgpack.Decoder[_Message], frame: bytes) -> _Message:
    try:
        return decoder.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadFrame(str(error)) from error


class FrameReader:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield every frame that is complete now.

        Raises:
            BadFrame: A frame says it is longer than 32 MiB.
        """
        buffer = self._buffer
        buffer += data
        at = 0
        try:
            while len(buffer) - at >= _LENGTH:
                length = int.from_bytes(buffer[at : at + _LENGTH], "big")
                if length > MAX_FRAME:
                    raise BadFrame(f"a frame of {length} bytes")
                end = at + _LENGTH + length
                if len(buffer) < end:
                    break
                frame = bytes(memoryview(buffer)[at + _LENGTH : end])
                at = end
                yield frame
        finally:
            del buffer[:at]


class Channel(asyncio.Protocol):
    """One end of the socket pair: hands on frames as they come, and writes messages.

    `on_frame` may raise `BadFrame`; the channel closes then. `on_end` is called once.
    """

    def __init__(
        self, on_frame: Callable[[bytes], None], on_end: Callable[[str | None], None]
    ) -> None:
        self._on_frame = on_frame
        self._on_end = on_end
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._fault: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Hand on the frames that are complete; nothing more after a bad one."""
        if self._fault is not None:
            return
        try:
            for frame in self._reader.feed(data):
                self._on_frame(frame)
        except BadFrame as error:
            self._fault = f"it sent bytes that are no message ({error})"
            if self._transport is not None:
                self._transport.abort()

    def pause_writing(self) -> None:
        """Note that the other side does not keep up."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Note that it does again."""
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Say that the other side is gone."""
        self._writable.set()
        self._transport = None
        self._on_end(self._fault)

    @property
    def is_open(self) -> bool:
        """Whether something sent now can arrive."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def is_writable(self) -> bool:
        """Whether the other side keeps up with what is written."""
        return self._writable.is_set()

    def send(self, message: ToRunner | FromRunner) -> None:
        """Write a message; nothing happens when the other side is gone.

        Raises:
            FrameTooLarge: It is over 32 MiB.
            TypeError, ValueError: It holds something that is not plain data.
        """
        frame = encode(message)
        if self._transport is not None:
            self._transport.write(frame)

    async def drain(self) -> None:
        """Wait until the other side keeps up."""
        await self._writable.wait()

    def close(self) -> None:
        """Let go of the socket."""
        if self._transport is not None:
            self._transport.close()


async def open_channel(
    sock: socket.socket,
    on_frame: Callable[[bytes], None],
    on_end: Callable[[str | None], None],
) -> Channel:
    """Return a channel on one end of a socket pair, which belongs to it from now on."""
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    _, channel = await loop.create_unix_connection(lambda: Channel(on_frame, on_end), sock=sock)
    return channel
