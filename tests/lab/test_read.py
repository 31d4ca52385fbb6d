"""Read receipts with a real homeserver: who asks hears that a text was read, and not before."""

import asyncio
import secrets
from urllib.parse import quote

from tests.lab.conftest import User
from tests.lab.peer import Peer
from tests.lab.ringback import Ringback

CPIM = "Content-Type: message/cpim"


async def test_who_asks_is_told_when_a_text_was_read(
    bridge: Ringback, peer: Peer, user: User
) -> None:
    reader = await user("peer")
    seen, since, id = reader.mark, peer.mark, secrets.token_hex(8)
    body = "\r\n".join(
        [
            "From: <sip:+15550177@peer.test>",
            "To: <sip:peer@peer.test>",
            "DateTime: 2026-01-01T00:00:00Z",
            "NS: imdn <urn:ietf:params:imdn>",
            f"imdn.Message-ID: {id}",
            "imdn.Disposition-Notification: display",
            "",
            "Content-Type: text/plain",
            "",
            f"have you read {id}?",
        ]
    )
    sent = peer.request("MESSAGE", CPIM, body=body)
    assert (await sent.response()).status == 200
    text = await reader.notice(None, f"have you read {id}?", since=seen)
    await asyncio.sleep(0.5)  # what comes without being read comes now
    assert not [m for m in peer.received[since:] if m.method == "MESSAGE" and not m.status]

    await reader.request("POST", f"rooms/{quote(text.room)}/receipt/m.read/{quote(text.id)}", {})
    told = await peer.expect("MESSAGE", lambda m: id in m.body, since=since)
    peer.respond(told, "200 OK")
    assert "<displayed/>" in told.body
    assert told["Content-Type"] == "message/cpim"
