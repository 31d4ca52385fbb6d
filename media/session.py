"""One media session: a WEBRTC end and an SDES end joined, sans-IO.

The verbs of the plane come in, with `now`, beside datagrams and time; datagrams and the plane's
events come out of `poll`. Who offers first decides the order of things:

    offer(WEBRTC) → OfferReady(SDES) … answer(SDES) → AnswerReady(WEBRTC)      a call out
    offer(SDES) → OfferReady(WEBRTC) … answer(WEBRTC) → AnswerReady(SDES)      a call in
    ask(SDES) → OfferReady(WEBRTC) … answer(WEBRTC) → OfferReady(SDES) … answer(SDES)
                                                                               one without an offer

A description for the browser waits for the ICE servers' candidates, for a second at most; in a call
out they come while the phone rings. Codecs are chosen when the answering side is known: Opus
towards a browser that has it. What passes between the ends is the junction's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from media import crypto, negotiate
from media.dtls import Certificate
from media.ice.events import CloseStream, OpenStream, Transmit
from media.ice.server import Server
from media.junction import Junction
from media.negotiate import (
    Agreed,
    NegotiationError,
    SdesLocal,
    SdesRemote,
    WebrtcLocal,
    WebrtcRemote,
)
from media.plane import (
    AnswerReady,
    Closed,
    Connected,
    Failed,
    Failure,
    Flowing,
    IceCandidate,
    MediaEvent,
    OfferReady,
    Refused,
    Report,
    SessionSettings,
    Side,
)
from media.sdes import SdesEnd
from media.sdp import Crypto, Direction, Format, SdpError
from media.webrtc import Down, EndOutput, LocalSocket, Up, WebrtcEnd

GATHERING_LIMIT = 1.0  # seconds that a description for the browser waits for STUN and TURN
_WATCH_INTERVAL = 1.0
_CANDIDATES_BEFORE_OFFER = 64

Output = Transmit | OpenStream | CloseStream | MediaEvent


@dataclass(frozen=True, slots=True)
class Ground:
    """Where a session stands: what the driver has bound and made for it.

    Attributes:
        webrtc: one socket for each address of ours.
        rtp, rtcp: the SDES side's ports.
        address: ours in descriptions for the trunk.
        advertise: a public address that stands for the IPv4 ones, behind 1:1 NAT.
        wall_offset: seconds since 1970 less the monotonic clock that `now` comes from.
    """

    webrtc: tuple[LocalSocket, ...]
    rtp: LocalSocket
    rtcp: LocalSocket
    address: str
    certificate: Certificate
    advertise: str | None = None
    wall_offset: float = 0.0


@dataclass(slots=True)
class _Description:
    """Ours for one side, as last sent."""

    session_id: int
    version: int = 1
    text: str = ""


@dataclass(slots=True)
class _Offer:
    """Our open offer to the trunk."""

    cryptos: list[Crypto]
    formats: tuple[Format, ...]


class Session:
    """See the module's head. The driver empties `poll` and reads `deadline` after every call.

    Args:
        random: gives so many random bytes.
        servers_follow: whether `add_servers` will be called; descriptions for the browser wait.
    """

    def __init__(
        self,
        *,
        settings: SessionSettings,
        ground: Ground,
        random: Callable[[int], bytes],
        now: float,
        servers_follow: bool = False,
    ) -> None:
        self._settings = settings
        self._ground = ground
        self._random = random
        self._opened_at = now
        self._junction = Junction(random=random, wall_offset=ground.wall_offset)
        self._ours = {side: _Description(int.from_bytes(random(7))) for side in Side}
        self._unheard = set(Side)
        self._sdes = SdesEnd(rtp=ground.rtp, rtcp=ground.rtcp)
        self._webrtc: WebrtcEnd | None = None
        self._webrtc_remote: WebrtcRemote | None = None
        self._sdes_remote: SdesRemote | None = None
        self._sdes_offer: _Offer | None = None
        self._our_key: Crypto | None = None
        self._role = "active"
        self._servers: list[tuple[Server, str]] = []
        self._servers_follow = servers_follow
        self._early_candidates: list[str] = []
        self._awaiting: Callable[[float], None] | None = None  # what goes on once gathered
        self._gather_until: float | None = None
        self._connect_until: float | None = None
        self._watch_at: float | None = None
        self._connected_at: float | None = None
        self._flowing_at: float | None = None
        self._is_over = False
        self._outputs: list[Output] = []

    # --- verbs

    def offer(self, side: Side, sdp: str, now: float) -> None:
        """An offer of `side`: the first one opens the exchange, later ones change its terms."""
        if self._is_over:
            return
        if self._junction.agreed(side) is not None:
            self._re_offer(side, sdp, now)
            return
        if self._webrtc is not None:
            self._refuse(side, "A second offer before the first was answered.")
            return
        try:
            if side is Side.WEBRTC:
                self._offer_from_webrtc(sdp, now)
            else:
                self._offer_from_sdes(sdp, now)
        except NegotiationError as error:
            self._fail(error.failure, error.text)

    def ask(self, side: Side, now: float) -> None:
        """`side` has no offer and wants ours: a trunk may call so, or speak so in a call."""
        if self._is_over:
            return
        if side is Side.WEBRTC:
            self._refuse(side, "A browser makes its offers itself.")
        elif self._junction.agreed(side) is not None:
            self._emit_sdes_offer()
        elif self._webrtc is not None:
            self._refuse(side, "A second wish for an offer before the first was met.")
        else:
            self._open_webrtc(controlling=True, now=now)
            self._once_gathered(self._emit_webrtc_offer, now)

    def _refuse(self, side: Side, text: str) -> None:
        self._outputs.append(Refused(side, Failure.BAD_SDP, text))

    def answer(self, side: Side, sdp: str, now: float) -> None:
        """The answer of `side` to our offer. A trunk may repeat or change it; a browser may not."""
        if self._is_over:
            return
        try:
            if side is Side.SDES and self._sdes_offer is not None:
                self._answer_from_sdes(self._sdes_offer, sdp, now)
            elif side is Side.WEBRTC and self._is_offered(side):
                self._answer_from_webrtc(sdp, now)
            elif self._junction.agreed(side) is None:
                self._fail(Failure.BAD_SDP, "An answer without an offer.")
        except NegotiationError as error:
            self._fail(error.failure, error.text)

    def _is_offered(self, side: Side) -> bool:
        return bool(self._ours[side].text) and self._junction.agreed(side) is None

    def add_candidates(self, side: Side, candidates: Sequence[IceCandidate], now: float) -> None:
        """Trickled candidates; those that overtake their description are kept for it."""
        if side is not Side.WEBRTC or self._is_over:
            return
        texts = [c.candidate for c in candidates]
        if self._webrtc is None or self._webrtc_remote is None:
            room = _CANDIDATES_BEFORE_OFFER - len(self._early_candidates)
            self._early_candidates.extend(texts[: max(0, room)])
            return
        self._webrtc.add_candidates(texts, now)
        self._collect(now)

    def add_servers(self, servers: Sequence[tuple[Server, str]], now: float) -> None:
        """STUN and TURN servers with their resolved addresses; no more will follow."""
        self._servers_follow = False
        if self._webrtc is None:
            self._servers.extend(servers)
            return
        for server, address in servers:
            self._webrtc.add_server(server, address, now)
        self._collect(now)

    def close(self, now: float) -> None:
        """Say goodbye on the wire; `Closed` is the last event."""
        self._junction.goodbye(now)
        self._outputs.extend(o for o in self._junction.poll() if isinstance(o, Transmit))
        report = self._report()
        if self._webrtc is not None:
            self._webrtc.close(now)
            self._outputs.extend(
                o for o in self._webrtc.poll() if isinstance(o, Transmit | CloseStream)
            )
        self._end()
        self._outputs.append(Closed(report))

    # --- the first exchange

    def _offer_from_webrtc(self, sdp: str, now: float) -> None:
        remote = negotiate.read_webrtc(sdp)
        negotiate.choose_webrtc(remote, "pcmu")  # so that a hopeless call rings nobody
        self._open_webrtc(controlling=False, now=now)
        self._take_webrtc(remote, now)
        self._role = negotiate.webrtc_role(remote)
        self._emit_sdes_offer()
        self._collect(now)

    def _emit_sdes_offer(self) -> None:
        """Offer the trunk what its settings allow, both ways even while it holds us: only who holds
        can end that, and says so in the answer (RFC 6337 §5.3)."""
        cryptos = crypto.offer(self._settings.suites, self._our_key, self._random)
        formats = negotiate.sdes_formats(self._settings.codecs, self._junction.agreed(Side.SDES))
        self._sdes_offer = _Offer(cryptos, formats)
        self._rewrite(
            Side.SDES,
            lambda: negotiate.sdes_offer(self._sdes_local(), cryptos, formats, self._sdes_remote),
        )
        self._outputs.append(OfferReady(Side.SDES, self._ours[Side.SDES].text))

    def _offer_from_sdes(self, sdp: str, now: float) -> None:
        remote = negotiate.read_sdes(sdp)
        self._choose_key(remote)
        negotiate.choose_sdes(remote, self._settings.codecs)
        self._sdes_remote = remote
        self._open_webrtc(controlling=True, now=now)
        self._once_gathered(self._emit_webrtc_offer, now)

    def _emit_webrtc_offer(self, now: float) -> None:
        text = negotiate.webrtc_offer(self._webrtc_local())
        self._ours[Side.WEBRTC].text = text
        self._outputs.append(OfferReady(Side.WEBRTC, text))

    def _answer_from_sdes(self, offer: _Offer, sdp: str, now: float) -> None:
        remote = negotiate.read_sdes(sdp)
        try:
            ours, theirs = crypto.match(offer.cryptos, remote.cryptos)
        except SdpError as error:
            raise NegotiationError(
                Failure.NO_SRTP, f"The trunk's encryption cannot be used: {error}"
            ) from None
        agreed = negotiate.match(offer.formats, remote.formats)
        self._settle_sdes(remote, ours, theirs, agreed, remote.direction.mirrored, now)
        # Else the browser was answered by an early answer, perhaps of another phone, or answered.
        if self._junction.agreed(Side.WEBRTC) is None:
            self._once_gathered(self._emit_webrtc_answer, now)

    def _emit_webrtc_answer(self, now: float) -> None:
        remote, trunk = self._webrtc_remote, self._junction.agreed(Side.SDES)
        if remote is None or trunk is None:
            return
        agreed = negotiate.choose_webrtc(remote, trunk.send.key)
        text, direction = negotiate.webrtc_answer(
            remote, self._webrtc_local(), agreed, setup=self._role
        )
        self._ours[Side.WEBRTC].text = text
        self._outputs.append(AnswerReady(Side.WEBRTC, text, direction.sends))
        self._settle_webrtc(remote, agreed, direction, now)

    def _answer_from_webrtc(self, sdp: str, now: float) -> None:
        remote = negotiate.read_webrtc(sdp)
        if remote.setup == "actpass":
            raise NegotiationError(Failure.BAD_SDP, "The answer leaves the DTLS role open.")
        self._role = negotiate.webrtc_role(remote)
        theirs = negotiate.match(negotiate.WEBRTC_FORMATS, remote.formats)
        if self._sdes_remote is None:
            self._emit_sdes_offer()  # the trunk asked for it; the browser connects meanwhile
        else:
            self._emit_sdes_answer(self._sdes_remote, now)
        self._take_webrtc(remote, now)
        self._settle_webrtc(remote, theirs, remote.direction.mirrored, now)

    def _emit_sdes_answer(self, remote: SdesRemote, now: float) -> None:
        ours, theirs = self._choose_key(remote)
        agreed = negotiate.choose_sdes(remote, self._settings.codecs)
        text, direction = negotiate.sdes_answer(remote, self._sdes_local(), ours, agreed)
        self._ours[Side.SDES].text = text
        self._outputs.append(AnswerReady(Side.SDES, text, direction.sends))
        self._settle_sdes(remote, ours, theirs, agreed, direction, now)

    # --- parts of an exchange

    def _open_webrtc(self, *, controlling: bool, now: float) -> None:
        self._gather_until = now + GATHERING_LIMIT
        self._webrtc = WebrtcEnd(
            certificate=self._ground.certificate,
            controlling=controlling,
            sockets=self._ground.webrtc,
            advertise=self._ground.advertise,
            limit=self._settings.connect_timeout,
            random=self._random,
            now=now,
        )
        for server, address in self._servers:
            self._webrtc.add_server(server, address, now)

    def _take_webrtc(self, remote: WebrtcRemote, now: float) -> None:
        self._webrtc_remote = remote
        if self._webrtc is None:
            return
        end = ("",) if remote.complete else ()
        candidates = (*remote.candidates, *end, *self._early_candidates)
        self._early_candidates.clear()
        self._webrtc.set_remote(remote.ufrag, remote.pwd, candidates, now)

    def _settle_webrtc(
        self, remote: WebrtcRemote, agreed: Agreed, direction: Direction, now: float
    ) -> None:
        """Both descriptions of the WEBRTC side are out: let it connect."""
        end = self._webrtc
        if end is None:
            return
        end.begin(client=self._role == "active", fingerprints=remote.fingerprints, now=now)
        if not end.is_up:
            self._connect_until = now + self._settings.connect_timeout
        self._junction.agree(Side.WEBRTC, end, agreed, direction, now)
        self._watch_at = now + _WATCH_INTERVAL
        self._collect(now)

    def _once_gathered(self, then: Callable[[float], None], now: float) -> None:
        self._awaiting = then
        self._collect(now)

    def _go_on_if_gathered(self, now: float) -> None:
        then = self._awaiting
        if then is None or self._webrtc is None:
            return
        ready = self._webrtc.gathered and not self._servers_follow
        if ready or (self._gather_until is not None and now >= self._gather_until):
            self._awaiting = None
            try:
                then(now)
            except NegotiationError as error:
                self._fail(error.failure, error.text)

    def _choose_key(self, remote: SdesRemote) -> tuple[Crypto, Crypto]:
        """Our line in answer to theirs. Our key stays through re-offers of the same suite, since a
        new one without need would only give the peer a chance to get it wrong."""
        theirs = crypto.choose(remote.cryptos, self._settings.suites)
        if theirs is None:
            raise NegotiationError(
                Failure.NO_SRTP, "The trunk offers no encryption that is allowed for it."
            )
        if self._our_key is not None and self._our_key.suite == theirs.suite:
            self._our_key = Crypto(theirs.tag, theirs.suite, self._our_key.key)
        else:
            self._our_key = crypto.make(theirs.tag, theirs.suite, self._random)
        return self._our_key, theirs

    def _settle_sdes(
        self,
        remote: SdesRemote,
        ours: Crypto,
        theirs: Crypto,
        agreed: Agreed,
        direction: Direction,
        now: float,
    ) -> None:
        self._sdes_remote, self._our_key = remote, ours
        self._sdes.set_keys(ours, theirs)
        self._sdes.set_remote(remote.address, remote.port, remote.rtcp)
        self._junction.agree(Side.SDES, self._sdes, agreed, direction, now)

    def _webrtc_local(self) -> WebrtcLocal:
        ours, end = self._ours[Side.WEBRTC], self._webrtc
        if end is None:
            raise NegotiationError(Failure.ENGINE, "The WEBRTC side is not open.")
        complete = end.gathered and not self._servers_follow
        local = end.credentials
        return WebrtcLocal(
            ours.session_id,
            ours.version,
            local.ufrag,
            local.pwd,
            end.fingerprint,
            end.candidates(),
            complete,
            self._junction.ssrc(Side.WEBRTC),
        )

    def _sdes_local(self) -> SdesLocal:
        ours, ground = self._ours[Side.SDES], self._ground
        return SdesLocal(ours.session_id, ours.version, ground.address, ground.rtp.port)

    # --- re-offers

    def _re_offer(self, side: Side, sdp: str, now: float) -> None:
        try:
            if side is Side.SDES:
                direction = self._re_offer_from_sdes(sdp, now)
            else:
                direction = self._re_offer_from_webrtc(sdp, now)
        except NegotiationError as error:
            self._outputs.append(Refused(side, error.failure, error.text))
            return
        self._outputs.append(AnswerReady(side, self._ours[side].text, direction.sends))
        self._collect(now)

    def _re_offer_from_sdes(self, sdp: str, now: float) -> Direction:
        remote = negotiate.read_sdes(sdp)
        current = self._junction.agreed(Side.SDES)
        agreed = negotiate.choose_sdes(
            remote, self._settings.codecs, current.send if current is not None else None
        )
        ours, theirs = self._choose_key(remote)
        direction = self._rewrite(
            Side.SDES, lambda: negotiate.sdes_answer(remote, self._sdes_local(), ours, agreed)
        )
        self._settle_sdes(remote, ours, theirs, agreed, direction, now)
        return direction

    def _re_offer_from_webrtc(self, sdp: str, now: float) -> Direction:
        remote = negotiate.read_webrtc(sdp)
        trunk = self._junction.agreed(Side.SDES)
        agreed = negotiate.choose_webrtc(remote, trunk.send.key if trunk is not None else "pcmu")
        if self._webrtc is None or not self._webrtc.proves_same(remote.fingerprints):
            raise NegotiationError(Failure.DTLS, "A new certificate needs a new call.")
        self._take_webrtc(remote, now)

        def write() -> tuple[str, Direction]:
            local = self._webrtc_local()
            return negotiate.webrtc_answer(remote, local, agreed, setup=self._role)

        direction = self._rewrite(Side.WEBRTC, write)
        self._settle_webrtc(remote, agreed, direction, now)
        return direction

    def _rewrite(self, side: Side, write: Callable[[], tuple[str, Direction]]) -> Direction:
        """Write a description again; its version counts up if it is a new one (RFC 3264 §8)."""
        ours = self._ours[side]
        text, direction = write()
        if ours.text and text != ours.text:
            ours.version += 1
            text, direction = write()
        ours.text = text
        return direction

    # --- packets

    def receive(self, data: bytes, source: tuple[str, int], socket: int, now: float) -> None:
        """A datagram that came in on one of our sockets."""
        if self._is_over:
            return
        if socket == self._ground.rtp.number or socket == self._ground.rtcp.number:
            plain = self._sdes.receive(data, source, socket)
            if plain is not None:
                self._take(Side.SDES, plain, now)
        elif self._webrtc is not None:
            plain = self._webrtc.receive(data, source, socket, now)
            if plain is not None:
                self._take(Side.WEBRTC, plain, now)
            else:
                self._collect(now)

    def receive_stream(self, data: bytes, socket: int, now: float) -> None:
        """Bytes of a stream to a TURN server that `poll` asked for."""
        if self._webrtc is not None and not self._is_over:
            for plain in self._webrtc.receive_stream(data, socket, now):
                self._take(Side.WEBRTC, plain, now)
            self._collect(now)

    def stream_opened(self, socket: int, now: float) -> None:
        if self._webrtc is not None and not self._is_over:
            self._webrtc.stream_opened(socket, now)
            self._collect(now)

    def stream_closed(self, socket: int, now: float) -> None:
        if self._webrtc is not None and not self._is_over:
            self._webrtc.stream_closed(socket, now)
            self._collect(now)

    def _take(self, side: Side, plain: bytes, now: float) -> None:
        self._junction.take(side, plain, now)
        self._collect_audio(now)

    # --- time

    def handle_timer(self, now: float) -> None:
        """Do what is due: play out, report, connect or give up, notice silence."""
        if self._is_over:
            return
        self._junction.handle_timer(now)
        self._collect_audio(now)
        if self._webrtc is not None:
            due = self._webrtc.deadline()
            if due is not None and now >= due:
                self._webrtc.handle_timer(now)
            self._collect(now)
        if self._connect_until is not None and now >= self._connect_until:
            self._connect_until = None
            self._give_up_connecting()
        if self._watch_at is not None and now >= self._watch_at:
            self._watch_at = now + _WATCH_INTERVAL
            self._watch(now)

    def _give_up_connecting(self) -> None:
        if self._webrtc is not None and self._webrtc.has_path:
            self._fail(Failure.DTLS, "The encryption towards the Matrix client did not come up.")
        else:
            self._fail(Failure.NO_CONNECTIVITY, "No network path to the Matrix client was found.")

    def _watch(self, now: float) -> None:
        silent = self._junction.silent_side(self._settings.silence_timeout, now)
        if silent is not None:
            who = "the phone" if silent is Side.SDES else "the Matrix client"
            self._fail(Failure.SILENCE, f"Nothing is heard from {who} any more.")

    def deadline(self) -> float | None:
        """When `handle_timer` is wanted next."""
        if self._is_over:
            return None
        gather_until = self._gather_until if self._awaiting is not None else None
        times = [self._junction.deadline(), self._connect_until, self._watch_at, gather_until]
        if self._webrtc is not None:
            times.append(self._webrtc.deadline())
        return min((t for t in times if t is not None), default=None)

    # --- what comes out

    def poll(self) -> list[Output]:
        """Outputs since the last call, in order."""
        outputs, self._outputs = self._outputs, []
        return outputs

    def _collect(self, now: float) -> None:
        if self._webrtc is None:
            return
        for output in self._webrtc.poll():
            self._on_webrtc(output, now)
        self._go_on_if_gathered(now)

    def _collect_audio(self, now: float) -> None:
        for output in self._junction.poll():
            if isinstance(output, Flowing):
                self._unheard.discard(output.side)
                if not self._unheard:
                    self._flowing_at = now
            self._outputs.append(output)

    def _on_webrtc(self, output: EndOutput, now: float) -> None:
        if isinstance(output, Up):
            self._connect_until = None
            self._connected_at = now
            self._outputs.append(Connected())
            self._junction.restart_silence(Side.WEBRTC, now)
            self._junction.update_sending()
        elif isinstance(output, Down):
            self._fail(output.failure, output.text)
        else:
            self._outputs.append(output)

    def _fail(self, failure: Failure, text: str) -> None:
        if not self._is_over:
            self._end()
            self._outputs.append(Failed(failure, text))

    def _end(self) -> None:
        self._is_over = True
        self._awaiting = None

    # --- the report

    def _report(self) -> Report:
        return Report(
            self._junction.report(Side.WEBRTC),
            self._junction.report(Side.SDES),
            self._junction.is_transcoding,
            self._since_opened(self._connected_at),
            self._since_opened(self._flowing_at),
        )

    def _since_opened(self, at: float | None) -> float | None:
        return None if at is None else at - self._opened_at
