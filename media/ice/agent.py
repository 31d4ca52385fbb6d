"""The ICE agent: finds a path to the peer, keeps it alive, and lets nothing else in (RFC 8445, RFC
8838, RFC 7675)."""

from collections.abc import Callable
from dataclasses import dataclass, field

from media.ice.candidate import Candidate
from media.ice.events import IceOutput, Transmit
from media.ice.server import Server


@dataclass(frozen=True, slots=True)
class IceCredentials:
    """A username fragment and its password (RFC 8839 §5.4)."""

    ufrag: str
    pwd: str = field(repr=False)


class IceAgent:
    """One component's ICE (RTP and RTCP share it), for the lifetime of a session.

    After every input the driver empties `poll()` and reads `deadline()` again; both cost nothing
    when nothing changed. Addresses are numeric and spelled as the socket spells them; `source` is
    `(address, port)`, for IPv6 too.

    Attributes:
        local: credentials of the current generation, for our description; `restart` changes them.
        gathering_complete: whether all servers have answered or been given up.
        controlling: our role (RFC 8445 §6.1.1); changes when the peer holds the same one.
    """

    local: IceCredentials
    gathering_complete: bool
    controlling: bool

    def __init__(
        self,
        *,
        controlling: bool,
        random: Callable[[int], bytes],
        now: float,
        limit: float = 30.0,
    ) -> None:
        raise NotImplementedError

    def add_socket(self, socket: int, address: str, port: int) -> None:
        """A UDP socket of ours, bound to this address: a host candidate. Sockets come before
        servers."""
        raise NotImplementedError

    def add_server(self, server: Server, address: str, now: float) -> None:
        """Ask a STUN or TURN server, resolved to `address`, for more candidates."""
        raise NotImplementedError

    def local_candidates(self) -> list[Candidate]:
        """All found so far, best first; they stay the same over an ICE restart."""
        raise NotImplementedError

    def set_remote(self, ufrag: str, pwd: str, now: float) -> None:
        """The peer's credentials. Others than before mean that it restarted ICE (RFC 8839
        §4.4.1.1.1): unless `restart` came first, our own change too, so read `local` afterwards for
        the answer."""
        raise NotImplementedError

    def add_remote(self, candidate: str, now: float) -> None:
        """A candidate of the peer's, of its newest credentials. Never raises: what is unusable is
        counted."""
        raise NotImplementedError

    def end_of_candidates(self) -> None:
        """The peer has said that no more will follow (RFC 8838 §14)."""
        raise NotImplementedError

    def start_limit(self, now: float) -> None:
        """Both descriptions are exchanged (our answer is out, or the peer's came): `Failed` follows
        if no pair is selected within the `limit`. Not called by the agent, since a call may ring
        long after `set_remote`."""
        raise NotImplementedError

    def restart(self, now: float) -> None:
        """New credentials of ours for a new offer (RFC 8445 §9); the selected pair carries on until
        one of the new generation is nominated."""
        raise NotImplementedError

    def receive(
        self, data: bytes, source: tuple[str, int], socket: int, now: float
    ) -> bytes | None:
        """A datagram. Returns a payload of DTLS, RTP or RTCP (out of its TURN wrapping) if it came
        over a validated path; everything else is dealt with here or dropped, and nothing of it is
        kept."""
        raise NotImplementedError

    def send(self, data: bytes, now: float) -> Transmit | None:
        """Wrap for the selected pair, or before that for the best valid one. None when there is
        none: DTLS is then held (a few datagrams) until there is; RTP is not."""
        raise NotImplementedError

    def stream_opened(self, socket: int, now: float) -> None:
        """The stream of an `OpenStream` is up (with TLS: verified)."""
        raise NotImplementedError

    def stream_closed(self, socket: int, now: float) -> None:
        """The stream of an `OpenStream` could not be opened, or ended."""
        raise NotImplementedError

    def receive_stream(self, data: bytes, socket: int, now: float) -> list[bytes]:
        """Bytes of a stream, cut anywhere. Returns the payloads in them, by the rule of
        `receive`."""
        raise NotImplementedError

    def close(self, now: float) -> None:
        """Give relayed addresses back. `poll()` once more for what there is to send; then the agent
        is dead."""
        raise NotImplementedError

    def handle_timer(self, now: float) -> None:
        """Do what is due; early calls do no harm."""
        raise NotImplementedError

    def deadline(self) -> float | None:
        """When `handle_timer` is wanted next."""
        raise NotImplementedError

    def poll(self) -> list[IceOutput]:
        """Outputs since the last call, in order."""
        raise NotImplementedError
