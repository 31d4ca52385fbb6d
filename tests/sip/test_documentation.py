"""What docs/sip.md shows is run, and what it names is there."""

import asyncio
import re
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import sip.agent
import sip.events
import sip.io
import sip.session
import sip.transfer
import sip.trunk
from sip.message import Message, Request, response_to
from sip.trunk import TlsSettings, Trunk
from tests.sip.io.authority import Authority
from tests.sip.io.registrar import Registrar, TlsPeer, a_request, peering
from tests.sip.io.tls_server import server_context

PAGE = (Path(__file__).parents[2] / "docs" / "sip.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SDP = b"v=0\r\n"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def context(authority: Authority) -> ssl.SSLContext:
    return server_context(authority.issue("pbx.example"))


def written_phone() -> Callable[..., Coroutine[Any, Any, None]]:
    """The phone of the page."""
    names: dict[str, Any] = {}
    exec(compile(BLOCKS[0], "docs/sip.md", "exec"), names)
    phone: Callable[..., Coroutine[Any, Any, None]] = names["phone"]
    return phone


def test_the_phone_has_some_thirty_lines() -> None:
    body = BLOCKS[0][BLOCKS[0].index("async def") :]
    code = [line for line in body.splitlines() if line.strip()]
    assert len(code) <= 36


def callee(invite: Request) -> list[Message]:
    answer = response_to(invite, 200, to_tag="peer")
    answer.headers.add("Contact", "<sip:pbx@127.0.0.1:5061;transport=tls>")
    answer.headers.set("Content-Type", "application/sdp")
    return [replace(answer, body=SDP)]


async def end(peer: TlsPeer, *, call_id: str, local: str, remote: str, seq: int) -> None:
    """Hang a call up from the peer's side."""
    bye = a_request("BYE", uri=peer.registrar.bindings[0], call_id=call_id, seq=seq)
    bye.headers.set("From", local)
    bye.headers.set("To", remote)
    peer.send(bye)
    await peer.expect("200")


async def call_out(peer: TlsPeer) -> None:
    """The phone calls as soon as its line is up."""
    ack = await peer.expect("ACK")
    headers = ack.headers
    local, remote = str(headers.to), str(headers.from_)
    await end(peer, call_id=headers.call_id, local=local, remote=remote, seq=1)


async def call_in(peer: TlsPeer) -> None:
    invite = a_request("INVITE", uri=peer.registrar.bindings[0])
    invite.headers.set("Content-Type", "application/sdp")
    peer.send(replace(invite, body=SDP))
    await peer.expect("180")
    answer = await peer.expect("200")
    assert answer.body == SDP
    ack = a_request("ACK", uri=peer.registrar.bindings[0])
    ack.headers.set("To", answer.headers.to)
    peer.send(ack)
    local, remote = str(invite.headers.from_), str(answer.headers.to)
    await end(peer, call_id=invite.headers.call_id, local=local, remote=remote, seq=2)


async def text_in(peer: TlsPeer) -> None:
    message = a_request("MESSAGE", uri=peer.registrar.bindings[0], call_id="text")
    message.headers.set("Content-Type", "text/plain")
    peer.send(replace(message, body=b"hello"))
    await peer.expect("200")


async def test_the_phone_of_the_page_works(
    authority: Authority, context: ssl.SSLContext, capsys: pytest.CaptureFixture[str]
) -> None:
    registrar = Registrar(answers={"INVITE": callee})
    async with asyncio.timeout(10), peering(context, registrar) as peer:
        trunk = Trunk(
            "test",
            "pbx.example",
            "bridge",
            "secret",
            host="127.0.0.1",
            port=peer.port,
            tls=TlsSettings(ca_file=authority.file),
        )
        running = asyncio.create_task(written_phone()(trunk, SDP, "1000"))
        await call_out(peer)
        await call_in(peer)
        await text_in(peer)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    said = capsys.readouterr().out
    assert "they answered" in said
    assert "a call from" in said
    assert said.count("the call is over: 200") == 2
    assert "writes: hello" in said


def named() -> list[str]:
    """What the page's first table has between backticks."""
    table = PAGE[PAGE.index("| you have |") : PAGE.index("`SessionEnded` is said")]
    return re.findall(r"`([A-Za-z_.]+)`", table)


HOMES: dict[str, object] = {
    "agent": sip.agent.UserAgent,
    "session": sip.session.Session,
    "transfers": sip.transfer.Transfers,
    "Trunk": sip.trunk.Trunk,
    "TrunkClient": sip.io.TrunkClient,
}


@pytest.mark.parametrize("name", [name for name in named() if not name.startswith("sip.")])
def test_what_the_page_names_is_there(name: str) -> None:
    owner, dot, member = name.rpartition(".")
    if dot:
        assert hasattr(HOMES[owner], member) or member in HOMES[owner].__annotations__
        return
    verbs = (sip.agent.UserAgent, sip.session.Session, sip.io.TrunkClient)
    assert any(hasattr(place, name) for place in (sip, sip.events, sip.io, *verbs))
