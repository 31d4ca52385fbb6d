"""Edits, 🔁 and redactions of texts as a real homeserver hands them on, by a provider's road."""

import asyncio
import secrets
from urllib.parse import quote

from tests.lab.conftest import User
from tests.lab.lab import SMS, Lab, stranger
from tests.lab.matrix import MatrixUser
from tests.lab.process import eventually
from tests.lab.ringback import Ringback
from tests.standin.standin import Trouble


async def chat(lab: Lab, bridge: Ringback, user: MatrixUser) -> tuple[str, str]:
    """The room of somebody who has just written, and the number."""
    number, body = stranger(), f"hello {secrets.token_hex(4)}"
    seen = user.mark
    assert await lab.provider.deliver(lab.provider.text(body, number, SMS, body))
    return (await user.notice(None, body, since=seen)).room, number


def sent_to(lab: Lab, number: str) -> list[str]:
    """What the provider has for a number."""
    return [taken.body for taken in lab.provider.taken_for(number)]


async def edit(user: MatrixUser, room: str, event: str, body: str) -> None:
    await user.send(
        room,
        "m.room.message",
        {
            "msgtype": "m.text",
            "body": f"* {body}",
            "m.new_content": {"msgtype": "m.text", "body": body},
            "m.relates_to": {"rel_type": "m.replace", "event_id": event},
        },
    )


async def react(user: MatrixUser, room: str, event: str, key: str) -> None:
    relation = {"rel_type": "m.annotation", "event_id": event, "key": key}
    await user.send(room, "m.reaction", {"m.relates_to": relation})


async def redact(user: MatrixUser, room: str, event: str) -> None:
    path = f"rooms/{quote(room)}/redact/{quote(event)}/{secrets.token_hex(6)}"
    await user.request("PUT", path, {})


async def test_a_text_that_waits_leaves_as_it_was_edited(
    lab: Lab, bridge: Ringback, user: User
) -> None:
    dave = await user("dave")
    room, number = await chat(lab, bridge, dave)
    lab.provider.troubles = [Trouble.AWAY, Trouble.AWAY]
    event = await dave.say(room, "see you at sevn")
    await eventually(lambda: len(lab.provider.troubles) < 2, what="the first attempt")
    await edit(dave, room, event, "see you at seven")
    await eventually(lambda: sent_to(lab, number), what="the text at the provider")
    await asyncio.sleep(1)
    assert sent_to(lab, number) == ["see you at seven"]


async def test_an_edit_of_what_was_sent_is_told_once(
    lab: Lab, bridge: Ringback, user: User
) -> None:
    dave = await user("dave")
    room, number = await chat(lab, bridge, dave)
    event = await dave.say(room, "sent is sent")
    await eventually(lambda: sent_to(lab, number), what="the text at the provider")
    seen = dave.mark
    await edit(dave, room, event, "or is it?")
    await dave.notice(room, "changes nothing on the phone", since=seen)
    await edit(dave, room, event, "is it not?")
    await asyncio.sleep(1)
    notices = [e for e in dave.events[seen:] if "changes nothing on the phone" in e.body]
    assert len(notices) == 1
    assert sent_to(lab, number) == ["sent is sent"]


async def test_a_refused_text_is_changed_and_sent_again_when_it_is_asked_for(
    lab: Lab, bridge: Ringback, user: User
) -> None:
    dave = await user("dave")
    room, number = await chat(lab, bridge, dave)
    seen = dave.mark
    lab.provider.troubles = [Trouble.REFUSED]
    event = await dave.say(room, "first try")
    told = await dave.notice(room, "not delivered", since=seen)
    assert told.content["m.relates_to"]["m.in_reply_to"]["event_id"] == event
    await edit(dave, room, event, "second try")
    await dave.notice(room, "changed, but not sent", since=seen)
    assert sent_to(lab, number) == []
    await react(dave, room, told.id, "🔁")  # on the notice about it
    await eventually(lambda: sent_to(lab, number), what="the text at the provider")
    await react(dave, room, event, "🔁")
    await asyncio.sleep(1)
    assert sent_to(lab, number) == ["second try"], "what was sent is not sent again"


async def test_a_text_that_waits_is_taken_back_and_one_that_was_sent_is_not(
    lab: Lab, bridge: Ringback, user: User
) -> None:
    dave = await user("dave")
    room, number = await chat(lab, bridge, dave)
    lab.provider.troubles = [Trouble.AWAY]
    event = await dave.say(room, "never mind")
    await eventually(lambda: not lab.provider.troubles, what="the first attempt")
    await redact(dave, room, event)
    later = await dave.say(room, "but this")
    await eventually(lambda: sent_to(lab, number), what="the text at the provider")
    assert sent_to(lab, number) == ["but this"]
    seen = dave.mark
    await redact(dave, room, later)
    await dave.notice(room, "cannot be taken back", since=seen)
