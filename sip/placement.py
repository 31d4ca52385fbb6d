"""Our INVITE on its way to an answer (RFC 3261 §13.2): the caller's half of a session's beginning.

Until a 2xx there may be several early dialogs, one for each phone that a proxy forked to, each with
its own offer and answer (`sip.change`); the first 2xx makes its dialog the session's, later ones
are acknowledged and ended by BYE. Where an INVITE without an offer was forked, offers of several
phones may be open at once: our user answers them one after the other.
"""

from collections import deque
from collections.abc import Callable, Iterable

from sip.agenda import soonest
from sip.arrival import RING_LIMIT
from sip.change import Changes
from sip.core import Core, Submission, ignore, with_body
from sip.dialog import Dialog
from sip.events import Body
from sip.message import Request, Response
from sip.redirect import Redirects
from sip.reliable import Acks
from sip.timer import SessionTimer
from sip.transaction import PATIENCE, Failure, Outcome, Timers
from sip.uri import NameAddr, Uri

# A forking proxy reaches a handful of phones; each early dialog costs memory.
MAX_EARLY_DIALOGS = 16

# What an early dialog needs of its session: the offer of the peer to be answered, or None for ours.
Offered = Callable[[Changes, Body | None], None]


class Placement:
    """One INVITE of ours, through challenges, forks and redirections.

    Args:
        open_dialog: makes the offer/answer usage of a new dialog, which tells offers to the
            function that it is given.
        progressed: told of each provisional response above 100, with the description that it
            brings for our offer.
        offered: told of an offer of the peer's in an early dialog, one at a time.
        answered: told once, of the first 2xx; the ACK is sent unless the 2xx makes an offer, which
            is then the last argument.
        expired: told that it rang for long enough; `cancel` is expected.
        unanswered: told once, of a refusal or failure.
    """

    def __init__(
        self,
        core: Core,
        *,
        timer: SessionTimer,
        acks: Acks,
        open_dialog: Callable[[Dialog, Offered], Changes],
        progressed: Callable[[Response, Body | None, float], None],
        offered: Callable[[Body | None], None],
        answered: Callable[[Changes, Response, Body | None, float], None],
        expired: Callable[[float], None],
        unanswered: Callable[[Outcome, float], None],
    ) -> None:
        self._core = core
        self._timer = timer
        self._acks = acks
        self._open_dialog = open_dialog
        self._progressed = progressed
        self._offered = offered
        self._answered = answered
        self._expired = expired
        self._unanswered = unanswered
        self._timers = Timers()  # "ring", "give up"
        self._submission: Submission | None = None
        self._redirects: Redirects | None = None
        self._offer: Body | None = None
        self._early: dict[str, Changes] = {}
        self._latest: Changes | None = None  # the early dialog heard of last
        self._asked: deque[tuple[Changes, Body | None]] = deque()  # offers, the first was told
        self._winner: str | None = None  # To tag of the first 2xx
        self._cancelled = False

    @property
    def deadline(self) -> float | None:
        deadlines = [changes.deadline for changes in self._early.values()]
        deadlines.append(self._timers.deadline)
        return soonest(*deadlines)

    @property
    def early(self) -> Changes | None:
        """The early dialog in which our user may say something: whose offer is open, or the one
        heard of last."""
        return self._asked[0][0] if self._asked else self._latest

    def start(
        self,
        target: Uri,
        offer: Body | None,
        *,
        sender: NameAddr,
        call_id: str,
        headers: Iterable[tuple[str, str]],
        now: float,
    ) -> None:
        """Send the INVITE (§13.2.1); without an offer it asks for the peer's."""
        request = self._core.request(
            "INVITE", target, sender=sender, to=NameAddr(target), call_id=call_id, seq=1
        )
        for name, value in (*headers, *self._core.target_headers, *self._timer.offer()):
            request.headers.add(name, value)
        self._offer = offer
        self._timers.arm("ring", now + RING_LIMIT)
        flow = self._core.current
        if self._core.trunk.follow_redirects and flow is not None:
            self._redirects = Redirects(lambda host: self._core.is_own_host(host, flow), target)
        self._submit(with_body(request, offer), now)

    def cancel(self, now: float, *, headers: Iterable[tuple[str, str]]) -> None:
        """Give up the call (§9.1); an answer may still cross."""
        self._cancelled = True
        self._timers.clear()
        # If not even the CANCEL is answered (§9.1), after the INVITE's own patience.
        self._timers.arm("give up", now + 2 * PATIENCE)
        self._asked.clear()
        for changes in self._early.values():
            changes.stop(now)
        if self._submission is not None:
            self._submission.cancel(now, headers=headers)

    def changes_of(self, remote_tag: str) -> Changes | None:
        return self._early.get(remote_tag)

    # --- early dialogs

    def accept(self, body: Body, now: float) -> None:
        """Answer the offer that was told; the next one is told then."""
        if self._asked:
            changes, _ = self._asked.popleft()
            changes.accept(body, now)
            self._tell_next()

    def reject(self, status: int, now: float, *, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Refuse the offer that was told."""
        if self._asked:
            changes, _ = self._asked.popleft()
            changes.reject(status, now, headers=headers)
            self._tell_next()

    def handle_timer(self, now: float) -> None:
        while (name := self._timers.take_due(now)) is not None:
            if name == "ring":
                self._expired(now)
            elif self._submission is not None:
                self._submission.stop(now)  # it counts as cancelled
        for changes in list(self._early.values()):
            changes.handle_timer(now)
        self._forget_answered()

    def flow_closed(self, flow_id: int) -> None:
        for changes in self._early.values():
            changes.flow_closed(flow_id)
        self._forget_answered()

    def _hear_offer(self, changes: Changes, offer: Body | None) -> None:
        if self._winner is not None:
            self._offered(offer)  # there is one dialog now, and nobody to wait for
            return
        self._asked.append((changes, offer))
        if len(self._asked) == 1:
            self._offered(offer)

    def _tell_next(self) -> None:
        if self._asked and not self._cancelled:
            self._offered(self._asked[0][1])

    def _forget_answered(self) -> None:
        """Drop offers that time or a lost flow has settled."""
        first = self._asked[0] if self._asked else None
        self._asked = deque(item for item in self._asked if item[0].asked)
        if self._asked and self._asked[0] is not first:
            self._tell_next()

    def _dialog(self, response: Response) -> Changes:
        """Open an early dialog, or the one of a 2xx that nothing came before (§12.1.2)."""
        assert self._submission is not None, "a response came to it"
        dialog = Dialog.from_response(self._submission.request, response)
        changes = self._open_dialog(dialog, self._hear_offer)
        changes.begin(self._offer)
        return changes

    # --- responses

    def _submit(self, request: Request, now: float) -> None:
        seq = request.headers.cseq.number

        def next_seq() -> int:
            nonlocal seq
            seq += 1
            return seq

        self._submission = Submission(self._core, request, self._receive, next_seq=next_seq)
        self._submission.start(now, flow=self._core.current)

    def _receive(self, outcome: Outcome, now: float) -> None:
        if isinstance(outcome, Failure):
            self._end(outcome, now)
        elif outcome.status < 200:
            self._receive_provisional(outcome, now)
        elif outcome.status < 300:
            self._receive_acceptance(outcome, now)
        elif not self._try_longer_interval(outcome, now) and not self._redirect(outcome, now):
            self._end(outcome, now)

    def _receive_provisional(self, response: Response, now: float) -> None:
        """§13.2.2.1, RFC 3262 §4."""
        if response.status == 100 or self._cancelled:
            return
        tag = response.headers.to.tag
        if tag is None:
            self._progressed(response, None, now)
            return
        changes = self._early.get(tag)
        if changes is None:
            if len(self._early) >= MAX_EARLY_DIALOGS:
                return
            changes = self._early[tag] = self._dialog(response)
        if not changes.admits(response):
            return
        self._latest = changes
        self._progressed(response, changes.early(response), now)
        changes.receive_provisional(response, now)

    def _receive_acceptance(self, response: Response, now: float) -> None:
        """§13.2.2.4, for the first 2xx, its repetitions, and those of other phones."""
        tag = response.headers.to.tag or ""
        if self._acks.repeat(response) or tag == self._winner:
            return  # the ACK of the winner may wait for our user's answer
        assert self._submission is not None, "a response came to it"
        changes = self._early.pop(tag, None) or self._dialog(response)
        changes.dialog.confirm(response)
        if self._winner is not None:
            self._acks.send(changes.dialog, self._submission.request, response)
            bye = self._core.dress(changes.dialog.request("BYE"))
            self._core.submit(bye, ignore, now, next_seq=changes.dialog.next_seq)
            return
        self._winner = tag
        self._timers.clear()
        self._forget(now)
        offer = changes.confirm(self._submission.request, response, now)
        self._answered(changes, response, offer, now)

    def _end(self, outcome: Outcome, now: float) -> None:
        self._timers.clear()
        self._forget(now)
        self._unanswered(outcome, now)

    def _forget(self, now: float) -> None:
        """Give up the early dialogs that did not win (§13.2.2.4)."""
        self._asked.clear()
        early, self._early = self._early, {}
        self._latest = None
        for changes in early.values():
            changes.stop(now)
            changes.close(now)

    # --- other attempts

    def _try_longer_interval(self, response: Response, now: float) -> bool:
        """Repeat the INVITE with the session interval that a 422 asks for (RFC 4028 §7.4)."""
        if response.status != 422 or self._cancelled or not self._timer.too_small(response):
            return False
        assert self._submission is not None, "a response came to it"
        self._again(self._submission.request.uri, self._timer.offer(), now)
        return True

    def _redirect(self, response: Response, now: float) -> bool:
        """Try where a 3xx sends us, and the next place when that refuses (§8.1.3.4)."""
        if self._redirects is None or self._cancelled or response.status >= 600:
            return False
        self._redirects.add(response)
        target = self._redirects.next()
        if target is None:
            return False
        self._again(target, (), now)
        return True

    def _again(self, target: Uri, changed: Iterable[tuple[str, str]], now: float) -> None:
        """Send the INVITE once more: the same call, the next number."""
        assert self._submission is not None, "this is not the first attempt"
        self._forget(now)
        old = self._submission.request
        headers = old.headers.copy()
        for name, value in changed:
            headers.set(name, value)
        headers.set("CSeq", f"{headers.cseq.number + 1} INVITE")
        self._submit(Request("INVITE", target, headers, old.body), now)
