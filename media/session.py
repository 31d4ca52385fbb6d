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
from dataclasses import replace

from media.attendant import Captured
from media.ground import Ground
from media.ice.events import CloseStream, OpenStream, Transmit
from media.ice.server import Server
from media.junction import Junction, earliest
from media.negotiate import NegotiationError, WebrtcRemote
from media.order import Accept, Order
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
    Unencrypted,
)
from media.recovery import Recovery
from media.sdes import SdesEnd
from media.sdes_terms import SdesSettled, SdesTerms
from media.sdp import Direction
from media.webrtc import Down, EndOutput, LocalSocket, PathFound, PathLost, Up, WebrtcEnd
from media.webrtc_terms import WebrtcSettled, WebrtcTerms

GATHERING_LIMIT = 1.0  # seconds that a description for the browser waits for STUN and TURN
_WATCH_INTERVAL = 0.5
_CANDIDATES_BEFORE_OFFER = 64
# Python 3.11 runs Python of its own for each `Side.SDES`, which is too much for each packet.
_WEBRTC, _SDES = Side.WEBRTC, Side.SDES

Output = Transmit | OpenStream | CloseStream | Captured | MediaEvent


class Session:
    """See the module's head. The driver empties `poll` and reads `deadline` after every call,
    or, to save time, `next_tick` and, where `receive` says so, `chores`.

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
        self._junction = Junction(
            random=random,
            wall_offset=ground.wall_offset,
            digits_in_media=settings.digits_in_media,
            thin_link=settings.thin_link,
            sounds=ground.sounds,
        )
        self._sdes_terms = SdesTerms(
            codecs=settings.codecs,
            encryption=settings.encryption,
            suites=settings.suites,
            address=ground.address,
            port=ground.rtp.port,
            random=random,
        )
        self._webrtc_terms = WebrtcTerms(
            ssrc=self._junction.ssrc(Side.WEBRTC), random=random, thin_link=settings.thin_link
        )
        self._unheard = set(Side)
        self._trunk_sockets = (ground.rtp.number, ground.rtcp.number)
        self._sdes = SdesEnd(rtp=ground.rtp, rtcp=ground.rtcp)
        self._webrtc: WebrtcEnd | None = None
        self._recovery = Recovery(insists=False, limit=settings.silence_timeout)
        self._servers: list[tuple[Server, str]] = []
        self._servers_follow = servers_follow
        self._early_candidates: list[str] = []
        # What goes on once candidates are gathered.
        self._awaiting: Callable[[WebrtcEnd, float], None] | None = None
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
            if side is Side.SDES or self._recovery.meet(sdp, now):
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
            if side is Side.SDES and self._sdes_terms.is_offered:
                self._answer_from_sdes(sdp, now)
            elif side is Side.WEBRTC and self._webrtc_terms.is_offered:
                self._answer_from_webrtc(sdp, now)
            elif side is Side.WEBRTC and self._webrtc is not None and self._recovery.is_open:
                self._re_answer_from_webrtc(self._webrtc, sdp, now)
            elif self._junction.agreed(side) is None:
                self._fail(Failure.BAD_SDP, "An answer without an offer.")
        except NegotiationError as error:
            self._fail(error.failure, error.text)

    def add_candidates(self, side: Side, candidates: Sequence[IceCandidate], now: float) -> None:
        """Trickled candidates; those that overtake their description are kept for it."""
        if side is not Side.WEBRTC or self._is_over:
            return
        texts = [c.candidate for c in candidates]
        if self._webrtc is None or self._webrtc_terms.remote is None:
            room = _CANDIDATES_BEFORE_OFFER - len(self._early_candidates)
            self._early_candidates.extend(texts[: max(0, room)])
            return
        self._webrtc.add_candidates(texts, now)
        self._collect(now)

    def add_servers(self, servers: Sequence[tuple[Server, str]], now: float) -> None:
        """STUN and TURN servers with their resolved addresses; no more will follow."""
        self._servers_follow = False
        self._servers.extend(servers)
        if self._webrtc is None:
            return
        for server, address in servers:
            self._webrtc.add_server(server, address, now)
        self._collect(now)

    def move(self, sockets: Sequence[LocalSocket], address: str, now: float) -> None:
        """The machine's addresses changed. The browser is found from the new ones, and offered an
        ICE restart if its path left from one that is gone; the trunk is offered the new `address`.

        Args:
            sockets: all toward the browser, old ones under their numbers.
        """
        known, end = self._ground.webrtc, self._webrtc
        if self._is_over:
            return
        self._ground = replace(self._ground, webrtc=tuple(sockets), address=address)
        if end is not None and set(known) != set(sockets):
            self._gather_until = now + GATHERING_LIMIT
            end.move(sockets, known, now)
            for server, resolved in self._servers:
                end.add_server(server, resolved, now)
        if self._sdes_terms.move(address) and self._junction.agreed(Side.SDES) is not None:
            self._emit_sdes_offer()
        self._collect(now)

    def perform(self, order: Order, now: float) -> None:
        """Do something beside carrying the call."""
        if self._is_over:
            return
        if isinstance(order, Accept):
            self._accept(order.side, now)
        else:
            self._junction.perform(order, now)
        self._collect_audio(now)

    def _accept(self, side: Side, now: float) -> None:
        if self._junction.agreed(side) is not None:
            return
        if side is Side.SDES and self._sdes_terms.remote is not None:
            self._emit_sdes_answer(now)
        elif side is Side.WEBRTC and self._webrtc_terms.remote is not None:
            self._once_gathered(self._emit_webrtc_answer, now)

    def close(self, now: float) -> None:
        """Say goodbye on the wire; `Closed` is the last event."""
        self._junction.goodbye(now)
        self._outputs.extend(o for o in self._junction.poll() if not isinstance(o, Flowing))
        report = self._report()
        if self._webrtc is not None:
            self._webrtc.close(now)
            self._outputs.extend(
                o for o in self._webrtc.poll() if isinstance(o, Transmit | CloseStream)
            )
        self._sdes.close()
        self._end()
        self._outputs.append(Closed(report))

    # --- the first exchange

    def _offer_from_webrtc(self, sdp: str, now: float) -> None:
        remote = self._webrtc_terms.take_offer(sdp)
        end = self._open_webrtc(controlling=False, now=now)
        self._describe(end, remote, now)
        self._emit_sdes_offer()
        self._collect(now)

    def _emit_sdes_offer(self) -> None:
        text = self._sdes_terms.offer(self._junction.agreed(Side.SDES))
        self._outputs.append(OfferReady(Side.SDES, text))

    def _offer_from_sdes(self, sdp: str, now: float) -> None:
        self._sdes_terms.take_offer(sdp)
        self._open_webrtc(controlling=True, now=now)
        self._once_gathered(self._emit_webrtc_offer, now)

    def _emit_webrtc_offer(self, end: WebrtcEnd, now: float) -> None:
        likely = self._sdes_terms.likely
        text = self._webrtc_terms.offer(end, complete=self._is_complete(end), trunk=likely)
        self._outputs.append(OfferReady(Side.WEBRTC, text))

    def _answer_from_sdes(self, sdp: str, now: float) -> None:
        self._settle_sdes(self._sdes_terms.answered(sdp), now)
        if self._sdes_terms.is_outdated:
            self._emit_sdes_offer()
        # Else the browser was answered by an early answer, perhaps of another phone, or answered.
        if self._junction.agreed(Side.WEBRTC) is None:
            self._once_gathered(self._emit_webrtc_answer, now)

    def _emit_webrtc_answer(self, end: WebrtcEnd, now: float) -> None:
        trunk = self._junction.agreed(Side.SDES)
        settled = self._webrtc_terms.answer(end, trunk, complete=self._is_complete(end))
        text, sends = self._webrtc_terms.text, settled.direction.sends
        self._outputs.append(AnswerReady(Side.WEBRTC, text, sends))
        self._settle_webrtc(end, settled, now)

    def _answer_from_webrtc(self, sdp: str, now: float) -> None:
        settled, end = self._webrtc_terms.answered(sdp), self._webrtc
        assert end is not None, "our offer describes it"
        if self._sdes_terms.remote is None:
            self._emit_sdes_offer()  # the trunk asked for it; the browser connects meanwhile
        elif self._junction.agreed(Side.SDES) is None:
            self._emit_sdes_answer(now)
        self._describe(end, settled.remote, now)
        self._settle_webrtc(end, settled, now)

    def _emit_sdes_answer(self, now: float) -> None:
        text, trunk = self._sdes_terms.answer()
        self._outputs.append(AnswerReady(Side.SDES, text, trunk.direction.sends))
        self._settle_sdes(trunk, now)

    # --- parts of an exchange

    def _open_webrtc(self, *, controlling: bool, now: float) -> WebrtcEnd:
        self._gather_until = now + GATHERING_LIMIT
        self._recovery = Recovery(insists=controlling, limit=self._settings.silence_timeout)
        end = self._webrtc = WebrtcEnd(
            certificate=self._ground.certificate,
            controlling=controlling,
            sockets=self._ground.webrtc,
            advertise=self._ground.advertise,
            limit=self._settings.connect_timeout,
            random=self._random,
            now=now,
        )
        for server, address in self._servers:
            end.add_server(server, address, now)
        return end

    def _is_complete(self, end: WebrtcEnd) -> bool:
        """Whether all of our candidates are known."""
        return end.gathered and not self._servers_follow

    def _describe(self, end: WebrtcEnd, remote: WebrtcRemote, now: float, **role: bool) -> None:
        """Tell the end of the browser's description, and of what overtook it."""
        last = ("",) if remote.complete else ()
        candidates = (*remote.candidates, *last, *self._early_candidates)
        self._early_candidates.clear()
        end.set_remote(remote.ufrag, remote.pwd, candidates, now, **role)

    def _settle_webrtc(self, end: WebrtcEnd, settled: WebrtcSettled, now: float) -> None:
        """Both descriptions of the WEBRTC side are out: let it connect."""
        fingerprints = settled.remote.fingerprints
        end.begin(client=self._webrtc_terms.is_client, fingerprints=fingerprints, now=now)
        if not end.is_up:
            self._connect_until = now + self._settings.connect_timeout
        self._junction.agree(Side.WEBRTC, end, settled.agreed, settled.direction, now)
        self._watch_at = self._watch_at or now + _WATCH_INTERVAL
        self._collect(now)

    def _settle_sdes(self, settled: SdesSettled, now: float) -> None:
        remote = settled.remote
        if settled.keys is not None:
            self._sdes.set_keys(*settled.keys)
        else:
            if not self._sdes.was_clear:
                self._outputs.append(Unencrypted(Side.SDES))
            self._sdes.set_clear()
        self._sdes.set_remote(remote.address, remote.port, remote.rtcp)
        self._junction.agree(Side.SDES, self._sdes, settled.agreed, settled.direction, now)
        self._watch_at = self._watch_at or now + _WATCH_INTERVAL

    def _once_gathered(self, then: Callable[[WebrtcEnd, float], None], now: float) -> None:
        self._awaiting = then
        self._collect(now)

    def _go_on_if_gathered(self, end: WebrtcEnd, now: float) -> None:
        then = self._awaiting
        if then is None:
            return
        if self._is_complete(end) or (self._gather_until is not None and now >= self._gather_until):
            self._awaiting = None
            try:
                then(end, now)
            except NegotiationError as error:
                self._fail(error.failure, error.text)

    # --- re-offers

    def _re_offer(self, side: Side, sdp: str, now: float) -> None:
        try:
            if side is Side.SDES:
                text, direction = self._re_offer_from_sdes(sdp, now)
            else:
                text, direction = self._re_offer_from_webrtc(sdp, now)
        except NegotiationError as error:
            self._outputs.append(Refused(side, error.failure, error.text))
            return
        self._outputs.append(AnswerReady(side, text, direction.sends))
        self._collect(now)

    def _re_offer_from_sdes(self, sdp: str, now: float) -> tuple[str, Direction]:
        text, settled = self._sdes_terms.re_offered(sdp, self._junction.agreed(Side.SDES))
        self._settle_sdes(settled, now)
        return text, settled.direction

    def _re_offer_from_webrtc(self, sdp: str, now: float) -> tuple[str, Direction]:
        terms, end = self._webrtc_terms, self._webrtc
        is_restart = terms.is_restart(sdp)
        remote = terms.read_re_offer(sdp, end)
        assert end is not None, "a side that agreed has an end"
        if self._recovery.is_open and not is_restart:
            end.roll_back(now)  # else our new credentials serve for the answer
        if is_restart or self._recovery.is_open:
            self._recovery.settled(now)
        self._describe(end, remote, now, controlling=False)
        trunk = self._junction.agreed(Side.SDES)
        settled = terms.answer(end, trunk, complete=self._is_complete(end))
        self._settle_webrtc(end, settled, now)
        return terms.text, settled.direction

    # --- a path that was lost

    def _recover(self, end: WebrtcEnd, now: float) -> None:
        """Offer a restart, or take the browser's offer instead, or give up, if it is time to."""
        recovery = self._recovery
        if (theirs := recovery.yields(now)) is not None:
            self._re_offer(Side.WEBRTC, theirs, now)
        if recovery.is_over(now):
            text = "The network path to the Matrix client was lost."
            self._fail(Failure.NO_CONNECTIVITY, text)
        elif recovery.offers(now) and self._junction.agreed(Side.WEBRTC) is not None:
            self._once_gathered(self._emit_restart, now)

    def _emit_restart(self, end: WebrtcEnd, now: float) -> None:
        current = self._junction.agreed(Side.WEBRTC)
        if current is None or not self._recovery.is_lost or self._recovery.is_open:
            return  # that changed while servers were asked
        end.restart(now)
        text = self._webrtc_terms.re_offer(end, current, complete=self._is_complete(end))
        self._recovery.offered(now)
        self._outputs.append(OfferReady(Side.WEBRTC, text))
        self._collect(now)

    def _re_answer_from_webrtc(self, end: WebrtcEnd, sdp: str, now: float) -> None:
        """The browser's answer to our restart; one that is of no use leaves things as they were."""
        self._recovery.settled(now)
        try:
            is_taken_up = self._webrtc_terms.is_restart(sdp)
            settled = self._webrtc_terms.re_answered(sdp, end)
        except NegotiationError as error:
            end.roll_back(now)
            self._refuse(Side.WEBRTC, error.text)
            return
        if not is_taken_up:
            end.roll_back(now)
        self._describe(end, settled.remote, now, controlling=True)
        self._settle_webrtc(end, settled, now)

    # --- packets

    def receive(self, data: bytes, source: tuple[str, int], socket: int, now: float) -> bool | None:
        """A datagram that came in on one of our sockets. Returns which times are to be read again:
        with True `chores` and `next_tick`, with False `next_tick` alone, with None neither. Audio
        is nearly all that comes: it moves `next_tick` at most, and nothing if it passes through."""
        if self._is_over:
            return None
        if socket in self._trunk_sockets:
            plain = self._sdes.receive(data, source, socket)
            return None if plain is None else self._take(_SDES, plain, now)
        if self._webrtc is None:
            return None
        plain = self._webrtc.receive(data, source, socket, now)
        if plain is not None:
            return self._take(_WEBRTC, plain, now)
        self._collect(now)
        return True

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

    def _take(self, side: Side, plain: bytes, now: float) -> bool | None:
        junction = self._junction
        changed = junction.take(side, plain, now)
        if self._unheard:
            self._collect_audio(now)
        else:
            self._outputs += junction.poll()
        return changed

    # --- time

    @property
    def next_tick(self) -> float | None:
        """When `tick` is wanted next."""
        return None if self._is_over else self._junction.next_tick

    def tick(self, now: float) -> None:
        """Play out what is due."""
        if not self._is_over:
            self._junction.tick(now)
            self._collect_audio(now)

    def handle_timer(self, now: float) -> None:
        """Do what is due: play out, report, connect or give up, notice silence."""
        if self._is_over:
            return
        self._junction.tick(now)
        self._junction.handle_timer(now)
        self._collect_audio(now)
        if self._webrtc is not None:
            due = self._webrtc.deadline()
            if due is not None and now >= due:
                self._webrtc.handle_timer(now)
            self._collect(now)
            due = self._recovery.deadline()
            if due is not None and now >= due:
                self._recover(self._webrtc, now)
        if self._connect_until is not None and now >= self._connect_until:
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
        self._outputs += self._junction.look(now)
        silent = self._junction.silent_side(self._settings.silence_timeout, now)
        if silent is Side.WEBRTC and self._recovery.is_lost:
            return  # it has its time to find another path
        if silent is not None:
            who = "the phone" if silent is Side.SDES else "the Matrix client"
            self._fail(Failure.SILENCE, f"Nothing is heard from {who} any more.")

    def deadline(self) -> float | None:
        """When `handle_timer` is wanted next."""
        return earliest(self.next_tick, self.chores())

    def chores(self) -> float | None:
        """When `handle_timer` is wanted next for anything but ticks."""
        if self._is_over:
            return None
        gather_until = self._gather_until if self._awaiting is not None else None
        webrtc = self._webrtc.deadline() if self._webrtc is not None else None
        due = self._junction.deadline(), self._recovery.deadline(), webrtc
        return earliest(*due, gather_until, self._connect_until, self._watch_at)

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
        self._go_on_if_gathered(self._webrtc, now)

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
        elif isinstance(output, PathLost):
            self._recovery.lost(now)
            self._junction.lose_path(Side.WEBRTC)
        elif isinstance(output, PathFound):
            self._recovery.found()
            self._junction.find_path(Side.WEBRTC, now)
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
        instants = self._connected_at, self._flowing_at
        return Report(
            self._junction.report(Side.WEBRTC),
            replace(self._junction.report(Side.SDES), in_clear=self._sdes.was_clear),
            self._junction.is_transcoding,
            *(None if at is None else at - self._opened_at for at in instants),
        )
