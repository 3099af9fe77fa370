"""The wire between host and runner: what is carried, and what is refused."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.sdk_host import FACTS

from carrick.runner.wire import (
    MAX_FRAME,
    MAX_PARAMS,
    BadFrame,
    Beat,
    Call,
    Cancel,
    Done,
    Failed,
    FrameReader,
    FrameTooLarge,
    Ready,
    Result,
    Run,
    Started,
    decode_from_runner,
    decode_params,
    decode_to_runner,
    encode,
    encode_params,
)


def frames(data: bytes) -> list[bytes]:
    """Return the frames in some bytes."""
    return list(FrameReader().feed(data))


@pytest.mark.parametrize(
    "message",
    [
        Run(1, "stripe", "set-up", FACTS),
        Result(1, 2, {"status": 200, "body": b"\x00\xff"}),
        Failed(1, 2, "egress_denied", "no", {"host": "x"}),
        Cancel(3),
    ],
)
def test_messages_of_the_host_arrive_as_they_were_sent(message: Any) -> None:
    """Every message to a runner survives the way there."""
    (frame,) = frames(bytes(encode(message)))
    assert decode_to_runner(frame) == message


@pytest.mark.parametrize(
    "message", [Ready(), Beat(), Started(1), Done(1, "provider_failed", "m", status=503)]
)
def test_messages_of_a_runner_arrive_as_they_were_sent(message: Any) -> None:
    """Every message to the host survives the way there."""
    (frame,) = frames(bytes(encode(message)))
    assert decode_from_runner(frame) == message


def test_a_call_carries_its_body_apart() -> None:
    """Parameters are decoded only once their size is known; a large body is not unfolded."""
    params = {"method": "POST", "body": b"x" * 3_000_000, "headers": {"a": "b"}}
    raw, body = encode_params(params)
    (frame,) = frames(bytes(encode(Call(1, 2, "request", raw, body))))
    call = decode_from_runner(frame)
    assert isinstance(call, Call)
    assert decode_params(call) == params


@given(st.lists(st.binary(max_size=200), max_size=20), st.randoms(use_true_random=False))
def test_frames_survive_any_fragmentation(bodies: list[bytes], rng: random.Random) -> None:
    """However the bytes come in, the same frames come out in the same order."""
    stream = b"".join(len(body).to_bytes(4, "big") + body for body in bodies)
    reader, got, at = FrameReader(), [], 0
    while at < len(stream):
        step = rng.randint(1, 50)
        got += list(reader.feed(stream[at : at + step]))
        at += step
    assert got == bodies


@given(st.binary(max_size=300))
def test_no_bytes_of_a_runner_do_more_than_be_refused(data: bytes) -> None:
    """Whatever a runner sends is a message or a bad frame, never another error."""
    try:
        message = decode_from_runner(data)
        if isinstance(message, Call):
            decode_params(message)
    except BadFrame:
        pass


@pytest.mark.parametrize(
    "value",
    [
        ["done", 1, "unheard of"],
        ["done", "one", "succeeded"],
        ["run", 1, "a", "b", {}],
        {"type": "beat"},
        ["call", 1, 2, "log"],
        [],
        None,
    ],
)
def test_messages_that_are_not_in_the_protocol_are_refused(value: Any) -> None:
    """A runner can say only what the protocol has a word for."""
    with pytest.raises(BadFrame):
        decode_from_runner(msgspec.msgpack.encode(value))


def test_deep_nesting_is_refused() -> None:
    """Nesting that would exhaust the stack is a bad frame."""
    raw = msgspec.Raw(b"\x81\xa1a" + b"\x91" * 100_000 + b"\xc0")
    with pytest.raises(BadFrame):
        decode_params(Call(1, 1, "log", raw))


def test_a_frame_that_says_it_is_huge_is_refused_before_it_is_read() -> None:
    """The length alone decides, so that nobody buffers what is too long."""
    with pytest.raises(BadFrame):
        frames((MAX_FRAME + 1).to_bytes(4, "big"))


def test_parameters_have_a_limit_of_their_own() -> None:
    """Structured data is small, on the way out and on the way in."""
    with pytest.raises(FrameTooLarge):
        encode_params({"a": "x" * MAX_PARAMS})
    with pytest.raises(FrameTooLarge):
        encode_params({"body": b"x" * MAX_FRAME})
    raw = msgspec.Raw(msgspec.msgpack.encode({"a": "x" * MAX_PARAMS}))
    with pytest.raises(BadFrame):
        decode_params(Call(1, 1, "log", raw))


def test_a_message_over_the_limit_is_not_sent() -> None:
    """The sender finds out that its message is too large."""
    with pytest.raises(FrameTooLarge):
        encode(Result(1, 1, b"x" * (MAX_FRAME + 1)))


def test_what_is_not_plain_data_is_not_sent() -> None:
    """An object of a class has no form on the wire."""
    with pytest.raises(TypeError):
        encode(Result(1, 1, object()))
