"""Against Asterisk 22 (Debian testing) and Asterisk 16 (Debian 11): TLS, SDES, PJSIP."""

import pytest

from sip.events import (
    MessageReceived,
    Reason,
    RegistrationFailed,
    SessionAnswered,
    SessionOffered,
    SessionProgressed,
    SessionReanswered,
)
from sip.session import Session
from sip.trunk import TlsSettings
from tests.interop.conftest import Phones
from tests.interop.relay import Relay
from tests.interop.rtp import direction
from tests.lab.asterisk import Asterisk
from tests.lab.certificate import Authority
from tests.lab.process import eventually


async def test_the_versions(modern: Asterisk, old: Asterisk) -> None:
    assert "Asterisk 22." in await modern.command("core show version")
    assert "Asterisk 16.28" in await old.command("core show version")


# --- registration and liveness


async def test_registers_with_md5_and_unregisters(pbx: Asterisk, phones: Phones) -> None:
    since = pbx.mark()
    ours = await phones.own(pbx, "alone")
    assert (await ours.registered()).expires > 250
    assert "sip:alone@127.0.0.1" in await pbx.contact("alone")
    await ours.stop()
    assert not await pbx.contact("alone")
    assert "algorithm=MD5" in (await pbx.seen("SIP/2.0 401", since=since)).text


@pytest.mark.parametrize("name", ["both", "sha256"])
async def test_registers_with_sha256(modern: Asterisk, phones: Phones, name: str) -> None:
    since = modern.mark()
    await (await phones.own(modern, name)).registered()
    sent = [m for m in modern.sip(since) if m.method == "REGISTER" and m.header("Authorization")]
    assert "algorithm=SHA-256" in sent[-1].header("Authorization").replace('"', "")


async def test_a_wrong_password_is_told(pbx: Asterisk, phones: Phones) -> None:
    ours = await phones.own(pbx, "alone", password="guess")
    failed = await ours.expect(RegistrationFailed)
    assert failed.status == 401
    assert "password" in ours.client.status.text


async def test_a_lost_connection_is_registered_anew_at_once(
    pbx: Asterisk, phones: Phones, authority: Authority
) -> None:
    async with Relay(pbx.tls_port) as relay:
        ours = await phones.own(pbx, "alone", port=relay.port)
        await ours.registered()
        since, mark = ours.mark, pbx.mark()
        relay.cut()
        await ours.registered(since=since, within=5)
        assert await pbx.contact("alone")
        # A call through the new connection.
        assert await ours.call("1000")
        assert await pbx.seen("INVITE sip:1000", since=mark)
        await ours.stop()


async def test_tls_1_3(modern: Asterisk, phones: Phones) -> None:
    ours = await phones.own(modern, "alone", port=modern.newest_port)
    await ours.registered()
    await ours.hang_up(await ours.call("1000"))


async def test_a_client_certificate_is_shown_where_it_is_asked_for(
    pbx: Asterisk, phones: Phones, authority: Authority
) -> None:
    own = authority.issue("client", ("client.test",))
    mutual = TlsSettings(
        ca_file=authority.certificate, certificate_file=own.certificate, key_file=own.key
    )
    ours = await phones.own(pbx, "alone", port=pbx.mutual_port, tls=mutual)
    await ours.registered()
    await ours.stop()
    refused = await phones.own(pbx, "alone", port=pbx.mutual_port)
    await refused.says("client certificate")


async def test_options_both_ways(pbx: Asterisk, phones: Phones) -> None:
    ours = await phones.standing(pbx, "first")
    since = pbx.mark()
    ours.do(ours.client.agent.ping)
    # A challenge, which is a sign of life all the same.
    await pbx.seen("SIP/2.0 401", since=since, method="OPTIONS")
    since = pbx.mark()
    await pbx.command("pjsip qualify first")
    answer = await pbx.seen("SIP/2.0 200", since=since, method="OPTIONS")
    assert not answer.sent
    assert "INVITE" in answer.header("Allow")


# --- calls out


async def test_calls_out_and_hears_its_echo(pbx: Asterisk, phones: Phones) -> None:
    ours = await phones.standing(pbx, "first")
    since = pbx.mark()
    session = await ours.call("1000")
    await ours.echoes()
    assert (await ours.hang_up(session)).status == 200
    # The nonce of the registration serves for the call: nobody is asked twice.
    assert (await pbx.seen("INVITE", since=since)).header("Authorization")
    assert not [m for m in pbx.sip(since) if m.status == 401 and m.method == "INVITE"]
    await pbx.quiet()


async def test_the_pbx_hangs_up_with_a_cause(pbx: Asterisk, phones: Phones) -> None:
    ours = await phones.standing(pbx, "first")
    ended = await ours.ended(await ours.call("4117"))
    assert ended.by_peer
    assert ended.reason is not None
    assert (ended.reason.protocol, ended.reason.cause) == ("Q.850", 17)


@pytest.mark.parametrize(
    ("number", "status", "cause"),
    [("3117", 486, 17), ("3101", 404, 1), ("3121", 403, 21), ("3127", 502, 27), ("3134", 503, 34)],
)
async def test_refusals_and_their_causes(
    pbx: Asterisk, phones: Phones, number: str, status: int, cause: int
) -> None:
    ours = await phones.standing(pbx, "first")
    ended = await ours.ended(ours.dial(number))
    assert (ended.status, ended.by_peer) == (status, True)
    assert ended.reason is not None
    assert (ended.reason.protocol, ended.reason.cause) == ("Q.850", cause)


async def test_rings_and_is_given_up(pbx: Asterisk, phones: Phones) -> None:
    ours = await phones.standing(pbx, "first")
    since = pbx.mark()
    session = ours.dial("3001")
    await ours.expect(SessionProgressed, lambda e: e.status == 180)
    assert (await ours.hang_up(session)).status == 487
    await pbx.seen("SIP/2.0 487", since=since)
    await pbx.seen("ACK", since=since)


async def test_early_media_then_the_answer(pbx: Asterisk, phones: Phones) -> None:
    ours = await phones.standing(pbx, "first")
    session = ours.dial("3003")
    progress = await ours.expect(SessionProgressed, lambda e: e.status == 183)
    ours.rtp.learn(progress.early)
    await ours.hears()
    answered = await ours.expect(SessionAnswered)
    assert answered.answer is not None
    await ours.hang_up(session)


async def test_early_media_that_is_never_answered(pbx: Asterisk, phones: Phones) -> None:
    ours = await phones.standing(pbx, "first")
    session = ours.dial("3002")
    progress = await ours.expect(SessionProgressed, lambda e: e.status == 183)
    ours.rtp.learn(progress.early)
    await ours.hears()
    assert (await ours.hang_up(session)).status == 487


async def test_reliable_provisional_responses_of_the_pbx(pbx: Asterisk, phones: Phones) -> None:
    ours = await phones.standing(pbx, "reliable")
    since = pbx.mark()
    session = ours.dial("3003")
    ours.rtp.learn((await ours.expect(SessionProgressed, lambda e: e.status == 183)).early)
    await ours.hears()
    await pbx.seen("PRACK", since=since)
    await pbx.seen("SIP/2.0 200", since=since, method="PRACK")
    # The answer is in the 183; the 200 has none, and means that one.
    assert (await ours.expect(SessionAnswered)).answer is not None
    assert not (await pbx.seen("SIP/2.0 200", since=since, method="INVITE")).body
    await ours.hang_up(session)


# --- calls in


async def test_is_called_answers_and_hangs_up(pbx: Asterisk, phones: Phones) -> None:
    ours = await phones.standing(pbx, "first")
    await pbx.call("first", exten="1000")
    call = await ours.rung()
    assert (call.caller.display_name, call.caller.uri.user) == ("Carol", "+15550100")
    ours.do(call.session.ring)
    session = await ours.take(call)
    await ours.echoes()
    assert (await ours.hang_up(session)).status == 200


async def test_is_called_and_the_pbx_hangs_up(pbx: Asterisk, phones: Phones) -> None:
    ours = await phones.standing(pbx, "first")
    placed = await pbx.call("first", exten="1005")
    session = await ours.take(await ours.rung())
    await placed.hang_up()
    ended = await ours.ended(session)
    assert (ended.status, ended.by_peer) == (200, True)


async def test_a_caller_gives_up(pbx: Asterisk, phones: Phones) -> None:
    ours = await phones.standing(pbx, "first")
    placed = await pbx.call("first")
    call = await ours.rung()
    ours.do(call.session.ring)
    since = pbx.mark()
    await placed.hang_up()
    ended = await ours.ended(call.session)
    assert (ended.status, ended.by_peer) == (487, True)
    await pbx.seen("ACK", since=since)


@pytest.mark.parametrize(("status", "cause"), [(486, "17"), (480, "19"), (603, "21")])
async def test_a_call_is_refused(pbx: Asterisk, phones: Phones, status: int, cause: str) -> None:
    ours = await phones.standing(pbx, "first")
    placed = await pbx.call("first")
    call = await ours.rung()
    ours.do(call.session.ring)
    await placed.channel()
    ours.do(call.session.reject, status)
    assert (await placed.ended())["Cause"] == cause


async def test_our_reason_reaches_the_pbx(pbx: Asterisk, phones: Phones) -> None:
    ours = await phones.standing(pbx, "first")
    placed = await pbx.call("first", exten="1005")
    session = await ours.take(await ours.rung())
    await ours.hang_up(session, reason=Reason("Q.850", 26, "answered elsewhere"))
    assert (await placed.ended())["Cause"] == "26"


async def test_the_pbx_demands_reliable_provisional_responses(
    pbx: Asterisk, phones: Phones
) -> None:
    ours = await phones.standing(pbx, "reliable")
    since = pbx.mark()
    await pbx.call("reliable", exten="1005")
    call = await ours.rung()
    ours.do(call.session.progress, ours.rtp.answer(call.offer))
    await pbx.seen("PRACK", since=since)
    session = await ours.take(call)
    await ours.hang_up(session)


async def test_digits_in_info(pbx: Asterisk, phones: Phones) -> None:
    ours = await phones.standing(pbx, "info")
    since = pbx.mark()
    session = await ours.call("2000")
    await pbx.seen("SIP/2.0 200", since=since, method="INFO")
    await ours.hang_up(session)


# --- changes of a session


@pytest.mark.parametrize("spelling", ["sendonly", "inactive", "0.0.0.0"])
async def test_we_hold_and_resume(pbx: Asterisk, phones: Phones, spelling: str) -> None:
    ours = await phones.standing(pbx, "first")
    session = await ours.call("1001")
    await ours.hears()
    if spelling == "0.0.0.0":
        hold = ours.rtp.description(address=spelling)
    else:
        hold = ours.rtp.description(spelling)
    ours.do(session.reoffer, hold)
    held = await ours.expect(SessionReanswered)
    assert held.status == 200
    assert direction(held.answer) == ("inactive" if spelling == "inactive" else "recvonly")
    since = ours.mark
    ours.do(session.reoffer, ours.rtp.description())
    resumed = await ours.expect(SessionReanswered, since=since)
    assert direction(resumed.answer) == "sendrecv"
    await ours.hears()
    await ours.hang_up(session)


async def test_the_other_side_holds_through_the_pbx(pbx: Asterisk, phones: Phones) -> None:
    ours, other = await phones.standing(pbx, "held"), await phones.standing(pbx, "second")
    session = ours.dial("second")
    theirs = await other.take(await other.rung())
    await ours.expect(SessionAnswered)
    since = ours.mark
    other.do(theirs.reoffer, other.rtp.description("sendonly"))
    offered = await ours.expect(SessionOffered, since=since)
    assert direction(offered.offer) == "sendonly"
    ours.do(session.accept_offer, ours.rtp.answer(offered.offer, "recvonly"))
    since = ours.mark
    other.do(theirs.reoffer, other.rtp.description())
    offered = await ours.expect(SessionOffered, since=since)
    assert direction(offered.offer) == "sendrecv"
    ours.do(session.accept_offer, ours.rtp.answer(offered.offer))
    await ours.hang_up(session)
    await other.ended(theirs)


async def test_a_session_timer_below_the_pbxs_least_is_raised(
    modern: Asterisk, phones: Phones
) -> None:
    """422 with Min-SE 3600, then 200. Asterisk 16 does not answer such an INVITE at all."""
    ours = await phones.standing(modern, "patient")
    since = modern.mark()
    session = await ours.call("1000")
    await modern.seen("SIP/2.0 422", since=since)
    await ours.hang_up(session)


async def test_sessions_are_refreshed(modern: Asterisk, old: Asterisk, phones: Phones) -> None:
    """After half of the least time that is lawful; both PBXs at once."""
    since = {pbx: pbx.mark() for pbx in (modern, old)}
    lines = []
    for pbx in (modern, old):
        ours = await phones.standing(pbx, "refreshed")
        await pbx.call("refreshed", exten="1005")
        lines.append((pbx, ours, await ours.take(await ours.rung())))

    def refreshed(pbx: Asterisk, session: Session) -> bool:
        """Whether anybody's second INVITE, or UPDATE, of this call has had its 200."""
        said = [m for m in pbx.sip(since[pbx]) if m.header("Call-ID") == session.call_id]
        good = [m for m in said if m.status == 200 and m.method in ("INVITE", "UPDATE")]
        return len({m.header("CSeq") for m in good}) > 1

    for pbx, ours, session in lines:
        await eventually(
            lambda pbx=pbx, session=session: refreshed(pbx, session),  # type: ignore[misc]
            within=120,
            every=1,
            what="a refresh",
        )
        assert session.established
        await ours.hang_up(session)
        await pbx.quiet()


# --- texts


async def test_texts_both_ways(pbx: Asterisk, phones: Phones) -> None:
    ours = await phones.standing(pbx, "first")
    sent = await ours.text("1000", "Grüße 👋\r\nzweite Zeile")
    assert sent.status == 202
    echo = await ours.expect(MessageReceived)
    assert echo.body.data.decode() == "echo: Grüße 👋\r\nzweite Zeile"
    since = pbx.mark()
    ours.do(ours.client.agent.answer_message, echo.id, 200)
    await pbx.seen("SIP/2.0 200", since=since, method="MESSAGE")
