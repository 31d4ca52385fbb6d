"""Sessions from their first INVITE to their end, with a peer that does what the test says."""

import pytest

from sip.errors import LocalError
from sip.events import (
    Body,
    DigitReceived,
    DigitsRefused,
    IncomingSession,
    Reason,
    SessionAnswered,
    SessionConfirmed,
    SessionEnded,
    SessionOffered,
    SessionProgressed,
    SipWarning,
)
from sip.message import Request
from sip.presentation import Presentation
from sip.session import Session
from sip.uri import Uri
from tests.sip.world import ANSWER, EARLY, OFFER, Phone, Script, World


def ended(phone: Phone) -> tuple[int, bool]:
    """How the one session of a phone ended; fails unless that was said exactly once."""
    (event,) = phone.all(SessionEnded)
    return event.status, event.by_peer


def assert_busy(phone: Phone) -> None:
    assert phone.agent.busy


def answered(alice: Phone, pbx: Script) -> Session:
    """A session that alice began and the pbx answered."""
    session = alice.call()
    alice.world.settle()
    pbx.reply(pbx.last_request("INVITE"), 200, ANSWER)
    return session


def taken(alice: Phone, pbx: Script, *, body: Body | None = OFFER) -> Session:
    """A session that the pbx began and alice answered."""
    pbx.request("INVITE", body=body)
    session = alice.incoming()
    session.answer(ANSWER, now=alice.now)
    alice.pump()
    alice.world.settle()
    acknowledge(pbx, session)
    return session


def acknowledge(
    pbx: Script, session: Session, *, body: Body | None = None, seq: int = 1
) -> Request:
    return pbx.within(session, "ACK", seq=seq, body=body)


# --- calling


def test_a_call_is_placed_answered_and_hung_up(alice: Phone, pbx: Script, world: World) -> None:
    session = alice.call()
    world.settle()
    invite = pbx.last_request("INVITE")
    assert str(invite.uri) == "sip:bob@example.net"
    assert str(invite.headers.from_.uri) == "sip:alice@example.net"
    port = invite.headers.via.port
    assert str(invite.headers.contact) == f"<sip:alice@198.51.100.1:{port};transport=tls>"
    assert "rport" in invite.headers.via.parameters
    assert "alias" in invite.headers.via.parameters
    supported = {"100rel", "timer", "replaces", "norefersub"}
    assert invite.headers.tokens("Supported") == supported
    assert invite.body == OFFER.data
    pbx.reply(invite, 100)
    pbx.reply(invite, 180)
    assert alice.all(SessionAnswered) == []
    pbx.reply(invite, 200, ANSWER, headers=[("Server", "LabPBX")])
    assert session.established
    assert session.peer_agent == "LabPBX"
    assert session.remote_tag == "pbx-tag"
    assert alice.last(SessionProgressed).status == 180
    assert alice.last(SessionAnswered).answer == ANSWER
    ack = pbx.last_request("ACK")
    assert str(ack.uri) == "sip:pbx@192.0.2.9:5061;transport=tls"
    assert ack.headers.cseq.number == invite.headers.cseq.number
    assert ack.headers.via.branch != invite.headers.via.branch
    session.hang_up(now=world.now, reason=Reason("Q.850", 16, "bye"))
    alice.pump()
    assert ended(alice) == (200, False)
    assert_busy(alice)
    world.settle()
    bye = pbx.last_request("BYE")
    assert bye.headers.reason == Reason("Q.850", 16, "bye")
    pbx.reply(bye, 200)
    assert not alice.agent.busy
    assert alice.agent.deadline() is not None  # timer M of the INVITE
    world.run(40)
    assert alice.agent.deadline() is None


def test_early_media_is_told_and_stands_when_the_answer_has_no_body(
    alice: Phone, pbx: Script, world: World
) -> None:
    alice.call()
    world.settle()
    invite = pbx.last_request("INVITE")
    pbx.reply(invite, 183, EARLY)
    assert alice.last(SessionProgressed).early == EARLY
    pbx.reply(invite, 200)
    assert alice.last(SessionAnswered).answer == EARLY


def test_a_reliable_183_is_acknowledged_once_and_carries_the_answer(
    alice: Phone, pbx: Script, world: World
) -> None:
    alice.call()
    world.settle()
    invite = pbx.last_request("INVITE")
    reliable = [("Require", "100rel"), ("RSeq", "28725")]
    pbx.reply(invite, 183, EARLY, headers=reliable)
    prack = pbx.last_request("PRACK")
    assert prack.headers.get("RAck") == "28725 1 INVITE"
    assert str(prack.uri) == "sip:pbx@192.0.2.9:5061;transport=tls"
    pbx.reply(prack, 200)
    pbx.reply(invite, 183, EARLY, headers=reliable)  # repeated
    pbx.reply(invite, 180, headers=[("Require", "100rel"), ("RSeq", "28730")])  # out of order
    pbx.reply(invite, 180, headers=[("Require", "100rel")])  # without a number
    assert len(pbx.requests("PRACK")) == 1
    assert len(alice.all(SessionProgressed)) == 1
    pbx.reply(invite, 180, headers=[("Require", "100rel"), ("RSeq", "28726")])
    assert len(pbx.requests("PRACK")) == 2
    pbx.reply(invite, 200)
    assert alice.last(SessionAnswered).answer == EARLY


@pytest.mark.parametrize("status", [302, 404, 486, 503, 603])
def test_a_refusal_ends_the_call_with_its_words(
    alice: Phone, pbx: Script, world: World, status: int
) -> None:
    session = alice.call()
    world.settle()
    headers = [
        ("Reason", "Q.850;cause=17"),
        ("Retry-After", "120 (later)"),
        ("Warning", 'x, 304 pbx.example "no \\"video\\", thanks", 399 other "more"'),
    ]
    pbx.reply(pbx.last_request("INVITE"), status, headers=headers)
    assert ended(alice) == (status, True)
    event = alice.last(SessionEnded)
    assert event.reason == Reason("Q.850", 17)
    assert event.retry_after == 120
    assert event.warning == SipWarning(304, 'no "video", thanks', "pbx.example")
    assert session.ended
    assert pbx.last_request("ACK").headers.to.tag == "pbx-tag"
    assert alice.agent.sessions == []


def test_silence_ends_the_call_with_408(alice: Phone, pbx: Script, world: World) -> None:
    alice.call()
    world.run(31.9)
    assert alice.all(SessionEnded) == []
    world.run(0.2)
    assert ended(alice) == (408, False)


def test_a_call_that_rings_for_ten_minutes_is_given_up(
    alice: Phone, pbx: Script, world: World
) -> None:
    session = alice.call()
    world.settle()
    pbx.reply(pbx.last_request("INVITE"), 180)
    world.run(590)
    assert not session.ended
    world.run(20)
    assert ended(alice) == (408, False)
    assert len(pbx.requests("CANCEL")) == 1
    world.run(100)
    assert alice.agent.deadline() is None


def test_without_a_flow_the_call_ends_at_once(alice: Phone) -> None:
    session = alice.call()
    assert ended(alice) == (503, False)
    assert session.ended
    assert alice.agent.deadline() is None


def test_the_caller_and_more_headers_are_the_users(alice: Phone, pbx: Script, world: World) -> None:
    caller = Presentation("+15550199", 'Ann "A"')
    session = alice.agent.invite(
        Uri.parse("tel:+15550123"),
        OFFER,
        now=world.now,
        caller=caller,
        headers=[("Subject", "lunch")],
    )
    alice.pump()
    world.settle()
    invite = pbx.last_request("INVITE")
    assert str(invite.uri) == "tel:+15550123"
    assert invite.headers.from_.display_name == 'Ann "A"'
    assert invite.headers.from_.tag == session.local_tag
    assert str(invite.headers.from_.uri) == "sip:alice@example.net"
    assert invite.headers.get("P-Preferred-Identity") == (
        '"Ann \\"A\\"" <sip:+15550199@example.net>'
    )
    assert invite.headers.get("Subject") == "lunch"


@pytest.mark.parametrize("name", ["Via", "Contact", "contact", "Authorization"])
def test_headers_of_the_agent_are_not_the_users(alice: Phone, name: str) -> None:
    with pytest.raises(LocalError):
        alice.agent.invite(Uri.parse("sip:b@h"), OFFER, now=0.0, headers=[(name, "x")])


def test_a_display_name_cannot_begin_a_header(alice: Phone, pbx: Script, world: World) -> None:
    caller = Presentation("alice", "x\r\nEvil: yes")
    with pytest.raises(LocalError):
        alice.agent.invite(Uri.parse("sip:b@h"), OFFER, now=world.now, caller=caller)
    assert alice.agent.sessions == []
    assert alice.agent.poll() == []


# --- giving up


def test_cancel_waits_for_a_provisional_response(alice: Phone, pbx: Script, world: World) -> None:
    session = alice.call()
    world.settle()
    session.hang_up(now=world.now, reason=Reason("SIP", 487))
    alice.pump()
    assert ended(alice) == (487, False)
    world.settle()
    assert pbx.requests("CANCEL") == []
    invite = pbx.last_request("INVITE")
    pbx.reply(invite, 100)
    cancel = pbx.last_request("CANCEL")
    assert cancel.headers.via == invite.headers.via
    assert cancel.headers.reason == Reason("SIP", 487)
    pbx.reply(cancel, 200)
    pbx.reply(invite, 180)
    assert len(pbx.requests("CANCEL")) == 1
    pbx.reply(invite, 487)
    assert alice.agent.busy is False
    assert ended(alice) == (487, False)
    assert alice.all(SessionProgressed) == []


def test_cancel_crossing_200_sends_ack_and_bye(alice: Phone, pbx: Script, world: World) -> None:
    session = alice.call()
    world.settle()
    invite = pbx.last_request("INVITE")
    pbx.reply(invite, 180)
    session.hang_up(now=world.now)
    alice.pump()
    pbx.reply(invite, 200, ANSWER)
    assert len(pbx.requests("CANCEL")) == 1
    assert len(pbx.requests("ACK")) == 1
    bye = pbx.last_request("BYE")
    assert ended(alice) == (487, False)
    assert alice.all(SessionAnswered) == []
    pbx.reply(invite, 200, ANSWER)  # the ACK was lost
    assert len(pbx.requests("ACK")) == 2
    assert len(pbx.requests("BYE")) == 1
    pbx.reply(bye, 200)
    world.run(100)
    assert alice.agent.deadline() is None


def test_a_cancel_that_nobody_heeds_is_given_up(alice: Phone, pbx: Script, world: World) -> None:
    session = alice.call()
    world.settle()
    pbx.reply(pbx.last_request("INVITE"), 180)
    session.hang_up(now=world.now)
    alice.pump()
    world.run(100)
    assert not alice.agent.busy
    assert alice.agent.deadline() is None
    assert ended(alice) == (487, False)


def test_a_challenge_to_a_call_given_up_is_not_answered(
    alice: Phone, pbx: Script, world: World
) -> None:
    session = alice.call()
    world.settle()
    session.hang_up(now=world.now)
    alice.pump()
    challenge = [("WWW-Authenticate", 'Digest realm="r", nonce="1", qop="auth"')]
    pbx.reply(pbx.last_request("INVITE"), 401, headers=challenge)
    assert len(pbx.requests("INVITE")) == 1
    assert not alice.agent.busy


# --- forks


def test_the_first_phone_to_answer_wins_and_the_second_gets_bye(
    alice: Phone, pbx: Script, world: World
) -> None:
    alice.call()
    world.settle()
    invite = pbx.last_request("INVITE")
    pbx.reply(invite, 180, tag="one")
    pbx.reply(invite, 183, EARLY, tag="two")
    pbx.reply(invite, 200, ANSWER, tag="two")
    pbx.reply(invite, 200, ANSWER, tag="one")
    (answer,) = alice.all(SessionAnswered)
    assert answer.session.remote_tag == "two"
    bye = pbx.last_request("BYE")
    assert bye.headers.to.tag == "one"
    assert [ack.headers.to.tag for ack in pbx.requests("ACK")] == ["two", "one"]
    pbx.reply(invite, 200, ANSWER, tag="one")
    assert len(pbx.requests("ACK")) == 3
    assert len(pbx.requests("BYE")) == 1
    assert answer.session.established


def test_early_dialogs_are_bounded(alice: Phone, pbx: Script, world: World) -> None:
    alice.call()
    world.settle()
    for number in range(30):
        pbx.reply(pbx.last_request("INVITE"), 180, tag=f"fork{number}")
    assert len(alice.all(SessionProgressed)) == 16


def test_a_repeated_2xx_is_acknowledged_again(alice: Phone, pbx: Script, world: World) -> None:
    answered(alice, pbx)
    invite = pbx.last_request("INVITE")
    pbx.reply(invite, 200, ANSWER)
    assert len(pbx.requests("ACK")) == 2
    world.run(60)  # its transaction is gone by now
    pbx.reply(invite, 200, ANSWER)
    assert len(pbx.requests("ACK")) == 3
    assert len(alice.all(SessionAnswered)) == 1


def test_a_2xx_without_tag_or_contact_is_taken(alice: Phone, pbx: Script, world: World) -> None:
    session = alice.call()
    world.settle()
    invite = pbx.last_request("INVITE")
    response = pbx.reply(invite, 100, contact=False)
    pbx.send(type(response)(200, "OK", response.headers))
    assert session.established
    assert str(pbx.last_request("ACK").uri) == "sip:bob@example.net"


def test_a_provisional_response_without_tag_is_told(
    alice: Phone, pbx: Script, world: World
) -> None:
    alice.call()
    world.settle()
    response = pbx.reply(pbx.last_request("INVITE"), 100)
    pbx.send(type(response)(180, "Ringing", response.headers))
    assert alice.last(SessionProgressed).status == 180


# --- being called


def test_a_call_comes_rings_is_answered_and_ended_by_the_peer(
    alice: Phone, pbx: Script, world: World
) -> None:
    invite = pbx.request(
        "INVITE",
        body=OFFER,
        headers=[
            ("P-Asserted-Identity", '"Carol" <tel:+15550111>'),
            ("Record-Route", "<sip:proxy.example;lr>"),
            ("User-Agent", "LabPBX"),
        ],
    )
    event = alice.last(IncomingSession)
    assert (event.target, event.offer) == (invite.uri, OFFER)
    assert event.caller.display_name == "Carol"
    assert event.identity.address == event.caller  # the trunk is not declared trusted
    assert event.to.uri.user == "alice"
    session = event.session
    assert session.incoming
    assert session.peer_agent == "LabPBX"
    assert pbx.last_response().status == 100
    assert pbx.last_response().headers.to.tag is None
    session.ring(now=world.now)
    session.progress(EARLY, now=world.now)
    alice.pump()
    world.settle()
    ringing, early = pbx.responses()[1:]
    assert (ringing.status, early.status, early.body) == (180, 183, EARLY.data)
    assert ringing.headers.to.tag == session.local_tag
    assert ringing.headers.get("Record-Route") == "<sip:proxy.example;lr>"
    session.answer(ANSWER, now=world.now)
    session.answer(ANSWER, now=world.now)
    alice.pump()
    world.settle()
    ok = pbx.last_response()
    assert (ok.status, ok.body) == (200, ANSWER.data)
    assert ok.headers.to.tag == session.local_tag
    assert ok.headers.contact is not None
    assert session.established
    assert alice.all(SessionConfirmed) == []
    acknowledge(pbx, session)
    assert alice.last(SessionConfirmed).body is None
    pbx.within(session, "BYE", seq=2, headers=[("Reason", "Q.850;cause=16")])
    assert pbx.last_response("BYE").status == 200
    assert ended(alice) == (200, True)
    assert alice.last(SessionEnded).reason == Reason("Q.850", 16)
    pbx.within(session, "BYE", seq=3)
    assert pbx.last_response("BYE").status == 481


def test_ringing_is_repeated_for_the_proxies(alice: Phone, pbx: Script, world: World) -> None:
    pbx.request("INVITE", body=OFFER)
    alice.incoming().ring(now=world.now)
    alice.pump()
    world.run(150)
    assert [r.status for r in pbx.responses()] == [100, 180, 180, 180]


def test_a_call_that_its_user_leaves_ringing_is_refused_after_ten_minutes(
    alice: Phone, pbx: Script, world: World
) -> None:
    pbx.request("INVITE", body=OFFER)
    alice.incoming().ring(now=world.now)
    alice.pump()
    world.run(590)
    assert alice.all(SessionEnded) == []
    world.run(20)
    assert ended(alice) == (480, False)
    assert pbx.last_response("INVITE").status == 480
    world.run(100)
    assert alice.agent.deadline() is None


def test_an_answer_is_repeated_until_its_ack(alice: Phone, pbx: Script, world: World) -> None:
    pbx.request("INVITE", body=OFFER)
    session = alice.incoming()
    session.answer(ANSWER, now=world.now)
    began = world.now
    alice.pump()
    world.run(12)
    times = [at - began for at, who, m in world.wire if who == "alice" and b" 200 OK" in bytes(m)]
    assert times == pytest.approx([0, 0.5, 1.5, 3.5, 7.5, 11.5])
    acknowledge(pbx, session)
    acknowledge(pbx, session)
    count = len(pbx.responses())
    world.run(60)
    assert len(pbx.responses()) == count
    assert len(alice.all(SessionConfirmed)) == 1


def test_an_answer_without_ack_ends_with_bye(alice: Phone, pbx: Script, world: World) -> None:
    pbx.request("INVITE", body=OFFER)
    alice.incoming().answer(ANSWER, now=world.now)
    alice.pump()
    world.run(33)
    assert ended(alice) == (408, False)
    bye = pbx.last_request("BYE")
    assert bye.headers.reason == Reason("SIP", 408, "no ACK")
    pbx.reply(bye, 200)
    assert not alice.agent.busy


def test_a_callee_hangs_up_only_after_the_ack(alice: Phone, pbx: Script, world: World) -> None:
    pbx.request("INVITE", body=OFFER)
    session = alice.incoming()
    session.answer(ANSWER, now=world.now)
    session.hang_up(now=world.now)
    alice.pump()
    world.settle()
    assert ended(alice) == (200, False)
    assert pbx.requests("BYE") == []
    acknowledge(pbx, session)
    assert len(pbx.requests("BYE")) == 1
    assert alice.all(SessionConfirmed) == []


def test_an_invite_without_offer_is_answered_with_ours(
    alice: Phone, pbx: Script, world: World
) -> None:
    pbx.request("INVITE")
    assert alice.last(IncomingSession).offer is None
    session = alice.incoming()
    session.answer(OFFER, now=world.now)
    alice.pump()
    world.settle()
    acknowledge(pbx, session, body=ANSWER)
    assert alice.last(SessionConfirmed).body == ANSWER


def test_a_rejection_says_its_status_and_reason(alice: Phone, pbx: Script, world: World) -> None:
    pbx.request("INVITE", body=OFFER)
    session = alice.incoming()
    session.reject(486, now=world.now, reason=Reason("Q.850", 17))
    session.ring(now=world.now)
    session.answer(ANSWER, now=world.now)
    session.hang_up(now=world.now)
    alice.pump()
    world.settle()
    assert [r.status for r in pbx.responses()] == [100, 486]
    assert pbx.last_response().headers.reason == Reason("Q.850", 17)
    assert ended(alice) == (486, False)


def test_a_rejection_may_say_why_and_when_to_come_back(
    alice: Phone, pbx: Script, world: World
) -> None:
    pbx.request("INVITE", body=OFFER)
    alice.incoming().reject(
        503, now=world.now, warning=SipWarning(399, 'no "line" free'), retry_after=30
    )
    alice.pump()
    world.settle()
    refusal = pbx.last_response("INVITE")
    assert refusal.headers.get("Warning") == '399 alice "no \\"line\\" free"'
    assert refusal.headers.retry_after == 30


def test_hanging_up_an_unanswered_call_refuses_it(alice: Phone, pbx: Script, world: World) -> None:
    pbx.request("INVITE", body=OFFER)
    alice.incoming().hang_up(now=world.now)
    alice.pump()
    world.settle()
    assert pbx.last_response().status == 480
    assert ended(alice) == (480, False)


def test_cancel_ends_a_ringing_call(alice: Phone, pbx: Script, world: World) -> None:
    invite = pbx.request("INVITE", body=OFFER)
    session = alice.incoming()
    session.ring(now=world.now)
    alice.pump()
    branch = invite.headers.via.branch
    pbx.request("CANCEL", branch=branch, headers=[("Reason", "SIP;cause=200")])
    assert pbx.last_response("CANCEL").status == 200
    assert pbx.last_response("CANCEL").headers.to.tag == session.local_tag
    assert pbx.last_response("INVITE").status == 487
    assert ended(alice) == (487, True)
    assert alice.last(SessionEnded).reason == Reason("SIP", 200)
    session.answer(ANSWER, now=world.now)  # crossed
    alice.pump()
    world.settle()
    assert pbx.last_response("INVITE").status == 487


def test_cancel_after_the_answer_changes_nothing(alice: Phone, pbx: Script, world: World) -> None:
    invite = pbx.request("INVITE", body=OFFER)
    session = alice.incoming()
    session.answer(ANSWER, now=world.now)
    alice.pump()
    pbx.request("CANCEL", branch=invite.headers.via.branch)
    assert pbx.last_response("CANCEL").status == 200
    assert session.established
    acknowledge(pbx, session)
    assert session.established


def test_cancel_of_nothing_is_481(alice: Phone, pbx: Script) -> None:
    pbx.request("CANCEL")
    assert pbx.last_response().status == 481


def test_bye_in_place_of_cancel_ends_a_ringing_call(
    alice: Phone, pbx: Script, world: World
) -> None:
    pbx.request("INVITE", body=OFFER)
    session = alice.incoming()
    session.ring(now=world.now)
    alice.pump()
    pbx.within(session, "BYE", seq=2)
    assert pbx.last_response("BYE").status == 200
    assert pbx.last_response("INVITE").status == 487
    assert ended(alice) == (487, True)


def test_an_invite_without_contact_is_refused(alice: Phone, pbx: Script) -> None:
    pbx.request("INVITE", body=OFFER, contact=False)
    assert pbx.last_response().status == 400
    assert alice.events == []


# --- 100rel as the callee


def reliable_call(alice: Phone, pbx: Script) -> Session:
    pbx.request("INVITE", body=OFFER, headers=[("Require", "100rel")])
    return alice.incoming()


def prack(pbx: Script, session: Session, rseq: str, *, seq: int, cseq: int = 1) -> int:
    pbx.within(session, "PRACK", seq=seq, headers=[("RAck", f"{rseq} {cseq} INVITE")])
    return pbx.last_response("PRACK").status


def test_a_caller_that_requires_100rel_gets_it(alice: Phone, pbx: Script, world: World) -> None:
    session = reliable_call(alice, pbx)
    session.ring(now=world.now)
    session.progress(EARLY, now=world.now)
    alice.pump()
    world.run(1)
    ringing = pbx.last_response("INVITE")
    assert ringing.status == 180
    assert "100rel" in ringing.headers.tokens("Require")
    assert len(pbx.responses("INVITE")) == 3  # 100, 180, 180 again
    rseq = ringing.headers.get("RSeq") or ""
    assert prack(pbx, session, "1", seq=2) == 481
    assert prack(pbx, session, rseq, seq=3, cseq=9) == 481
    assert prack(pbx, session, rseq, seq=4) == 200
    early = pbx.last_response("INVITE")
    assert (early.status, early.headers.get("RSeq")) == (183, str(int(rseq) + 1))
    session.answer(ANSWER, now=world.now)  # held back: the 183 has no PRACK
    session.ring(now=world.now)
    alice.pump()
    world.settle()
    assert not session.established
    assert prack(pbx, session, str(int(rseq) + 1), seq=5) == 200
    assert pbx.last_response("INVITE").status == 200
    acknowledge(pbx, session)
    assert session.established


def test_without_any_prack_the_call_is_refused(alice: Phone, pbx: Script, world: World) -> None:
    session = reliable_call(alice, pbx)
    session.ring(now=world.now)
    alice.pump()
    world.run(40)
    assert pbx.last_response("INVITE").status == 504
    assert ended(alice) == (504, False)


def test_a_prack_out_of_nowhere_is_refused(alice: Phone, pbx: Script) -> None:
    session = taken(alice, pbx)
    assert prack(pbx, session, "1", seq=2) == 481
    pbx.within(session, "PRACK", seq=3, body=OFFER, headers=[("RAck", "1 1 INVITE")])
    assert pbx.last_response("PRACK").status == 481


# --- within the dialog


def test_bye_crossing_bye_ends_both_once(alice: Phone, bob: Phone, world: World) -> None:
    world.link(alice, bob)
    session = alice.call()
    world.settle()
    other = bob.incoming()
    other.answer(ANSWER, now=world.now)
    bob.pump()
    world.settle()
    for phone, end in ((alice, session), (bob, other)):
        end.hang_up(now=world.now)
        phone.pump()
    world.settle()
    for phone in (alice, bob):
        assert ended(phone) == (200, False)
        assert not phone.agent.busy
    assert len(world.sent("bob", "BYE") + world.sent("alice", "BYE")) == 4


def test_digits_by_info_are_told_and_other_info_is_refused(alice: Phone, pbx: Script) -> None:
    session = taken(alice, pbx)
    digits = Body("application/dtmf-relay", b"Signal=5\r\nDuration=160\r\n")
    pbx.within(session, "INFO", seq=2, body=digits)
    assert pbx.last_response("INFO").status == 200
    assert alice.last(DigitReceived) == DigitReceived(session, "5", 160)
    pbx.within(session, "INFO", seq=3)
    assert pbx.last_response("INFO").status == 200
    pbx.within(session, "INFO", seq=4, body=Body("application/x-other", b"x"))
    assert pbx.last_response("INFO").status == 415
    assert "dtmf" in (pbx.last_response("INFO").headers.get("Accept") or "")
    pbx.within(session, "INFO", seq=5, body=Body("application/dtmf", b"x"))
    assert pbx.last_response("INFO").status == 400
    pbx.within(session, "INFO", seq=6, headers=[("Info-Package", "foo")])
    assert pbx.last_response("INFO").status == 469
    assert "Recv-Info" in pbx.last_response("INFO").headers
    assert len(alice.all(DigitReceived)) == 1


def test_digits_are_said_by_info_in_order(alice: Phone, pbx: Script) -> None:
    session = taken(alice, pbx)
    for digit in "12":
        session.send_digit(digit, 160, now=alice.now)
    alice.pump()
    alice.world.settle()
    (first,) = pbx.requests("INFO")
    assert first.headers.get("Content-Type") == "application/dtmf-relay"
    assert first.body == b"Signal=1\r\nDuration=160\r\n"
    pbx.reply(first, 200)
    alice.world.settle()
    assert pbx.requests("INFO")[-1].body == b"Signal=2\r\nDuration=160\r\n"
    assert alice.all(DigitsRefused) == []


@pytest.mark.parametrize("status", [405, 415, 501])
def test_a_peer_that_takes_no_digits_by_info_is_told_once(
    alice: Phone, pbx: Script, status: int
) -> None:
    session = taken(alice, pbx)
    for digit in "12":
        session.send_digit(digit, 160, now=alice.now)
    alice.pump()
    alice.world.settle()
    pbx.reply(pbx.requests("INFO")[-1], status)
    alice.world.settle()
    session.send_digit("3", 160, now=alice.now)
    alice.pump()
    alice.world.settle()
    assert len(pbx.requests("INFO")) == 1
    assert alice.all(DigitsRefused) == [DigitsRefused(session, status)]
    assert session.established


def test_a_digit_needs_a_session_and_a_key(alice: Phone, pbx: Script) -> None:
    pbx.request("INVITE", body=OFFER)
    session = alice.incoming()
    with pytest.raises(LocalError):
        session.send_digit("1", 100, now=alice.now)
    with pytest.raises(LocalError):
        session.send_digit("x", 100, now=alice.now)


def test_a_request_out_of_order_is_refused(alice: Phone, pbx: Script) -> None:
    session = taken(alice, pbx)
    pbx.within(session, "INFO", seq=9)
    pbx.within(session, "INFO", seq=8)
    assert pbx.last_response("INFO").status == 500


def test_requests_with_wrong_tags_are_481(alice: Phone, pbx: Script) -> None:
    session = taken(alice, pbx)
    pbx.request("BYE", seq=5, to_tag=session.local_tag, from_tag="wrong")
    assert pbx.last_response("BYE").status == 481
    pbx.request("BYE", seq=6, to_tag="wrong")
    assert pbx.last_response("BYE").status == 481
    assert session.established


def test_bye_on_our_early_dialog_leaves_the_call(alice: Phone, pbx: Script, world: World) -> None:
    session = alice.call()
    world.settle()
    invite = pbx.last_request("INVITE")
    pbx.reply(invite, 180)
    pbx.within(session, "BYE", seq=1)
    assert pbx.last_response("BYE").status == 200
    assert not session.ended
    pbx.reply(invite, 487)
    assert ended(alice) == (487, True)


def test_verbs_of_the_wrong_direction_or_with_a_wrong_status_are_local_errors(
    alice: Phone, pbx: Script, world: World
) -> None:
    outgoing = alice.call()
    for verb in (outgoing.ring,):
        with pytest.raises(LocalError):
            verb(now=world.now)
    with pytest.raises(LocalError):
        outgoing.answer(ANSWER, now=world.now)
    with pytest.raises(LocalError):
        outgoing.reoffer(OFFER, now=world.now)
    world.settle()
    pbx.request("INVITE", body=OFFER)
    for status in (200, 180, 700):
        with pytest.raises(LocalError):
            alice.incoming().reject(status, now=world.now)
        with pytest.raises(LocalError):
            alice.incoming().reject_offer(status, now=world.now)


def test_verbs_that_come_too_late_do_nothing(alice: Phone, pbx: Script, world: World) -> None:
    session = taken(alice, pbx)
    pbx.within(session, "BYE", seq=2)
    count = len(world.wire)
    session.ring(now=world.now)
    session.answer(ANSWER, now=world.now)
    session.reject(486, now=world.now)
    session.reoffer(OFFER, now=world.now)
    session.accept_offer(ANSWER, now=world.now)
    session.reject_offer(488, now=world.now)
    session.hang_up(now=world.now)
    alice.pump()
    assert len(world.wire) == count
    assert len(alice.all(SessionOffered)) == 0
    assert ended(alice) == (200, True)


# --- flows come and go


def test_an_unanswered_call_out_ends_with_its_flow(alice: Phone, pbx: Script, world: World) -> None:
    alice.call()
    world.settle()
    pbx.reply(pbx.last_request("INVITE"), 180)
    assert pbx.link is not None
    pbx.link.cut()
    world.settle()
    assert ended(alice) == (503, False)


def test_a_ringing_call_in_ends_with_its_flow(alice: Phone, pbx: Script, world: World) -> None:
    pbx.request("INVITE", body=OFFER)
    assert pbx.link is not None
    pbx.link.cut()
    world.settle()
    assert ended(alice) == (503, False)
    alice.incoming().answer(ANSWER, now=world.now)
    alice.pump()
    assert alice.agent.deadline() is None


def reconnect(alice: Phone, pbx: Script, *, after: float = 3.0) -> None:
    world = alice.world
    assert pbx.link is not None
    pbx.link.cut()
    world.run(after)
    pbx.inbox.clear()
    world.link(alice, pbx)
    world.settle()


def test_an_answered_call_outlives_its_flow_and_tells_where_it_is(
    alice: Phone, pbx: Script, world: World
) -> None:
    session = alice.call()
    world.settle()
    pbx.reply(pbx.last_request("INVITE"), 200, ANSWER, headers=[("Allow", "INVITE, UPDATE")])
    before = pbx.last_request("INVITE").headers.contact
    reconnect(alice, pbx)
    assert session.established
    update = pbx.last_request("UPDATE")
    assert update.headers.contact is not None
    assert update.headers.contact != before
    assert update.body == b""
    pbx.reply(update, 200)
    session.hang_up(now=world.now)
    alice.pump()
    world.settle()
    assert pbx.last_request("BYE").headers.via.port == update.headers.via.port


def test_a_peer_without_update_is_told_by_a_silent_reinvite(
    alice: Phone, pbx: Script, world: World
) -> None:
    answered(alice, pbx)
    reconnect(alice, pbx)
    invite = pbx.last_request("INVITE")
    assert invite.body == OFFER.data
    pbx.reply(invite, 200, ANSWER)
    assert len(pbx.requests("ACK")) == 1
    assert len(alice.all(SessionAnswered)) == 1
    assert [type(event) for event in alice.events].count(SessionEnded) == 0


def test_a_bye_that_was_cut_off_is_sent_on_the_next_flow(
    alice: Phone, pbx: Script, world: World
) -> None:
    session = answered(alice, pbx)
    session.hang_up(now=world.now)
    alice.pump()
    reconnect(alice, pbx)
    assert_busy(alice)
    pbx.reply(pbx.last_request("BYE"), 200)
    assert not alice.agent.busy
    assert ended(alice) == (200, False)


def test_a_hang_up_without_a_flow_waits_for_one_but_not_for_ever(
    alice: Phone, pbx: Script, world: World
) -> None:
    session = answered(alice, pbx)
    assert pbx.link is not None
    pbx.link.cut()
    world.settle()
    session.hang_up(now=world.now)
    alice.pump()
    assert ended(alice) == (200, False)
    world.run(40)
    assert not alice.agent.busy
    pbx.inbox.clear()
    world.link(alice, pbx)
    world.settle()
    assert pbx.inbox == []


def test_an_answer_goes_on_being_repeated_over_the_next_flow(
    alice: Phone, pbx: Script, world: World
) -> None:
    pbx.request("INVITE", body=OFFER, headers=[("Allow", "UPDATE")])
    session = alice.incoming()
    session.answer(ANSWER, now=world.now)
    alice.pump()
    world.settle()
    reconnect(alice, pbx)
    world.run(5)
    assert pbx.last_response("INVITE").status == 200
    acknowledge(pbx, session)
    assert alice.last(SessionConfirmed)
    assert pbx.last_request("UPDATE").headers.contact is not None


def test_a_repeated_2xx_on_the_next_flow_is_acknowledged_there(
    alice: Phone, pbx: Script, world: World
) -> None:
    answered(alice, pbx)
    invite = pbx.last_request("INVITE")
    reconnect(alice, pbx)
    pbx.reply(invite, 200, ANSWER)
    ack = pbx.last_request("ACK")
    assert pbx.link is not None
    assert ack.headers.via.port != invite.headers.via.port
