"""Our INVITE on its way to an answer (RFC 3261 §13.2): the caller's half of a session's beginning.

Until a 2xx there may be several early dialogs, one for each phone that a proxy forked to; the first
2xx makes its dialog the session's, later ones are acknowledged and ended by BYE. Provisional
responses that want it are acknowledged by PRACK (RFC 3262 §4).
"""

from collections.abc import Callable, Iterable

from sip.core import Core, Submission, ignore, with_body
from sip.dialog import Dialog
from sip.events import Body
from sip.headers import RAck
from sip.message import Request, Response, body_of
from sip.reliable import Acks
from sip.timer import SessionTimer
from sip.transaction import Failure, Outcome
from sip.uri import NameAddr, Uri

# A forking proxy reaches a handful of phones; each early dialog costs memory.
MAX_EARLY_DIALOGS = 16


class _Early:
    """An early dialog (§12.1)."""

    def __init__(self, dialog: Dialog) -> None:
        self.dialog = dialog
        self.rseq: int | None = None
        self.body: Body | None = None


class Placement:
    """One INVITE of ours, through challenges and forks.

    Args:
        progressed: told of each provisional response above 100.
        answered: told once, of the first 2xx, with its dialog and the last early body of that
            dialog; the ACK is sent.
        unanswered: told once, of a refusal or failure.
    """

    def __init__(
        self,
        core: Core,
        *,
        timer: SessionTimer,
        acks: Acks,
        progressed: Callable[[Response, float], None],
        answered: Callable[[Dialog, Response, Body | None, float], None],
        unanswered: Callable[[Outcome, float], None],
    ) -> None:
        self._core = core
        self._timer = timer
        self._acks = acks
        self._progressed = progressed
        self._answered = answered
        self._unanswered = unanswered
        self._submission: Submission | None = None
        self._early: dict[str, _Early] = {}
        self._done = False  # the first 2xx came
        self._cancelled = False

    def start(
        self,
        target: Uri,
        offer: Body,
        *,
        sender: NameAddr,
        call_id: str,
        headers: Iterable[tuple[str, str]],
        now: float,
    ) -> None:
        """Send the INVITE (§13.2.1)."""
        request = self._core.request(
            "INVITE", target, sender=sender, to=NameAddr(target), call_id=call_id, seq=1
        )
        for name, value in (*headers, *self._core.target_headers, *self._timer.offer()):
            request.headers.add(name, value)
        self._submit(with_body(request, offer), now)

    def cancel(self, now: float, *, headers: Iterable[tuple[str, str]]) -> None:
        """Give up the call (§9.1); an answer may still cross."""
        self._cancelled = True
        if self._submission is not None:
            self._submission.cancel(now, headers=headers)

    def stop(self, now: float) -> None:
        """Wait no longer for the end of what was cancelled (§9.1)."""
        if self._submission is not None:
            self._submission.stop(now)

    def dialog_of(self, remote_tag: str) -> Dialog | None:
        early = self._early.get(remote_tag)
        return None if early is None else early.dialog

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
            self._unanswered(outcome, now)
        elif outcome.status < 200:
            self._receive_provisional(outcome, now)
        elif outcome.status < 300:
            self._receive_acceptance(outcome, now)
        elif not self._try_longer_interval(outcome, now):
            self._unanswered(outcome, now)

    def _receive_provisional(self, response: Response, now: float) -> None:
        """§13.2.2.1, RFC 3262 §4."""
        if response.status == 100 or self._cancelled:
            return
        tag = response.headers.to.tag
        if tag is not None:
            early = self._early.get(tag)
            if early is None:
                if len(self._early) >= MAX_EARLY_DIALOGS:
                    return
                early = self._early[tag] = _Early(self._dialog_from(response))
            if not self._acknowledge(early, response, now):
                return
            early.body = body_of(response) or early.body
        self._progressed(response, now)

    def _acknowledge(self, early: _Early, response: Response, now: float) -> bool:
        """Send the PRACK if one is due; False if the response is a repetition or out of order."""
        if "100rel" not in response.headers.tokens("Require"):
            return True
        rseq = response.headers.integer("RSeq")
        if rseq is None or (early.rseq is not None and rseq != early.rseq + 1):
            return False
        early.rseq = rseq
        prack = self._core.dress(early.dialog.request("PRACK"))
        prack.headers.add("RAck", RAck(rseq, response.headers.cseq))
        self._core.submit(prack, ignore, now, next_seq=early.dialog.next_seq)
        return True

    def _receive_acceptance(self, response: Response, now: float) -> None:
        """§13.2.2.4, for the first 2xx, its repetitions, and those of other phones."""
        if self._acks.repeat(response):
            return
        assert self._submission is not None, "a response came to it"
        early = self._early.pop(response.headers.to.tag or "", None)
        dialog = self._dialog_from(response) if early is None else early.dialog
        dialog.confirm(response)
        self._acks.send(dialog, self._submission.request, response)
        if self._done:
            bye = self._core.dress(dialog.request("BYE"))
            self._core.submit(bye, ignore, now, next_seq=dialog.next_seq)
            return
        self._done = True
        self._early.clear()
        self._answered(dialog, response, None if early is None else early.body, now)

    def _try_longer_interval(self, response: Response, now: float) -> bool:
        """Repeat the INVITE with the session interval that a 422 asks for (RFC 4028 §7.4)."""
        if response.status != 422 or self._cancelled or not self._timer.too_small(response):
            return False
        assert self._submission is not None, "a response came to it"
        old = self._submission.request
        headers = old.headers.copy()
        for name, value in self._timer.offer():
            headers.set(name, value)
        headers.set("CSeq", f"{headers.cseq.number + 1} INVITE")
        self._submit(Request("INVITE", old.uri, headers, old.body), now)
        return True

    def _dialog_from(self, response: Response) -> Dialog:
        assert self._submission is not None, "a response came to it"
        return Dialog.from_response(self._submission.request, response)
