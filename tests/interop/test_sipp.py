"""Against SIPp 3.8 (Debian testing), over TLS: what no PBX does when it is asked to."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sip.events import (
    SessionAnswered,
    SessionConfirmed,
    SessionOffered,
    SessionProgressed,
    SessionReanswered,
)
from tests.interop.conftest import Phones
from tests.interop.phone import Phone
from tests.interop.sipp import DESCRIPTION, Scenario, Sipp
from tests.lab.certificate import Authority
from tests.lab.ports import Ports


class Stage:
    """Where a scenario meets our phone."""

    def __init__(self, folder: Path, ports: Ports, authority: Authority, phones: Phones) -> None:
        self._folder = folder
        self._ports = ports
        self._authority = authority
        self._phones = phones

    @contextlib.asynccontextmanager
    async def play(self, scenario: Scenario, *, register: bool = False) -> AsyncIterator[Phone]:
        """Run the scenario; at the end it must have gone to its last line."""
        sipp = Sipp(self._folder, self._ports, self._authority, scenario)
        await sipp.start()
        try:
            ours = await self._phones.own(sipp, "first", register=register)
            if register:
                await ours.registered()
            else:
                await ours.says("connected")
            yield ours
            await sipp.done()
        finally:
            await sipp.stop()


@pytest.fixture
def stage(tmp_path: Path, ports: Ports, authority: Authority, phones: Phones) -> Stage:
    return Stage(tmp_path, ports, authority, phones)


def calls(*headers: str, body: str = DESCRIPTION) -> Scenario:
    """SIPp calls our registered phone, which rings."""
    scenario = Scenario()
    scenario.registers()
    scenario.request("INVITE", *headers, body=body)
    scenario.recv("100")
    return scenario


def answers(*, tag: str = "sipp") -> Scenario:
    """Our phone calls SIPp, which answers."""
    scenario = Scenario()
    scenario.called()
    scenario.reply("200 OK", tag=tag, body=DESCRIPTION)
    scenario.recv("ACK")
    return scenario


def ends(scenario: Scenario) -> Scenario:
    """SIPp hangs up."""
    scenario.request("BYE")
    scenario.recv("200")
    return scenario


# --- calls of ours


async def test_a_fork_answers_twice(stage: Stage) -> None:
    scenario = Scenario()
    scenario.called()
    scenario.reply("180 Ringing", to="invite", tag="left")
    scenario.reply("180 Ringing", to="invite", tag="right")
    scenario.reply("200 OK", to="invite", tag="left", body=DESCRIPTION)
    scenario.recv("ACK", having="tag=left")
    scenario.reply("200 OK", to="invite", tag="right", body=DESCRIPTION)
    scenario.recv("ACK", having="tag=right")
    scenario.recv("BYE", having="tag=right")
    scenario.reply("200 OK")
    scenario.request("BYE", tag="left")
    scenario.recv("200")
    async with stage.play(scenario) as ours:
        session = await ours.call("sipp")
        assert (await ours.ended(session)).by_peer
        assert len(ours.all(SessionAnswered)) == 1


async def test_our_lost_ack_is_repeated(stage: Stage) -> None:
    scenario = answers()
    scenario.reply("200 OK", to="invite", tag="sipp", body=DESCRIPTION)
    scenario.recv("ACK")
    async with stage.play(ends(scenario)) as ours:
        await ours.ended(await ours.call("sipp"))


async def test_an_answer_crosses_our_cancel(stage: Stage) -> None:
    scenario = Scenario()
    scenario.called()
    scenario.reply("180 Ringing", to="invite", tag="sipp")
    scenario.recv("CANCEL")
    scenario.reply("200 OK", tag="sipp")
    scenario.reply("200 OK", to="invite", tag="sipp", body=DESCRIPTION)
    scenario.recv("ACK")
    scenario.recv("BYE")
    scenario.reply("200 OK")
    scenario.pause(300)  # what SIPp says last is lost when it ends at once
    async with stage.play(scenario) as ours:
        session = ours.dial("sipp")
        await ours.expect(SessionProgressed)
        ours.do(session.hang_up)
        assert (await ours.ended(session)).status == 487
        await ours.over()


async def test_reliable_provisional_responses(stage: Stage) -> None:
    scenario = Scenario()
    scenario.called()
    scenario.reply(
        "183 Session Progress",
        "Require: 100rel",
        "RSeq: 7",
        to="invite",
        tag="sipp",
        body=DESCRIPTION,
    )
    scenario.recv("PRACK", having="RAck: 7 [0-9]+ INVITE")
    scenario.reply("200 OK")
    scenario.reply("200 OK", to="invite", tag="sipp")
    scenario.recv("ACK")
    async with stage.play(ends(scenario)) as ours:
        session = ours.dial("sipp")
        assert (await ours.expect(SessionProgressed)).early is not None
        assert (await ours.expect(SessionAnswered)).answer is not None
        await ours.ended(session)


async def test_a_session_timer_that_is_too_small_is_raised(stage: Stage) -> None:
    scenario = Scenario()
    scenario.called()
    scenario.reply("422 Session Interval Too Small", "Min-SE: 3600", tag="first")
    scenario.recv("ACK")
    scenario.recv("INVITE", keep="invite", having="Session-Expires: 3600")
    scenario.reply("200 OK", "Session-Expires: 3600;refresher=uas", tag="sipp", body=DESCRIPTION)
    scenario.recv("ACK")
    async with stage.play(ends(scenario)) as ours:
        await ours.ended(await ours.call("sipp"))


@pytest.mark.parametrize("method", ["UPDATE", "INVITE"])
async def test_we_refresh(stage: Stage, method: str) -> None:
    """By UPDATE where the peer allows it, else by re-INVITE (RFC 4028 §7.4)."""
    allow = "INVITE, ACK, BYE, CANCEL" + (", UPDATE" if method == "UPDATE" else "")
    timer = ("Require: timer", "Session-Expires: 18;refresher=uac")
    scenario = Scenario()
    scenario.called()
    scenario.reply("200 OK", *timer, f"Allow: {allow}", tag="sipp", body=DESCRIPTION)
    scenario.recv("ACK")
    scenario.recv(method, having="Session-Expires: 90;refresher=uac")
    scenario.reply("200 OK", *timer, body=DESCRIPTION if method == "INVITE" else "")
    if method == "INVITE":
        scenario.recv("ACK")
    async with stage.play(ends(scenario)) as ours:
        session = await ours.call("sipp")
        assert (await ours.ended(session)).by_peer
        assert not ours.all(SessionReanswered)


async def test_the_peer_does_not_refresh(stage: Stage) -> None:
    scenario = Scenario()
    scenario.called()
    scenario.reply("200 OK", "Session-Expires: 4;refresher=uas", tag="sipp", body=DESCRIPTION)
    scenario.recv("ACK")
    scenario.recv("BYE", having="Reason: SIP;cause=408")
    scenario.reply("200 OK")
    scenario.pause(300)  # what SIPp says last is lost when it ends at once
    async with stage.play(scenario) as ours:
        ended = await ours.ended(await ours.call("sipp"))
        assert (ended.status, ended.by_peer) == (408, False)


async def test_a_redirection_is_told_and_not_followed(stage: Stage) -> None:
    scenario = Scenario()
    scenario.called()
    scenario.reply("302 Moved Temporarily", tag="sipp")
    scenario.recv("ACK")
    async with stage.play(scenario) as ours:
        assert (await ours.ended(ours.dial("sipp"))).status == 302


async def test_two_realms_ask_in_one_response_each(stage: Stage) -> None:
    """A proxy's 407, then the 401 of what is behind it: the second attempt answers both."""
    challenge = 'Digest realm="{}", nonce="{}", algorithm=SHA-256, qop="auth"'
    scenario = Scenario()
    scenario.called()
    scenario.reply(
        "407 Proxy Authentication Required",
        f"Proxy-Authenticate: {challenge.format('sipp.test', 'one')}",
        tag="proxy",
    )
    scenario.recv("ACK")
    scenario.recv("INVITE", having="Proxy-Authorization: Digest .*realm=.sipp.test")
    scenario.reply(
        "401 Unauthorized", f"WWW-Authenticate: {challenge.format('sipp.test', 'two')}", tag="pbx"
    )
    scenario.recv("ACK")
    scenario.recv("INVITE", having="[^-]Authorization: Digest .*nonce=.two")
    scenario.reply("200 OK", tag="sipp", body=DESCRIPTION)
    scenario.recv("ACK")
    async with stage.play(ends(scenario)) as ours:
        await ours.ended(await ours.call("sipp"))


async def test_a_stale_nonce_is_renewed(stage: Stage) -> None:
    challenge = 'WWW-Authenticate: Digest realm="sipp.test", nonce="{}", algorithm=MD5, qop="auth"'
    scenario = Scenario()
    scenario.called()
    scenario.reply("401 Unauthorized", challenge.format("old"), tag="a")
    scenario.recv("ACK")
    scenario.recv("INVITE", having="nonce=.old")
    scenario.reply("401 Unauthorized", f"{challenge.format('new')}, stale=true", tag="b")
    scenario.recv("ACK")
    scenario.recv("INVITE", having="nonce=.new")
    scenario.reply("200 OK", tag="sipp", body=DESCRIPTION)
    scenario.recv("ACK")
    async with stage.play(ends(scenario)) as ours:
        await ours.ended(await ours.call("sipp"))


async def test_we_hold_while_the_peer_does(stage: Stage) -> None:
    """Glare: its re-INVITE gets 491, and so does ours; ours comes again (RFC 3261 §14.1)."""
    scenario = answers()
    scenario.recv("INVITE", keep="ours", having="sendonly")
    scenario.request("INVITE", body=DESCRIPTION)
    scenario.recv("491")
    scenario.request("ACK")
    scenario.reply("491 Request Pending", to="ours")
    scenario.recv("ACK")
    scenario.recv("INVITE", having="sendonly")
    scenario.reply("200 OK", body=DESCRIPTION)
    scenario.recv("ACK")
    async with stage.play(ends(scenario)) as ours:
        session = await ours.call("sipp")
        ours.do(session.reoffer, ours.rtp.description("sendonly"))
        assert (await ours.expect(SessionReanswered)).status == 200
        await ours.ended(session)


# --- calls of the peer


async def test_a_bye_before_the_answer(stage: Stage) -> None:
    scenario = calls()
    scenario.recv("180")
    scenario.request("BYE")
    scenario.recv("200")
    scenario.recv("487")
    scenario.request("ACK", sequence=1, branch="[branch-3]")
    async with stage.play(scenario, register=True) as ours:
        call = await ours.rung()
        ours.do(call.session.ring)
        ended = await ours.ended(call.session)
        assert (ended.status, ended.by_peer) == (487, True)


async def test_the_peers_lost_ack(stage: Stage) -> None:
    """Our 2xx is repeated until the ACK comes, on TLS as well (RFC 3261 §13.3.1.4)."""
    scenario = calls()
    scenario.recv("200")
    scenario.recv("200")
    scenario.recv("200")
    scenario.request("ACK")
    async with stage.play(ends(scenario), register=True) as ours:
        call = await ours.rung()
        await ours.take(call)
        await ours.ended(call.session)
        assert len(ours.all(SessionConfirmed)) == 1


async def test_an_invite_without_an_offer(stage: Stage) -> None:
    scenario = calls(body="")
    scenario.recv("200", having="m=audio")
    scenario.request("ACK", body=DESCRIPTION)
    async with stage.play(ends(scenario), register=True) as ours:
        call = await ours.rung()
        assert call.offer is None
        ours.do(call.session.answer, ours.rtp.description())
        confirmed = await ours.expect(SessionConfirmed)
        assert confirmed.body is not None
        await ours.ended(call.session)


async def test_the_peer_demands_reliable_provisional_responses(stage: Stage) -> None:
    scenario = calls("Require: 100rel")
    scenario.recv("183", having="RSeq: [0-9]+")
    scenario.request("PRACK", "RAck: [$rseq] 1 INVITE")
    scenario.recv("200", having="PRACK")
    scenario.recv("200", having="INVITE")
    scenario.request("ACK", sequence=1)
    async with stage.play(ends(scenario), register=True) as ours:
        call = await ours.rung()
        ours.do(call.session.progress, ours.rtp.answer(call.offer))
        await ours.take(call)
        await ours.ended(call.session)


async def test_the_peer_offers_by_update(stage: Stage) -> None:
    scenario = calls()
    scenario.recv("200")
    scenario.request("ACK")
    scenario.request("UPDATE", body=DESCRIPTION)
    scenario.recv("200", having="m=audio")
    async with stage.play(ends(scenario), register=True) as ours:
        call = await ours.rung()
        session = await ours.take(call)
        offered = await ours.expect(SessionOffered)
        ours.do(session.accept_offer, ours.rtp.answer(offered.offer))
        await ours.ended(session)


async def test_the_peers_session_timer_is_too_small(stage: Stage) -> None:
    scenario = Scenario()
    scenario.registers()
    scenario.request("INVITE", "Session-Expires: 30", "Supported: timer", body=DESCRIPTION)
    scenario.recv("422", having="Min-SE: 90")
    scenario.request("ACK")
    async with stage.play(scenario, register=True):
        pass


async def test_what_we_do_not_speak_is_refused_by_its_name(stage: Stage) -> None:
    scenario = Scenario()
    scenario.registers()
    for method, header, status, having in (
        ("FROBNICATE", "", "501", "Allow: INVITE"),
        ("PUBLISH", "Event: presence", "405", "Allow: INVITE"),
        ("OPTIONS", "Require: teleport", "420", "Unsupported: teleport"),
        ("NOTIFY", "Event: dialog", "489", "Allow-Events:"),
        ("REFER", "Refer-To: <sip:1@sipp.test>", "403", ""),
        ("OPTIONS", "", "200", "Supported:"),
    ):
        scenario.probe(method, *([header] if header else ()))
        scenario.recv(status, having=having)
    async with stage.play(scenario, register=True):
        pass


async def test_broken_messages_cost_nothing_else(stage: Stage) -> None:
    """Each is answered with 400 where an answer has a way back; the connection goes on."""
    scenario = Scenario()
    scenario.registers()
    scenario.probe("OPTIONS", CSeq="99999999999 OPTIONS")
    scenario.recv("400")
    scenario.probe("OPTIONS", From="")
    scenario.recv("400")
    scenario.probe("OPTIONS", From="<sip:+15550100@sipp.test;tag=sipp")
    scenario.recv("400")
    scenario.probe("OPTIONS", version="SIP/3.0")
    scenario.recv("505")
    scenario.probe("OPTIONS", "Content-Encoding: gzip")
    scenario.recv("415", having="Accept-Encoding")
    scenario.probe("OPTIONS")
    scenario.recv("200")
    async with stage.play(scenario, register=True):
        pass
