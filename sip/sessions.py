"""The sessions of one agent: found by their dialog, called when they are due.

A session changes when the peer or a timer moves it, which the agent sees, and when its user calls a
verb, which nobody sees. But whatever comes of a verb goes through the core, which notes the Call-ID
(`Core.touch`). So only touched sessions are looked at again, and a message costs no more because
other calls stand.
"""

from collections import defaultdict
from collections.abc import Iterator

from sip.agenda import Agenda
from sip.core import Core
from sip.session import Session
from sip.transaction import InviteServerTransaction


class Sessions:
    """The sessions that are not finished."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._by_dialog: dict[tuple[str, str], Session] = {}
        self._by_call: defaultdict[str, list[Session]] = defaultdict(list)
        self._by_invite: dict[InviteServerTransaction, Session] = {}
        self._invites: dict[Session, InviteServerTransaction] = {}
        self._closing: set[Session] = set()
        self._agenda: Agenda[Session] = Agenda()

    def __len__(self) -> int:
        self._settle()
        return len(self._by_dialog)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._by_dialog.values()))

    @property
    def closing(self) -> bool:
        """Whether one is over for its user and not yet on the wire."""
        self._settle()
        return bool(self._closing)

    @property
    def deadline(self) -> float | None:
        self._settle()
        return self._agenda.deadline

    def keep(self, session: Session, invite: InviteServerTransaction | None = None) -> None:
        """Take a new one, with the INVITE of the peer that opened it."""
        self._by_dialog[session.call_id, session.local_tag] = session
        self._by_call[session.call_id].append(session)
        if invite is not None:
            self._by_invite[invite] = session
            self._invites[session] = invite
        self._note(session)

    def find(self, call_id: str, local_tag: str | None) -> Session | None:
        """Find one by two of the dialog's three identifiers (§12); the third is the session's."""
        return self._by_dialog.get((call_id, local_tag or ""))

    def opened_by(self, invite: InviteServerTransaction) -> Session | None:
        """Find the one that an INVITE of the peer opened."""
        return self._by_invite.get(invite)

    def handle_timer(self, now: float) -> None:
        self._settle()
        while (session := self._agenda.take_due(now)) is not None:
            session.handle_timer(now)
            self._note(session)

    def _settle(self) -> None:
        """Look again at what was touched."""
        for call_id in self._core.take_touched():
            for session in tuple(self._by_call.get(call_id, ())):
                self._note(session)

    def _note(self, session: Session) -> None:
        if session.finished:
            self._forget(session)
            return
        self._agenda.set(session, session.deadline)
        if session.ended:
            self._closing.add(session)

    def _forget(self, session: Session) -> None:
        del self._by_dialog[session.call_id, session.local_tag]
        of_call = self._by_call[session.call_id]
        of_call.remove(session)
        if not of_call:
            del self._by_call[session.call_id]
        invite = self._invites.pop(session, None)
        if invite is not None:
            del self._by_invite[invite]
        self._closing.discard(session)
        self._agenda.set(session, None)
