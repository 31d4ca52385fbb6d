"""Which pair carries packets: nomination, and the peer's consent to go on (RFC 8445 §8, RFC 7675).

As the controlling side we send over the first valid pair, nominate as soon as no better one is
likely, and nominate another when the selected one falls silent. As the controlled side we follow
the peer's nominations.

Deviation: a pair is nominated again after the first nomination, which RFC 8445 leaves to a restart
and browsers do all the time.
"""

from collections.abc import Callable
from typing import Final

from media.ice.check import Checks
from media.ice.checklist import Checklist, Pair, PairState
from media.ice.consent import Consent
from media.ice.events import (
    CandidatePair,
    Connected,
    Disconnected,
    Failed,
    IceOutput,
    Transmit,
    as_transmit,
)
from media.ice.gathering import Gathering
from media.ice.stun import Address

_SETTLE: Final = 0.05  # how long a better pair than a valid one is waited for before nomination
_SETTLE_RELAYED: Final = 0.2  # the same, if all that is valid goes through a relay
_HELD: Final = 8  # datagrams of DTLS that wait for the first valid pair: one flight


class Selection:
    """The selected pair, of whichever generation, and the way that packets take.

    Args:
        current: the newest generation; the agent sets it anew at a restart.
        limit: seconds for a pair to be selected in, once they run.
        emit: takes what the agent shall put out.

    Attributes:
        chosen: the selected pair, with its generation.
        direct: socket and address that packets go to, unless they go by a relay or nowhere.
        nominate_at, limit_at: deadlines; `limit_at` is the agent's to start.
    """

    def __init__(
        self,
        *,
        current: Checklist,
        checks: Checks,
        gathering: Gathering,
        random: Callable[[int], bytes],
        limit: float,
        emit: Callable[[IceOutput], None],
    ) -> None:
        self.current = current
        self.chosen: tuple[Checklist, Pair] | None = None
        self.direct: tuple[int, Address] | None = None
        self.nominate_at: float | None = None
        self.limit_at: float | None = None
        self._checks = checks
        self._gathering = gathering
        self._random = random
        self._limit = limit
        self._emit = emit
        self._consent: Consent | None = None
        self._path: Pair | None = None
        self._held: list[bytes] = []

    @property
    def is_current(self) -> bool:
        """Whether the selected pair is one of the newest generation."""
        return self.chosen is not None and self.chosen[0] is self.current

    @property
    def is_makeshift(self) -> bool:
        """Whether the peer, being in control, never nominated the selected pair."""
        return self.chosen is not None and self.chosen[1].nominated_at is None

    def is_selected(self, pair: Pair) -> bool:
        return self.chosen is not None and self.chosen[1] is pair

    # --- packets

    def send(self, data: bytes) -> Transmit | None:
        """See `IceAgent.send`."""
        if self.direct is not None:
            return as_transmit((*self.direct, data))
        path = self._path
        if path is None:
            # A flight may be repeated before there is a path; once is enough.
            if data and 19 < data[0] < 64 and len(self._held) < _HELD and data not in self._held:
                self._held.append(data)
            return None
        return path.base.transmit(data, path.address)

    def route(self) -> None:
        """Decide where `send` goes, and let go what waited for it."""
        path = self.chosen[1] if self.chosen else self.current.best_valid()
        self._path = path
        self.direct = path.key if path is not None and path.base.relay is None else None
        if path is not None and self._held:
            held, self._held = self._held, []
            for data in held:
                self._emit(path.base.transmit(data, path.address))

    # --- nomination

    def confirmed(self, checklist: Checklist, pair: Pair, now: float) -> None:
        """A check over a pair was answered."""
        consent = self._consent
        if self.chosen is not None and consent is not None:
            if self.chosen[1] is pair:
                if consent.disconnected:
                    self._emit(_connected(pair))
                consent.renewed(now)
                return
            # Another pair works all of a sudden: perhaps because the selected one no longer does.
            consent.hurry(now)
        if self._checks.controlling:
            if self.chosen is None and checklist is not self.current:
                # Our address changed, and the peer has not answered our restart yet.
                self._select(checklist, pair, now)
            self.consider(now)
        elif pair.nominated_at is not None:
            self.follow(checklist, pair, now)
        self.route()

    def consider(self, now: float) -> None:
        """As the controlling side: is there something to nominate (RFC 8445 §8.1.1)?"""
        if not self._checks.controlling:
            return
        best = self.current.best_valid()
        if self.chosen is not None and self.is_current:
            selected = self.chosen[1]
            if self._consent is not None and self._consent.doubtful(now):
                self._rescue(now)
            elif best is not None and selected.relayed and not best.relayed:
                self._select(self.current, best, now)
        elif best is not None:
            # Nobody is kept waiting in silence for a pair that might be better.
            is_cut = self._consent is not None and self._consent.disconnected
            if is_cut or not self.current.better_open(best):
                self._select(self.current, best, now)
                return
            at = now + (_SETTLE_RELAYED if best.relayed else _SETTLE)
            self.nominate_at = at if self.nominate_at is None else min(at, self.nominate_at)

    def follow(self, checklist: Checklist, pair: Pair, now: float) -> None:
        """As the controlled side: the peer nominated a valid pair (RFC 8445 §7.3.1.5, §8.1.1).

        A peer that nominates aggressively names many, of which the best counts (RFC 5245 §8.1.1.2);
        one that moves to a worse pair is followed when the better one has gone silent.
        """
        if self.chosen is not None:
            chosen, selected = self.chosen
            if selected is pair or (chosen is self.current and checklist is not chosen):
                return
            if chosen is checklist and pair.priority < selected.priority:
                if self._consent is not None:
                    self._consent.hurry(now)
                    if self._consent.doubtful(now):
                        self._rescue(now)
                return
        self._select(checklist, pair, now)

    def _select(self, checklist: Checklist, pair: Pair, now: float) -> None:
        stale = pair.confirmed_at is None or now - pair.confirmed_at > 5.0
        self.chosen = checklist, pair
        self._consent = Consent(self._random, now, check_now=stale)
        self._gathering.bind(pair.base, pair.address, now)
        if checklist is self.current:
            self.nominate_at = self.limit_at = None
        if self._checks.controlling:
            self._emit(self._checks.start(checklist, pair, now, nominate=True))
        self._emit(_connected(pair))
        self.route()

    # --- consent

    def keep_consent(self, now: float) -> None:
        """Check the selected pair when it is due, and part with it when it is dead."""
        consent = self._consent
        if consent is None or self.chosen is None:
            return
        if consent.expires_at <= now:
            self._expire(*self.chosen, now)
            return
        if consent.silent(now) and not consent.disconnected:
            consent.disconnected = True
            self._emit(Disconnected())
        if consent.check_at <= now:
            if consent.doubtful(now) and not self._rescue(now):
                self._probe(*self.chosen, now)
            if self._consent is consent:
                self._emit(self._checks.once(*self.chosen))
                consent.checked(now)

    def _rescue(self, now: float) -> bool:
        """The selected pair does not answer: take another that lately did, if there is one.

        As the controlled side, one that the peer nominated or was heard on since. Behind a NAT that
        gives it another port it knows of no new pair, and who nominates once, as RFC 8445 has it,
        will not nominate that; libwebrtc does so with each of its checks.
        """
        if self.chosen is None or self._consent is None:
            return False
        checklist, selected = self.chosen
        since = (self._consent.unanswered_since or now) - 1.0
        nominated_at, heard_at = selected.nominated_at or 0.0, selected.heard_at or 0.0
        controlling = self._checks.controlling
        fresh = [
            pair
            for pair in checklist.pairs.values()
            if pair is not selected
            and pair.state is PairState.SUCCEEDED
            and (pair.confirmed_at or 0.0) >= since
            and (
                controlling
                or (pair.nominated_at or 0.0) > nominated_at
                or (pair.heard_at or 0.0) > heard_at
            )
        ]
        if fresh:
            self._select(checklist, max(fresh, key=lambda pair: pair.priority), now)
        return bool(fresh)

    def _probe(self, checklist: Checklist, selected: Pair, now: float) -> None:
        """Find out which of the other pairs that once worked still do."""
        for pair in list(checklist.pairs.values()):
            if pair.state is PairState.SUCCEEDED and pair is not selected and not pair.resend_at:
                self._emit(self._checks.start(checklist, pair, now))

    def _expire(self, checklist: Checklist, selected: Pair, now: float) -> None:
        """No consent any more: nothing may be sent over what was selected (RFC 7675 §5.1)."""
        for pair in checklist.pairs.values():
            pair.state = PairState.FAILED
            pair.resend_at = None
            self._checks.drop(pair)
        self.chosen = self._consent = None
        self.route()
        if checklist is self.current or self.current.remote is None:
            self._emit(Failed("the peer has stopped answering"))
        elif self.limit_at is None:
            self.limit_at = now + self._limit

    def lost(self, pair: Pair, now: float) -> None:
        """The pair is gone with its relay."""
        if self.is_selected(pair):
            self.chosen = self._consent = None
            self._emit(Disconnected())
            if self.limit_at is None:
                self.limit_at = now + self._limit

    # --- time

    def handle_timer(self, now: float) -> None:
        if self.nominate_at is not None and self.nominate_at <= now:
            self.nominate_at = None
            best = self.current.best_valid()
            if best is not None and self._checks.controlling:
                self._select(self.current, best, now)
        self.keep_consent(now)
        if self.limit_at is not None and self.limit_at <= now:
            self.limit_at = None
            if self.chosen is None:
                self._emit(Failed("no path to the peer was found"))

    def deadline(self) -> float | None:
        times = [self.nominate_at, self.limit_at]
        if self._consent is not None:
            times += [self._consent.check_at, self._consent.expires_at]
        return min((at for at in times if at is not None), default=None)

    def clear(self) -> None:
        """Forget all, for good."""
        self._held.clear()
        self.chosen = self._consent = self._path = self.direct = None
        self.nominate_at = self.limit_at = None


def _connected(pair: Pair) -> Connected:
    return Connected(CandidatePair(pair.base.candidate, pair.remote))
