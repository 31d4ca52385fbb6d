"""What the ICE agent puts out: datagrams to send, streams to open, and what has happened.

The driver empties `IceAgent.poll()` after every input and carries out what it finds, in order.
Sockets are named by integers: those that the driver gave (`add_socket`) are its own, zero or more;
negative ones are streams towards TURN servers that the agent asks for with `OpenStream`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from media.ice.candidate import Candidate


class Transmit(NamedTuple):
    """Send these bytes; a tuple, not a dataclass, since one is made for each packet of audio.

    Attributes:
        socket: a UDP socket of the driver's, or (negative) a stream that it opened on request.
            Bytes for a stream are whole frames: a driver whose buffer is full drops a `Transmit`
            whole or not at all.
        destination: numeric address and port; on a stream it is the server's and needs no
        attention.
    """

    socket: int
    destination: tuple[str, int]
    data: bytes


as_transmit: Callable[[tuple[int, tuple[str, int], bytes]], Transmit] = partial(
    tuple.__new__, Transmit
)
"""Makes one out of a plain tuple. `Transmit(…)` runs Python for it, at three times the cost."""


@dataclass(frozen=True, slots=True)
class OpenStream:
    """Open a TCP connection to a TURN server, then call `stream_opened` or `stream_closed`.

    Attributes:
        socket: the negative number by which the stream goes from now on.
        tls_name: None for plain TCP; else TLS, verifying the server's certificate against this
        name.
    """

    socket: int
    address: str
    port: int
    tls_name: str | None


@dataclass(frozen=True, slots=True)
class CloseStream:
    """Close a stream once what was sent before is written. No `stream_closed` is expected."""

    socket: int


@dataclass(frozen=True, slots=True)
class CandidatePair:
    """A local and a remote candidate between which packets pass."""

    local: Candidate
    remote: Candidate

    def __str__(self) -> str:
        """The short form for reports: `udp host→srflx`."""
        return f"{self.local.transport} {self.local.type}→{self.remote.type}"


@dataclass(frozen=True, slots=True)
class CandidateFound:
    """A local candidate that the peer should be told (RFC 8838 §9)."""

    candidate: Candidate


@dataclass(frozen=True, slots=True)
class GatheringDone:
    """All servers have answered or been given up: no further local candidates (RFC 8838 §13)."""


@dataclass(frozen=True, slots=True)
class Connected:
    """`send` goes over this pair from now on. Comes again whenever the pair changes or recovers."""

    pair: CandidatePair


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The selected pair has stopped answering. It may recover, or an ICE restart may replace it."""


@dataclass(frozen=True, slots=True)
class Failed:
    """No path was found in time, or consent expired (RFC 7675): nothing is sent until an ICE
    restart."""

    text: str


IceOutput = (
    Transmit
    | OpenStream
    | CloseStream
    | CandidateFound
    | GatheringDone
    | Connected
    | Disconnected
    | Failed
)
