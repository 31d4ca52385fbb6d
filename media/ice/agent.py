"""The ICE agent: finds a path to the peer, keeps it alive, and lets nothing else in (RFC 8445, RFC
8838, RFC 7675).

One component (RTP and RTCP share it), full ICE, trickle in both directions. `Gathering` has our
side's addresses, `Checklist` the pairs of one generation, `Selection` the pair that is in use and
the peer's consent to it; here is what happens between them: checks and their answers, roles,
restart.

The gate: a datagram that is not STUN is handed up only from a place that has proved itself with a
password from the signalling, either by a request of its own or by its answer to ours. That set
(`_open`) is all that the path of a packet of audio touches; nothing that comes from elsewhere
leaves a trace but a count. Payload passes before nomination, since a peer may send its ClientHello
as soon as its own check was answered.

Deviations: triggered checks are not paced (only who knows our password causes them, one per
request); error responses other than 487 are ignored, so that nobody can end a pair; a check of the
peer's next generation is not answered before its description is known; the agent never fails before
its limit (RFC 8863); who offers a restart is the controlling side from then on.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from media.ice import gathering, stun
from media.ice.candidate import Candidate
from media.ice.check import Checks
from media.ice.checklist import Checklist, EarlyCheck, IceCredentials, Pair, PairState
from media.ice.events import IceOutput, Transmit
from media.ice.gathering import Base, Gathering
from media.ice.selection import Selection
from media.ice.server import Server
from media.ice.stun import Address, Kind, Message, Method, StunError

__all__ = ["IceAgent", "IceCounters", "IceCredentials"]

_PACE: Final = 0.02  # RFC 8445 §14.2 wants no less than 5 ms and recommends 50 ms
# A peer may name whom it likes, anew with each restart (RFC 8445 §19.5.1). So many checks go at
# that pace, more than a few restarts take; then only as many each second as become free.
_BRISK: Final = 256
_FREED: Final = 2.0
_RESEND: Final = 0.05  # a triggered check does not repeat one that was sent less than this ago
_RETIRE: Final = 5.0  # the old generation's packets may still be under way after a restart


@dataclass(slots=True)
class IceCounters:
    """What was turned away."""

    candidates: int = 0  # of the peer's: unusable, unreadable or too many
    stray: int = 0  # datagrams from places that had not proved themselves, and answers to nothing
    unauthentic: int = 0  # STUN without the right password


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

    def __init__(
        self,
        *,
        controlling: bool,
        random: Callable[[int], bytes],
        now: float,
        limit: float = 30.0,
    ) -> None:
        self.counters = IceCounters()
        self._random = random
        self._limit = limit
        self._gathering = Gathering(random)
        self._current = Checklist(IceCredentials.make(random), controlling=controlling)
        self._previous: Checklist | None = None
        self._checks = Checks(random, controlling=controlling)
        self._open: set[tuple[int, Address]] = set()
        self._outputs: list[IceOutput] = []
        self._selection = Selection(
            current=self._current,
            checks=self._checks,
            gathering=self._gathering,
            random=random,
            limit=limit,
            emit=self._outputs.append,
        )
        self._check_at: float | None = None
        self._next_slot = now
        self._brisk, self._brisk_at = float(_BRISK), now
        self._retire_at: float | None = None
        self._deadline: float | None = None
        self._deadline_known = False

    @property
    def local(self) -> IceCredentials:
        return self._current.local

    @property
    def controlling(self) -> bool:
        return self._checks.controlling

    @property
    def gathering_complete(self) -> bool:
        return self._gathering.complete

    def add_socket(self, socket: int, address: str, port: int) -> None:
        """A UDP socket of ours, bound to this address: a host candidate. Sockets come before
        servers."""
        self._gathering.add_socket(socket, address, port)
        self._settle(self._next_slot)

    def move(self, gone: Iterable[int], now: float) -> None:
        """The addresses of our machine changed: these sockets are of no use any more. Then add the
        new sockets, and the servers once more. A selected pair that left from a lost address is
        `Disconnected`; pairs of the new ones are checked at once, since the peer lets in whoever
        has its password, and a restart tells it of them."""
        for socket in gone:
            self._gathering.remove_socket(socket)
        self._gathering.begin_anew()
        self._settle(now)

    def add_server(self, server: Server, address: str, now: float) -> None:
        """Ask a STUN or TURN server, resolved to `address`, for more candidates."""
        self._gathering.add_server(server, address, now)
        self._settle(now)

    def local_candidates(self) -> list[Candidate]:
        """All found so far, best first; they stay the same over an ICE restart."""
        return self._gathering.candidates()

    def set_remote(
        self, ufrag: str, pwd: str, now: float, *, controlling: bool | None = None
    ) -> None:
        """The peer's credentials. Others than before mean that it restarted ICE (RFC 8839
        §4.4.1.1.1): unless `restart` came first, our own change too, so read `local` afterwards for
        the answer.

        Deviation: RFC 8445 §6.1.1 keeps the roles over a restart. libwebrtc gives control to who
        offered it; where both then claim one role, the refusal costs up to a second of silence.

        Args:
            controlling: our role if this completes a restart; None keeps what we have.
        """
        remote = IceCredentials(ufrag, pwd)
        current, previous = self._current, self._previous
        if current.remote == remote:
            return
        if current.remote is not None:
            self.restart(now)
            current = self._current
        elif previous is not None and previous.remote == remote:
            return  # an offer that crossed ours, or an answer that does not take up our restart
        current.describe(remote)
        is_restart = self._previous is not None or self._selection.chosen is not None
        if is_restart and controlling not in (None, self.controlling):
            self._take_role(not self.controlling, now)
        for early in current.early:
            if early.ufrag == ufrag:
                self._heard(current, early, now)
        current.early.clear()
        self._release(list(current.pairs.values()), now)
        self._settle(now)

    def add_remote(self, candidate: str, now: float) -> None:
        """A candidate of the peer's, of its newest credentials. Never raises: what is unusable is
        counted."""
        try:
            parsed = Candidate.parse(candidate)
        except ValueError:
            # Browsers end their list with an empty candidate.
            self.counters.candidates += bool(candidate.strip())
            return
        pairs = self._current.add_remote(parsed) if parsed.usable else None
        if pairs is None:
            self.counters.candidates += 1
            return
        self._release(pairs, now)
        self._settle(now)

    def end_of_candidates(self) -> None:
        """The peer has said that no more will follow (RFC 8838 §14). Changes nothing: a check of
        its own may yet open a path, so only the limit ends the search (RFC 8863)."""

    def start_limit(self, now: float) -> None:
        """Both descriptions are exchanged (our answer is out, or the peer's came): `Failed` follows
        if no pair is selected within the `limit`. Not called by the agent, since a call may ring
        long after `set_remote`."""
        if not self._selection.is_current:
            self._selection.limit_at = now + self._limit
            self._deadline_known = False

    def restart(self, now: float) -> None:
        """New credentials of ours for a new offer (RFC 8445 §9); the selected pair carries on until
        one of the new generation is nominated."""
        chosen = self._selection.chosen
        # Of the generations before, the one that carries the call is kept, or else the last one
        # that the peer knows: it may come back, or not take up the restart.
        if self._selection.is_current or (chosen is None and self._current.remote is not None):
            self._previous = self._current
        checklist = Checklist(IceCredentials.make(self._random), controlling=self.controlling)
        for base in self._gathering.bases.values():
            checklist.add_base(base)
        self._begin(checklist, now)

    def roll_back(self, now: float) -> bool:
        """Take back a restart that the peer has not answered (RFC 8829 §4.1.10.2), and go on with
        the generation before; False if there is nothing to take back."""
        previous = self._previous
        if previous is None or self._current.remote is not None:
            return False
        self._previous = None
        self._begin(previous, now)
        return True

    def _begin(self, checklist: Checklist, now: float) -> None:
        """This generation is the newest one from now on."""
        self._current = self._selection.current = checklist
        self._retire_at = None
        self._selection.nominate_at = self._selection.limit_at = None
        self._forget_old()
        self._selection.route()
        self._settle(now)

    def receive(
        self, data: bytes, source: tuple[str, int], socket: int, now: float
    ) -> bytes | None:
        """A datagram. Returns a payload of DTLS, RTP or RTCP (out of its TURN wrapping) if it came
        over a validated path; everything else is dealt with here or dropped, and nothing of it is
        kept."""
        if (socket, source) in self._open and data:
            first = data[0]
            if 19 < first < 64 or 127 < first < 192:  # DTLS, RTP and RTCP (RFC 7983)
                return data
        relay = self._gathering.relay_at(socket, source)
        if relay is None:
            base = self._gathering.bases.get(socket)
            return None if base is None else self._receive(base, data, source, now)
        arrival = self._gathering.receive(relay, data, now)
        if arrival is None:
            self._settle(now)
            return None
        return self._receive(arrival.base, arrival.data, arrival.source, now)

    def send(self, data: bytes, now: float) -> Transmit | None:
        """Wrap for the selected pair, or before that for the best valid one. None when there is
        none: DTLS is then held (a few datagrams) until there is; RTP is not."""
        return self._selection.send(data)

    def stream_opened(self, socket: int, now: float) -> None:
        """The stream of an `OpenStream` is up (with TLS: verified)."""
        self._gathering.stream_opened(socket, now)
        self._settle(now)

    def stream_closed(self, socket: int, now: float) -> None:
        """The stream of an `OpenStream` could not be opened, or ended."""
        self._gathering.stream_closed(socket, now)
        self._settle(now)

    def receive_stream(self, data: bytes, socket: int, now: float) -> list[bytes]:
        """Bytes of a stream, cut anywhere. Returns the payloads in them, by the rule of
        `receive`."""
        payloads = [
            self._receive(arrival.base, arrival.data, arrival.source, now)
            for arrival in self._gathering.receive_stream(data, socket, now)
        ]
        self._settle(now)
        return [payload for payload in payloads if payload is not None]

    def close(self, now: float) -> None:
        """Give relayed addresses back. `poll()` once more for what there is to send; then the agent
        is dead."""
        self._gathering.close(now)
        self._drain(now)
        self._checks.keep(())
        self._open.clear()
        self._selection.clear()
        self._previous = None
        self._current = Checklist(IceCredentials.make(self._random), controlling=self.controlling)
        self._check_at = self._retire_at = None
        self._deadline_known = False

    def handle_timer(self, now: float) -> None:
        """Do what is due; early calls do no harm."""
        self._gathering.handle_timer(now)
        for checklist in self._checklists():
            for pair in list(checklist.pairs.values()):
                if pair.resend_at is not None and pair.resend_at <= now:
                    self._resend(pair, now)
        self._selection.handle_timer(now)
        if self._retire_at is not None and self._retire_at <= now:
            self._retire_at = None
            self._previous = None
            self._forget_old()
        self._settle(now)

    def deadline(self) -> float | None:
        """When `handle_timer` is wanted next."""
        if not self._deadline_known:
            self._deadline = self._earliest()
            self._deadline_known = True
        return self._deadline

    def poll(self) -> list[IceOutput]:
        """Outputs since the last call, in order."""
        outputs = self._outputs.copy()
        self._outputs.clear()
        return outputs

    # --- what comes in

    def _receive(self, base: Base, data: bytes, source: Address, now: float) -> bytes | None:
        """Something that reached a base of ours, by itself or through its relay."""
        if not stun.is_message(data):
            if (base.number, source) in self._open and data:
                first = data[0]
                if 19 < first < 64 or 127 < first < 192:
                    return data
            self.counters.stray += 1
            return None
        try:
            message = Message.parse(data)
        except StunError:
            self.counters.stray += 1
            return None
        if message.method == Method.BINDING:
            if message.kind is Kind.REQUEST:
                self._receive_request(base, message, source, now)
            elif message.kind is not Kind.INDICATION:
                self._receive_response(base, message, source, now)
        return None

    def _receive_request(self, base: Base, message: Message, source: Address, now: float) -> None:
        """A check of the peer's (RFC 8445 §7.3)."""
        ours, _, theirs = (message.get(stun.USERNAME) or "").partition(":")
        checklist = next((each for each in self._checklists() if each.local.ufrag == ours), None)
        if checklist is None or not message.verify(checklist.local_key):
            self.counters.unauthentic += 1
            return
        if checklist.remote is not None and theirs != checklist.remote.ufrag:
            # The peer restarts, and its offer is still on its way. An answer would make browsers
            # believe in a pair of their new and our old credentials, and stay with it for good.
            self.counters.stray += 1
            return
        checks = self._checks
        if message.unknown:
            error = 420, "Unknown Attribute"
            self._outputs.append(checks.refuse(checklist, base, message, source, error=error))
            return
        if checklist is self._current and checks.conflicts(message):
            if checks.prevails(message):
                error = 487, "Role Conflict"
                self._outputs.append(checks.refuse(checklist, base, message, source, error=error))
                return
            self._take_role(not self.controlling, now)
        self._outputs.append(checks.accept(checklist, base, message, source))
        check = EarlyCheck(
            base, source, theirs, message.get(stun.PRIORITY), message.has(stun.USE_CANDIDATE)
        )
        if checklist.remote is None:
            if checklist.wait(check):
                self._open.add((base.number, source))
        else:
            self._heard(checklist, check, now)
        self._settle(now)

    def _heard(self, checklist: Checklist, check: EarlyCheck, now: float) -> None:
        """An authenticated check came: its source is good, and worth a check of ours (RFC 8445
        §7.3.1.4)."""
        pair = checklist.meet(check.base, check.source, check.priority)
        if pair is None:
            return
        pair.heard_at = now
        self._open.add(pair.key)
        if check.nominated and not self.controlling:
            pair.nominated_at = now
        if pair.state is PairState.SUCCEEDED:
            returns = pair.nominated_at is not None and self._selection.is_makeshift
            if (check.nominated or returns) and not self.controlling:
                self._selection.follow(checklist, pair, now)
        elif pair.state is not PairState.IN_PROGRESS:
            self._check(checklist, pair, now)
        elif now - pair.sent_at >= _RESEND:
            self._resend(pair, now)

    def _take_role(self, controlling: bool, now: float) -> None:
        self._checks.controlling = controlling
        self._selection.nominate_at = None
        for checklist in self._checklists():
            checklist.take_role(controlling=controlling)
        self._selection.consider(now)

    def _receive_response(self, base: Base, message: Message, source: Address, now: float) -> None:
        """An answer to a check of ours (RFC 8445 §7.2.5), or of a STUN server."""
        check = self._checks.find(message)
        if check is None:
            if not self._gathering.receive_response(base, message, source, now):
                self.counters.stray += 1
            self._settle(now)
            return
        checklist, pair = check.checklist, check.pair
        if pair.base is not base or pair.address != source:
            self.counters.stray += 1
            return
        if not message.verify(checklist.remote_key):
            self.counters.unauthentic += 1
            return
        if message.kind is Kind.ERROR:
            code, _ = message.get(stun.ERROR_CODE) or (0, "")
            if code == 487:
                self._checks.drop(pair)
                if check.controlling == self.controlling:
                    self._take_role(not self.controlling, now)
                self._check(checklist, pair, now)
                self._settle(now)
            return
        self._confirmed(checklist, pair, now)
        self._settle(now)

    def _confirmed(self, checklist: Checklist, pair: Pair, now: float) -> None:
        """A check of ours was answered: the pair is valid."""
        pair.state = PairState.SUCCEEDED
        pair.confirmed_at = now
        pair.resend_at = None
        self._checks.drop(pair)
        self._open.add(pair.key)
        self._selection.confirmed(checklist, pair, now)

    # --- checks

    def _check(self, checklist: Checklist, pair: Pair, now: float) -> None:
        """Send a check over the pair, and again until it is answered."""
        if checklist.remote is not None:
            self._outputs.append(self._checks.start(checklist, pair, now))

    def _resend(self, pair: Pair, now: float) -> None:
        if not stun.exhausted(pair.sent):
            self._outputs.append(self._checks.again(pair, now))
            return
        pair.resend_at = None
        if not self._selection.is_selected(pair):  # that one is consent's
            pair.state = PairState.FAILED
            self._checks.drop(pair)
            self._selection.consider(now)
            self._selection.route()

    def _pace(self, now: float) -> None:
        """Ordinary checks, best pair first, one per slot (RFC 8445 §6.1.4)."""
        if self._check_at is None or self._check_at > now:
            return
        for checklist in self._checklists():
            pair = checklist.next_waiting() if checklist.remote is not None else None
            if pair is not None:
                self._check(checklist, pair, now)
                self._brisk = min(_BRISK, self._brisk + _FREED * (now - self._brisk_at)) - 1
                self._brisk_at = now
                pace = _PACE if self._brisk >= 1 else 1 / _FREED
                self._check_at = self._next_slot = now + pace
                return
        self._check_at = None

    def _release(self, pairs: list[Pair], now: float) -> None:
        """New pairs may be checked, those through a relay once it lets the peer through."""
        for pair in pairs:
            self._gathering.release(pair.base, pair.remote.address, now)
        if pairs and self._check_at is None:
            self._check_at = self._next_slot

    # --- generations and bases

    def _checklists(self) -> tuple[Checklist, ...]:
        return (self._current,) if self._previous is None else (self._current, self._previous)

    def _forget_old(self) -> None:
        """Drop what belongs to generations that are gone."""
        live = self._checklists()
        self._checks.keep(live)
        self._open = {
            pair.key
            for checklist in live
            for pair in checklist.pairs.values()
            if pair.heard_at is not None or pair.confirmed_at is not None
        }
        self._open |= {(early.base.number, early.source) for early in self._current.early}

    def _lose(self, base: Base, now: float) -> None:
        """A relay is gone, and all pairs through it."""
        for checklist in self._checklists():
            for pair in checklist.forget_base(base):
                self._checks.drop(pair)
                self._selection.lost(pair, now)
        self._forget_old()
        self._selection.consider(now)
        self._selection.route()

    def _drain(self, now: float) -> None:
        for output in self._gathering.poll():
            match output:
                case gathering.BaseFound(base):
                    for checklist in self._checklists():
                        self._release(checklist.add_base(base), now)
                case gathering.BaseLost(base):
                    self._lose(base, now)
                case gathering.Opened():
                    if self._check_at is None:
                        self._check_at = self._next_slot
                case gathering.Barred(base, host):
                    for pair in list(self._current.pairs.values()):
                        if pair.base is base and pair.remote.address == host:
                            pair.state = PairState.FAILED
                case _:
                    self._outputs.append(output)

    def _settle(self, now: float) -> None:
        """The end of every input: carry out what gathering put out, send what may be sent now."""
        self._drain(now)
        self._pace(now)
        self._drain(now)
        if self._previous is not None and self._retire_at is None and self._selection.is_current:
            self._retire_at = now + _RETIRE
        self._deadline_known = False

    def _earliest(self) -> float | None:
        times = [
            self._gathering.deadline(),
            self._check_at if any(each.remote for each in self._checklists()) else None,
            self._selection.deadline(),
            self._retire_at,
        ]
        for checklist in self._checklists():
            times += [pair.resend_at for pair in checklist.pairs.values()]
        return min((at for at in times if at is not None), default=None)
