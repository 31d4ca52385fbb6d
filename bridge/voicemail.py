"""Voice messages that wait at the phone system: whether there is news for the users of a line.

A phone system says how many there are at each registration and whenever that changes. The users
hear of it when there are more than before, once.
"""

from bridge import wording
from sip.events import MessagesWaiting


class Voicemail:
    """What each trunk said last."""

    def __init__(self) -> None:
        self._new: dict[str, int] = {}

    def news(self, trunk: str, event: MessagesWaiting) -> str | None:
        """What to tell the users of the trunk's lines; None for nothing."""
        # A mailbox that gives no numbers is one message, as far as anybody can know.
        new = event.new if event.new is not None else int(event.waiting)
        before, self._new[trunk] = self._new.get(trunk, 0), new
        if new <= before:
            return None
        count = None if event.new is None else new
        account = event.account.user if event.account is not None else ""
        return wording.voice_messages(count, trunk, account)
