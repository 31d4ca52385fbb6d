"""The WEBRTC end of a session: ICE, DTLS and SRTP over one set of sockets (RFC 8835), sans-IO.

Datagrams go to the ICE agent first; what it hands back came over a validated path and is told apart
by its first byte (RFC 7983): DTLS goes to the handshake, the rest is opened with the keys that the
handshake gave. Nothing is opened before the fingerprint has matched.

DTLS starts as soon as both descriptions are known, before ICE has a path: the agent holds the first
flight and lets it go with the first pair that works.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from media.dtls import Certificate, DtlsConnected, DtlsFailed, DtlsTransport
from media.ice.agent import IceAgent, IceCredentials
from media.ice.candidate import Candidate, foundation
from media.ice.events import (
    CloseStream,
    Connected,
    Disconnected,
    Failed,
    OpenStream,
    Transmit,
)
from media.ice.server import Server
from media.link import Link, link_of
from media.plane import Failure
from media.rtp import is_rtcp
from media.sdp import Fingerprint
from media.srtp import Srtp

_CANDIDATES_JUDGED = 32


@dataclass(frozen=True, slots=True)
class LocalSocket:
    """A UDP socket that the driver has bound, by the session's number for it."""

    number: int
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Up:
    """The end can send and receive."""


@dataclass(frozen=True, slots=True)
class Down:
    """The end cannot go on."""

    failure: Failure
    text: str


@dataclass(frozen=True, slots=True)
class PathLost:
    """The peer of an end that was up does not answer any more; what is up stays so."""


@dataclass(frozen=True, slots=True)
class PathFound:
    """It answers again, on whatever path."""


EndOutput = Transmit | OpenStream | CloseStream | Up | Down | PathLost | PathFound


class WebrtcEnd:
    """One browser as seen from the engine.

    Args:
        controlling: True when the first offer is ours (RFC 8445 §6.1.1).
        advertise: address to offer beside those of the IPv4 sockets, for a machine behind 1:1 NAT.
        limit: seconds for ICE to find a path once `begin` was called.
    """

    def __init__(
        self,
        *,
        certificate: Certificate,
        controlling: bool,
        sockets: Sequence[LocalSocket],
        advertise: str | None,
        limit: float,
        random: Callable[[int], bytes],
        now: float,
    ) -> None:
        self.srtp: Srtp | None = None
        self.path = ""  # of the selected pair, for the report
        self._certificate = certificate
        self._advertise = advertise
        self._agent = IceAgent(controlling=controlling, random=random, now=now, limit=limit)
        for socket in sockets:
            self._agent.add_socket(socket.number, socket.address, socket.port)
        self._fingerprints: tuple[Fingerprint, ...] = ()
        self._dtls: DtlsTransport | None = None
        self._is_up = False
        self._remote_ufrag = ""
        self._remote_candidates: list[str] = []
        self._is_lost = False
        self._outputs: list[EndOutput] = []

    # --- descriptions

    @property
    def credentials(self) -> IceCredentials:
        return self._agent.local

    @property
    def fingerprint(self) -> str:
        return f"sha-256 {self._certificate.fingerprint}"

    @property
    def strays(self) -> int:
        """Datagrams of strangers."""
        return self._agent.counters.stray + self._agent.counters.unauthentic

    @property
    def gathered(self) -> bool:
        return self._agent.gathering_complete

    @property
    def link(self) -> Link:
        """What the peer's candidates tell of its network."""
        return link_of(self._remote_candidates)

    @property
    def has_path(self) -> bool:
        return bool(self.path)

    @property
    def is_up(self) -> bool:
        return self._is_up

    def candidates(self) -> tuple[str, ...]:
        """For our description, best first."""
        found = self._agent.local_candidates()
        outside = [self._as_seen_outside(c) for c in found if c.type == "host"]
        return tuple(str(c) for c in [*filter(None, outside), *found])

    def _as_seen_outside(self, host: Candidate) -> Candidate | None:
        if self._advertise is None or (":" in host.address) != (":" in self._advertise):
            return None
        if host.address == self._advertise:
            return None
        mark = foundation("host", self._advertise)
        return replace(host, foundation=mark, address=self._advertise)

    def move(
        self, sockets: Sequence[LocalSocket], known: Sequence[LocalSocket], now: float
    ) -> None:
        """The machine has other addresses than it had: `sockets` take the place of those `known`.
        Servers are to be added again."""
        self._agent.move([each.number for each in known if each not in sockets], now)
        for socket in sockets:
            if socket not in known:
                self._agent.add_socket(socket.number, socket.address, socket.port)
        self._work(now)

    def add_server(self, server: Server, address: str, now: float) -> None:
        self._agent.add_server(server, address, now)
        self._work(now)

    def set_remote(
        self,
        ufrag: str,
        pwd: str,
        candidates: Sequence[str],
        now: float,
        *,
        controlling: bool | None = None,
    ) -> None:
        """The peer's description; other credentials than before are an ICE restart.

        Args:
            controlling: our role after a restart; None keeps it.
        """
        if ufrag != self._remote_ufrag:
            self._remote_ufrag = ufrag
            self._remote_candidates.clear()
        self._agent.set_remote(ufrag, pwd, now, controlling=controlling)
        self.add_candidates(candidates, now)

    def add_candidates(self, candidates: Sequence[str], now: float) -> None:
        """Candidates of the peer; an empty one says that no more will come."""
        for candidate in candidates:
            if candidate:
                self._agent.add_remote(candidate, now)
                if len(self._remote_candidates) < _CANDIDATES_JUDGED:
                    self._remote_candidates.append(candidate)
            else:
                self._agent.end_of_candidates()
        self._work(now)

    def restart(self, now: float) -> None:
        """New credentials of ours, for an offer; the peer's answer brings its own."""
        self._agent.restart(now)
        self._work(now)

    def roll_back(self, now: float) -> None:
        """Take back a `restart` that was not answered; nothing happens if it was."""
        self._agent.roll_back(now)
        self._work(now)

    def begin(self, *, client: bool, fingerprints: Sequence[Fingerprint], now: float) -> None:
        """Both descriptions are known: start the handshake, and the time that ICE has."""
        self._agent.start_limit(now)
        if self._dtls is None:
            self._fingerprints = tuple(fingerprints)
            pairs = [(f.algorithm, f.digest.hex(":").upper()) for f in fingerprints]
            self._dtls = DtlsTransport(self._certificate, client=client, fingerprints=pairs)
            self._dtls.start(now)
        self._work(now)

    def proves_same(self, fingerprints: Sequence[Fingerprint]) -> bool:
        """Whether a later description still speaks of the certificate of the handshake."""
        return set(self._fingerprints) == set(fingerprints)

    # --- packets

    def receive(
        self, data: bytes, source: tuple[str, int], socket: int, now: float
    ) -> bytes | None:
        """A datagram; returns an authentic RTP or RTCP packet in clear if it held one."""
        payload = self._agent.receive(data, source, socket, now)
        if payload is None:
            self._work(now)
            return None
        return self._open(payload, now)

    def receive_stream(self, data: bytes, socket: int, now: float) -> list[bytes]:
        """Bytes of a stream to a TURN server; returns what `receive` would, of each payload."""
        payloads = self._agent.receive_stream(data, socket, now)
        self._work(now)
        return [plain for payload in payloads if (plain := self._open(payload, now)) is not None]

    def stream_opened(self, socket: int, now: float) -> None:
        self._agent.stream_opened(socket, now)
        self._work(now)

    def stream_closed(self, socket: int, now: float) -> None:
        self._agent.stream_closed(socket, now)
        self._work(now)

    def send(self, packet: bytes, now: float) -> Transmit | None:
        """An RTP packet of ours, protected; None if it cannot go anywhere now."""
        protected = self.srtp.protect(packet) if self.srtp else None
        return self._agent.send(protected, now) if protected else None

    def send_rtcp(self, packet: bytes, now: float) -> Transmit | None:
        protected = self.srtp.protect_rtcp(packet) if self.srtp else None
        return self._agent.send(protected, now) if protected else None

    def _open(self, payload: bytes, now: float) -> bytes | None:
        if not payload:
            return None
        if 128 <= payload[0] <= 191:
            if self.srtp is None:
                return None
            if is_rtcp(payload):
                return self.srtp.unprotect_rtcp(payload)
            return self.srtp.unprotect(payload)
        if 20 <= payload[0] <= 63 and self._dtls is not None:
            self._dtls.receive(payload, now)
            self._work(now)
        return None

    # --- time, and what comes out

    def handle_timer(self, now: float) -> None:
        self._agent.handle_timer(now)
        if self._dtls is not None:
            self._dtls.handle_timer(now)
        self._work(now)

    def deadline(self) -> float | None:
        ice = self._agent.deadline()
        dtls = self._dtls.deadline() if self._dtls is not None else None
        if ice is None or dtls is None:
            return dtls if ice is None else ice
        return min(ice, dtls)

    def poll(self) -> list[EndOutput]:
        outputs, self._outputs = self._outputs, []
        return outputs

    def close(self, now: float) -> None:
        """Say goodbye on every layer, and forget the keys; `poll` once more for it."""
        if self.srtp is not None:
            self.srtp.close()
        if self._dtls is not None:
            self._dtls.close()
        self._work(now)
        self._agent.close(now)
        self._work(now)

    def _work(self, now: float) -> None:
        """Carry outputs between the layers. DTLS first: its datagrams may make the agent speak."""
        if self._dtls is not None:
            for output in self._dtls.poll():
                self._on_dtls(output, now)
        for event in self._agent.poll():
            if isinstance(event, Transmit | OpenStream | CloseStream):
                self._outputs.append(event)
            elif isinstance(event, Connected):
                self.path = str(event.pair)
                if self._is_lost:
                    self._is_lost = False
                    self._outputs.append(PathFound())
                self._rise()
            elif isinstance(event, Disconnected | Failed) and self._is_up:
                if not self._is_lost:
                    self._is_lost = True
                    self._outputs.append(PathLost())
            elif isinstance(event, Failed):
                self._outputs.append(Down(Failure.NO_CONNECTIVITY, event.text))

    def _on_dtls(self, output: object, now: float) -> None:
        if isinstance(output, bytes):
            transmit = self._agent.send(output, now)
            if transmit is not None:
                self._outputs.append(transmit)
        elif isinstance(output, DtlsConnected):
            self.srtp = Srtp(output.profile, output.local_master, output.remote_master)
            output.wipe()
            self._rise()
        elif isinstance(output, DtlsFailed):
            self._outputs.append(Down(Failure.DTLS, output.text))
        # DtlsClosed: the hang-up that explains it is on its way through signalling.

    def _rise(self) -> None:
        if not self._is_up and self.srtp is not None and self.path:
            self._is_up = True
            self._outputs.append(Up())
