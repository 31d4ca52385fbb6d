"""Texts by a provider's web hook and interface, with a real homeserver."""

import asyncio
import secrets
import signal

from tests.lab.conftest import User
from tests.lab.lab import SMS, Lab, stranger
from tests.lab.process import eventually
from tests.lab.provider import SECRET
from tests.lab.ringback import Ringback
from tests.standin.standin import Fate, Signer, Trouble

STATUS = "com.beeper.message_send_status"


async def test_a_text_comes_by_hook_and_its_answer_leaves_the_same_way(
    lab: Lab, bridge: Ringback, user: User
) -> None:
    dave = await user("dave")
    seen, sender = dave.mark, stranger()
    body = f"Grüße 👍 {secrets.token_hex(4)}"
    provider = lab.provider
    assert await provider.deliver(provider.text(body, sender, SMS, body))
    text = await dave.notice(None, body, since=seen)
    assert (text.sender, text.body) == (bridge.ghost(sender), body)

    question = await dave.say(text.room, "and how are you?")
    (sent,) = await eventually(
        lambda: provider.taken_for(sender), what="the answer at the provider"
    )
    assert (sent.sender, sent.body) == (SMS, "and how are you?")

    assert await provider.tell(sent, Fate.SENT)
    assert await provider.tell(sent, Fate.DELIVERED)
    shown = await dave.wait(
        STATUS,
        lambda event: bool(event.content.get("delivered_to_users")),
        room=text.room,
        since=seen,
    )
    assert shown.content["m.relates_to"]["event_id"] == question
    assert shown.content["delivered_to_users"] == [bridge.ghost(sender)]


async def test_a_text_that_was_not_delivered_is_told_with_its_reason(
    lab: Lab, bridge: Ringback, user: User
) -> None:
    dave = await user("dave")
    number = stranger()
    room = await dave.direct(bridge.ghost(number))
    seen = dave.mark
    provider = lab.provider
    provider.troubles = [Trouble.AWAY]  # and then it takes it
    await dave.say(room, "hello")
    (sent,) = await eventually(lambda: provider.taken_for(number), what="the text at the provider")
    assert await provider.tell(sent, Fate.LOST)
    await dave.notice(room, "not delivered", "cannot be reached", since=seen)


async def test_a_forged_hook_is_refused(lab: Lab, bridge: Ringback, user: User) -> None:
    dave = await user("dave")
    seen, body = dave.mark, f"forged {secrets.token_hex(4)}"
    provider = lab.provider
    forged = provider.content("1", stranger(), SMS, body)
    status, *_ = await provider.push(
        provider.sign(forged, provider.hook_url, Signer(key="another account's"))
    )
    assert status == 403
    good = f"a good one {secrets.token_hex(4)}"
    assert await provider.deliver(provider.text(good, stranger(), SMS, good))
    await dave.notice(None, good, since=seen)
    assert not [event for event in dave.events[seen:] if event.body == body]


async def test_hooks_are_not_lost_nor_doubled_when_the_bridge_is_killed(
    lab: Lab, bridge: Ringback, user: User
) -> None:
    """A hundred texts of five senders, and three times kill -9 while they come."""
    dave = await user("dave")
    seen = dave.mark
    senders = [stranger() for _ in range(5)]
    run = secrets.token_hex(4)

    async def push(sender: str, numbers: range) -> None:
        for number in numbers:
            body = f"{run} {sender} {number}"
            assert await lab.provider.deliver(lab.provider.text(body, sender, SMS, body))

    async def kill() -> None:
        for _ in range(3):
            await asyncio.sleep(0.3)
            await bridge.process.stop(signal.SIGKILL)
            await bridge.start()

    await asyncio.gather(kill(), *(push(sender, range(20)) for sender in senders))
    wanted = {f"{run} {sender} {number}" for sender in senders for number in range(20)}

    def arrived() -> list[str]:
        return [event.body for event in dave.events[seen:] if event.body.startswith(run)]

    await eventually(lambda: wanted <= set(arrived()), within=120, what="a hundred texts")
    await asyncio.sleep(1)  # what would be a double comes now
    assert sorted(arrived()) == sorted(wanted)
    for sender in senders:
        mine = [body for body in arrived() if sender in body]
        assert mine == [f"{run} {sender} {number}" for number in range(20)]
    await lab.pbx.registered("ringback")
    await lab.peer.registered()


async def test_check_says_what_to_enter_at_the_provider(bridge: Ringback) -> None:
    said = await bridge.run("check", "-c", bridge.config, status=None)
    assert f"/road/twilio/{SECRET}" in said
