"""What a user can tell the bot: one function for each command, all of them in `COMMANDS`.

A command is the first word of a message, with or without a "!" before it. Each function gets the
words behind it and returns what the bot answers.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from bridge import wording
from bridge.config import LineSection
from bridge.matrix.homeserver import MatrixError
from bridge.numbers import NotANumber, PhoneNumber, group_of
from bridge.portal import Portal, Portals
from bridge.routing import Routing
from bridge.texting import Texting
from sip.io.client import TrunkStatus


class TrunkPort(Protocol):
    """What the commands need of `sip.io.client.TrunkClient`."""

    @property
    def status(self) -> TrunkStatus: ...


class Calls(Protocol):
    """What the commands need of `bridge.call.exchange.Exchange`."""

    def withhold_next(self, portal: Portal) -> None: ...

    def transfer(self, user: str, words: str, *, room_id: str) -> str: ...


@dataclass(frozen=True, slots=True)
class Request:
    """One command of one user.

    Attributes:
        words: everything behind the command.
        event_id: of the message, so that a repeat does its work once.
        replies_to: the event that the message answers.
    """

    user: str
    words: str
    room_id: str
    event_id: str
    replies_to: str | None = None


class Commands:
    """Does what users tell the bot.

    Args:
        trunks: by name; may be filled after construction.
        server: our homeserver's name, for links.
    """

    def __init__(
        self,
        *,
        routing: Routing,
        portals: Portals,
        texting: Texting,
        calls: Calls,
        trunks: Mapping[str, TrunkPort],
        server: str,
    ) -> None:
        self._routing = routing
        self._portals = portals
        self._texting = texting
        self._calls = calls
        self._trunks = trunks
        self._server = server

    async def run(
        self, user: str, text: str, *, room_id: str, event_id: str, replies_to: str | None = None
    ) -> str | None:
        """Do one command of somebody who has a line.

        Returns:
            The answer; None if nothing is to be said.
        """
        word, _, words = text.strip().removeprefix("!").partition(" ")
        command = COMMANDS.get(word.lower())
        if command is None:
            return f"I do not know “{word[:32]}”. Say “help” for what I can do."
        request = Request(user, words.strip(), room_id, event_id, replies_to)
        try:
            return await command.run(self, request)
        except NotANumber as error:
            return f"That cannot be dialled: {error}."
        except MatrixError as error:
            return f"The homeserver did not let me: {error}"

    async def help(self, request: Request) -> str | None:
        return "\n".join(f"{usage}: {command.what}" for usage, command in _usages())

    async def call(self, request: Request) -> str | None:
        line, number, refusal = self._read(request, *self._named_line(request))
        if refusal is not None:
            return refusal
        portal = await self._portals.open(line, number, request.user)
        return f"To call {number.show()}, press the voice call button in {self._link(portal)}"

    async def anonymous(self, request: Request) -> str | None:
        line, number, refusal = self._read(request, *self._named_line(request))
        if refusal is not None:
            return refusal
        portal = await self._portals.open(line, number, request.user)
        self._calls.withhold_next(portal)
        return (
            f"Your next call to {number.show()} will not show your number, if you make it within "
            f"five minutes: press the voice call button in {self._link(portal)}"
        )

    async def transfer(self, request: Request) -> str | None:
        return self._calls.transfer(request.user, request.words, room_id=request.room_id)

    async def text(self, request: Request) -> str | None:
        named, words = self._named_line(request)
        to, _, body = words.partition(" ")
        if not body.strip():
            return "Say: text NUMBER MESSAGE (the number without spaces)."
        numbers, lines = [], []
        for one in to.split(","):
            line, number, refusal = self._read(request, named, one, by_text=True)
            if refusal is not None:
                return refusal
            numbers.append(number)
            lines.append(line)
        await self._texting.submit(
            lines[0].name,
            group_of(numbers),
            body.strip(),
            event_id=request.event_id,
            room_id=request.room_id,
            user=request.user,
        )
        return None

    async def retry(self, request: Request) -> str | None:
        return await self._texting.retry(
            request.room_id, request.replies_to, request.user, asked_by=request.event_id
        )

    async def more(self, request: Request) -> str | None:
        return await self._texting.more(request.room_id)

    async def status(self, request: Request) -> str | None:
        told = []
        for line in self._routing.lines_of(request.user):
            status = self._trunks[line.trunk].status
            number = f", {PhoneNumber(line.number).show()}" if line.number else ""
            state = "up" if status.up else "down"
            clear = wording.CLEAR.get(self._routing.trunks[line.trunk].insecure_rtp, "")
            told.append(f"{line.name}{number}: {state} ({status.text}){clear}")
        return "\n".join(told)

    def _link(self, portal: Portal) -> str:
        return f"https://matrix.to/#/{portal.room_id}?via={self._server}"

    def _named_line(self, request: Request) -> tuple[LineSection | None, str]:
        """The line of the user's that the first word names, and what follows; None and everything
        where it names none."""
        first, _, rest = request.words.partition(" ")
        for line in self._routing.lines_of(request.user):
            if line.name == first and rest.strip():
                return line, rest.strip()
        return None, request.words

    def _read(
        self, request: Request, named: LineSection | None, text: str, *, by_text: bool = False
    ) -> tuple[LineSection, PhoneNumber, str | None]:
        """The line, the number, and why it may not be called or texted."""
        lines = self._routing.lines_of(request.user)
        number = self._routing.read(text, named or lines[0])
        line = named or self._portals.line_between(request.user, number, lines)
        refusal = self._routing.refusal(line, number, request.user, by_text=by_text)
        return line, number, refusal.text if refusal is not None else None


@dataclass(frozen=True, slots=True)
class Command:
    """One row of the table.

    Attributes:
        arguments: how its words are written in the help.
        what: what it does, for the help.
    """

    run: Callable[[Commands, Request], Awaitable[str | None]]
    arguments: str
    what: str


COMMANDS: Mapping[str, Command] = {
    "help": Command(Commands.help, "", "what I can do"),
    "call": Command(
        Commands.call,
        "[LINE] NUMBER",
        "opens the room where you can call a number; on another of your lines if you name it",
    ),
    "anonymous": Command(Commands.anonymous, "NUMBER", "the same, without showing your number"),
    "text": Command(
        Commands.text,
        "[LINE] NUMBER MESSAGE",
        "sends a text message; to a group, with commas between its numbers, where the line can",
    ),
    "retry": Command(
        Commands.retry,
        "",
        "sends a text again that failed: say it as a reply to the text, or “!retry” in the room of "
        "a number; a 🔁 on the text does the same",
    ),
    "more": Command(
        Commands.more,
        "",
        "“!more” in the room of a number says texts that were kept back",
    ),
    "transfer": Command(
        Commands.transfer,
        "[NUMBER]",
        "sends the call that you have to a number, or joins your two calls; “!transfer” in the "
        "room of a call does the same",
    ),
    "lines": Command(Commands.status, "", "your phone lines, and whether they are up"),
    "status": Command(Commands.status, "", "the same"),
}


def _usages() -> list[tuple[str, Command]]:
    return [(f"{word} {command.arguments}".strip(), command) for word, command in COMMANDS.items()]
