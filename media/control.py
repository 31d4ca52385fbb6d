"""What the control process and a worker say to each other: length-prefixed JSON over a socketpair.

Each message is an object with `op`; those of a session carry its number. Events travel as their
class name and fields. Both ends are ours and of one version, so a message that cannot be read is a
broken peer: `ControlError`, and the channel is given up.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from enum import Enum
from struct import Struct
from typing import Any, get_args

from media.order import (
    CollectEnd,
    Order,
    PlayEnd,
    Prompt,
    RecordEnd,
    SoundFile,
    Tone,
    ToneSignal,
)
from media.plane import (
    Encryption,
    Failure,
    MediaEvent,
    Report,
    SessionSettings,
    Side,
    SideReport,
)

# A description has 64 Ki characters at most, JSON takes up to twelve bytes for one of them, and an
# answer may say twice what the offer says.
MAX_MESSAGE = 2 * 1024 * 1024
_LENGTH = Struct("!I")
_EVENTS: dict[str, type[MediaEvent]] = {event.__name__: event for event in get_args(MediaEvent)}
_ORDERS: dict[str, type[Order]] = {order.__name__: order for order in get_args(Order)}

Message = dict[str, Any]


class ControlError(Exception):
    """The other process says what nobody of ours would say."""


def frame(message: Message) -> bytes:
    """A message as it is written; raises `ValueError` if it is too long to be one."""
    body = json.dumps(message, separators=(",", ":")).encode()
    if len(body) > MAX_MESSAGE:
        raise ValueError(f"message of {len(body)} bytes")
    return _LENGTH.pack(len(body)) + body


class Unframer:
    """Cuts a stream of bytes into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that `data` completes."""
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > MAX_MESSAGE:
                raise ControlError(f"message of {length} bytes")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            try:
                message = json.loads(body)
            except ValueError:
                raise ControlError("message is not JSON") from None
            if not isinstance(message, dict):
                raise ControlError("message is not an object")
            yield message


def event_to_json(event: MediaEvent) -> Message:
    return {"event": type(event).__name__, **_plain(event)}


def order_to_json(order: Order) -> Message:
    return {"order": type(order).__name__, **_plain(order)}


def _plain(value: MediaEvent | Order) -> Message:
    return asdict(value, dict_factory=_values)


def _values(fields: list[tuple[str, Any]]) -> Message:
    return {name: v.value if isinstance(v, Enum) else v for name, v in fields}


def order_from_json(message: Message) -> Order:
    fields = {k: v for k, v in message.items() if k not in ("op", "order", "session")}
    try:
        if fields.get("side") is not None:
            fields["side"] = Side(fields["side"])
        if "prompt" in fields:
            fields["prompt"] = _prompt(**fields["prompt"])
        return _ORDERS[message["order"]](**fields)
    except (KeyError, TypeError, ValueError) as error:
        raise ControlError(f"unreadable order: {error!r}") from None


def event_from_json(message: Message) -> MediaEvent:
    fields = {k: v for k, v in message.items() if k not in ("op", "event", "session")}
    try:
        if "side" in fields:
            fields["side"] = Side(fields["side"])
        if "failure" in fields:
            fields["failure"] = Failure(fields["failure"])
        if message["event"] == "Played":
            fields["reason"] = PlayEnd(fields["reason"])
        if message["event"] == "Recorded":
            fields["reason"] = RecordEnd(fields["reason"])
            fields["waveform"] = tuple(fields["waveform"])
        if message["event"] == "Collected":
            fields["reason"] = CollectEnd(fields["reason"])
        if "report" in fields:
            report = fields["report"]
            report["webrtc"] = SideReport(**report["webrtc"])
            report["sdes"] = SideReport(**report["sdes"])
            fields["report"] = Report(**report)
        return _EVENTS[message["event"]](**fields)
    except (KeyError, TypeError, ValueError) as error:
        raise ControlError(f"unreadable event: {error!r}") from None


def _prompt(*, path: str | None = None, tone: str = "", country: str = "") -> Prompt:
    return SoundFile(path) if path is not None else ToneSignal(Tone(tone), country)


def settings_to_json(settings: SessionSettings) -> Message:
    """Without the ICE servers, which follow once their names are resolved."""
    return {
        "codecs": settings.codecs,
        "encryption": settings.encryption.value,
        "suites": settings.suites,
        "connect_timeout": settings.connect_timeout,
        "silence_timeout": settings.silence_timeout,
        "digits_in_media": settings.digits_in_media,
        "thin_link": settings.thin_link,
    }


def settings_from_json(message: Message) -> SessionSettings:
    return SessionSettings(
        codecs=tuple(message["codecs"]),
        encryption=Encryption(message["encryption"]),
        suites=tuple(message["suites"]),
        connect_timeout=message["connect_timeout"],
        silence_timeout=message["silence_timeout"],
        digits_in_media=message["digits_in_media"],
        thin_link=message["thin_link"],
    )
