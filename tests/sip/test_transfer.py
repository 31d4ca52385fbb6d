"""Transfers in every role, with a peer that does what the test says, and between two phones."""

from collections.abc import Iterable

import pytest

from sip.errors import LocalError
from sip.events import (
    Body,
    Event,
    IncomingSession,
    SessionAnswered,
    SessionEnded,
    TransferEnded,
    TransferProgressed,
    TransferRequested,
)
from sip.message import Request
from sip.refer import ReferTo, Replaces
from sip.session import Session
from sip.uri import NameAddr, Uri
from tests.sip.test_session import answered, taken
from tests.sip.world import ANSWER, OFFER, Link, Phone, Script, Weather, World

CAROL = Uri("sip", "carol", "example.net")


def fragment(line: str) -> Body:
    return Body("message/sipfrag;version=2.0", f"SIP/2.0 {line}\r\n".encode())


def notify(
    pbx: Script,
    session: Session,
    line: str,
    *,
    seq: int,
    state: str = "active;expires=60",
    event: str = "refer",
) -> int:
    """Send a NOTIFY about a transfer; returns the status of its answer."""
    headers = [("Event", event), ("Subscription-State", state)]
    body = fragment(line) if line else None
    pbx.within(session, "NOTIFY", seq=seq, headers=headers, body=body)
    return pbx.last_response("NOTIFY").status


def transferring(alice: Phone, pbx: Script, **options: object) -> tuple[Session, Request]:
    """A session whose peer has our REFER and has not answered it."""
    session = answered(alice, pbx)
    session.transfers.ask(CAROL, now=alice.now, **options)  # type: ignore[arg-type]
    alice.pump()
    alice.world.settle()
    return session, pbx.last_request("REFER")


def outcome(phone: Phone) -> int:
    """How the one transfer of a phone ended; fails unless that was said exactly once."""
    (event,) = phone.all(TransferEnded)
    return event.status


def refer(
    pbx: Script,
    session: Session,
    *,
    seq: int = 2,
    to: str = "<sip:carol@example.net>",
    headers: Iterable[tuple[str, str]] = (),
) -> int | None:
    """Send a REFER; returns the status of its answer, None if there is none yet."""
    before = len(pbx.responses("REFER"))
    pbx.within(session, "REFER", seq=seq, headers=[("Refer-To", to), *headers])
    found = pbx.responses("REFER")[before:]
    return found[-1].status if found else None


def accepted(alice: Phone, pbx: Script, session: Session, **options: object) -> TransferRequested:
    """A REFER of the pbx that alice has accepted; its first NOTIFY is answered."""
    refer(pbx, session, **options)  # type: ignore[arg-type]
    request = alice.last(TransferRequested)
    session.transfers.accept(now=alice.now)
    alice.pump()
    alice.world.settle()
    return request


def answer_notifies(pbx: Script) -> None:
    """Let the pbx say 200 to every NOTIFY, as it should."""

    def react(message: object) -> None:
        if isinstance(message, Request) and message.method == "NOTIFY":
            pbx.world.at(pbx.world.now, lambda: pbx.reply(message, 200))

    pbx.react = react


def told(pbx: Script) -> list[tuple[str, str]]:
    """What the pbx was notified of: state without its time, and status line."""
    return [
        (
            (n.headers.get("Subscription-State") or "").partition(";expires")[0],
            n.body.decode().strip(),
        )
        for n in pbx.requests("NOTIFY")
    ]


# --- we transfer


def test_a_blind_transfer_is_told_step_by_step_and_ends_the_session(
    alice: Phone, pbx: Script, world: World
) -> None:
    session, request = transferring(alice, pbx)
    assert request.headers.get("Refer-To") == "<sip:carol@example.net>"
    assert request.headers.get("Referred-By") == "<sip:alice@example.net>"
    assert request.headers.contact is not None
    assert {"replaces", "norefersub"} <= request.headers.tokens("Supported")
    pbx.reply(request, 202)
    assert notify(pbx, session, "100 Trying", seq=10) == 200
    assert notify(pbx, session, "180 Ringing", seq=11) == 200
    assert [event.status for event in alice.all(TransferProgressed)] == [100, 180]
    assert not session.ended
    state = "terminated;reason=noresource"
    assert notify(pbx, session, "200 OK", seq=12, state=state) == 200
    assert alice.last(TransferEnded) == TransferEnded(session, 200, "OK")
    assert alice.last(TransferEnded).succeeded
    pbx.reply(pbx.last_request("BYE"), 200)
    (over,) = alice.all(SessionEnded)
    assert (over.status, over.by_peer) == (200, False)
    assert alice.events.index(alice.last(TransferEnded)) < alice.events.index(over)
    world.run(400)
    assert outcome(alice) == 200
    assert not alice.agent.busy
    assert alice.agent.deadline() is None


@pytest.mark.parametrize("status", [403, 481, 501, 603])
def test_a_refused_refer_leaves_the_call_as_it_was(
    alice: Phone, pbx: Script, world: World, status: int
) -> None:
    session, request = transferring(alice, pbx)
    pbx.reply(request, status)
    assert outcome(alice) == status
    assert not alice.last(TransferEnded).succeeded
    world.run(400)
    assert session.established
    assert notify(pbx, session, "200 OK", seq=10) == 481
    session.transfers.ask(CAROL, now=world.now)  # and may be tried again
    alice.pump()
    world.settle()
    assert len(pbx.requests("REFER")) == 2


def test_a_failed_transfer_leaves_the_call_as_it_was(
    alice: Phone, pbx: Script, world: World
) -> None:
    session, request = transferring(alice, pbx)
    pbx.reply(request, 202)
    notify(pbx, session, "486 Busy Here", seq=10, state="terminated;reason=noresource")
    assert alice.last(TransferEnded) == TransferEnded(session, 486, "Busy Here")
    world.run(400)
    assert session.established
    assert outcome(alice) == 486


def test_a_challenged_refer_is_sent_again_and_its_number_is_the_event(
    alice: Phone, pbx: Script
) -> None:
    challenge = 'Digest realm="example.net", nonce="{}", algorithm=SHA-256, qop="auth"'
    session = alice.call()
    alice.world.settle()
    invite = pbx.last_request("INVITE")
    pbx.reply(invite, 401, headers=[("WWW-Authenticate", challenge.format(1))])
    contact = [("Contact", "<sip:pbx@example.net>")]
    pbx.reply(pbx.last_request("INVITE"), 200, ANSWER, contact=False, headers=contact)
    session.transfers.ask(CAROL, now=alice.now)
    alice.pump()
    alice.world.settle()
    request = pbx.last_request("REFER")
    stale = f"{challenge.format(2)}, stale=true"
    pbx.reply(request, 401, headers=[("WWW-Authenticate", stale)])
    again = pbx.last_request("REFER")
    assert again is not request
    assert "Authorization" in again.headers
    pbx.reply(again, 202)
    old, new = request.headers.cseq.number, again.headers.cseq.number
    assert notify(pbx, session, "180 Ringing", seq=10, event=f"refer;id={old}") == 481
    assert notify(pbx, session, "180 Ringing", seq=11, event=f"refer;id={new}") == 200


def test_a_notify_may_overtake_the_202(alice: Phone, pbx: Script, world: World) -> None:
    session, request = transferring(alice, pbx)
    assert notify(pbx, session, "100 Trying", seq=10) == 200
    state = "terminated;reason=noresource"
    assert notify(pbx, session, "200 OK", seq=11, state=state) == 200
    assert outcome(alice) == 200
    pbx.reply(request, 202)
    world.run(400)
    assert outcome(alice) == 200


def test_a_refer_whose_answer_is_lost_goes_by_its_notifies(
    alice: Phone, pbx: Script, world: World
) -> None:
    session, _ = transferring(alice, pbx)
    notify(pbx, session, "180 Ringing", seq=10)
    world.run(60)
    assert alice.all(TransferEnded) == []
    notify(pbx, session, "200 OK", seq=11, state="terminated;reason=noresource")
    assert outcome(alice) == 200


def test_a_notify_out_of_order_is_refused(alice: Phone, pbx: Script) -> None:
    session, request = transferring(alice, pbx)
    pbx.reply(request, 202)
    notify(pbx, session, "180 Ringing", seq=11)
    assert notify(pbx, session, "100 Trying", seq=10) == 500
    assert len(alice.all(TransferProgressed)) == 1


def test_a_notify_that_cannot_be_read_is_refused_and_the_next_is_taken(
    alice: Phone, pbx: Script
) -> None:
    session, request = transferring(alice, pbx)
    pbx.reply(request, 202)
    headers = [("Event", "refer"), ("Subscription-State", "active")]
    for seq, (body, status) in enumerate(
        [(Body("text/plain", b"it rings"), 415), (Body("message/sipfrag", b"it rings"), 400)], 10
    ):
        pbx.within(session, "NOTIFY", seq=seq, headers=headers, body=body)
        assert pbx.last_response().status == status
    assert notify(pbx, session, "200 OK", seq=20, event="presence") == 489
    assert notify(pbx, session, "", seq=21) == 200  # says nothing, and may
    assert notify(pbx, session, "200 OK", seq=22) == 200
    assert outcome(alice) == 200


def test_words_after_the_final_one_are_taken_and_left_alone(alice: Phone, pbx: Script) -> None:
    session, request = transferring(alice, pbx)
    pbx.reply(request, 202)
    assert notify(pbx, session, "200 OK", seq=10) == 200
    assert notify(pbx, session, "486 Busy Here", seq=11) == 200
    assert notify(pbx, session, "", seq=12, state="terminated;reason=noresource") == 200
    assert notify(pbx, session, "200 OK", seq=13) == 481
    assert outcome(alice) == 200


def test_a_peer_that_takes_over_and_tells_nothing(alice: Phone, pbx: Script) -> None:
    session, request = transferring(alice, pbx)
    pbx.reply(request, 200, headers=[("Refer-Sub", "false")])
    assert outcome(alice) == 202
    assert not alice.last(TransferEnded).succeeded
    assert session.established


def test_a_subscription_that_ends_without_an_outcome(alice: Phone, pbx: Script) -> None:
    session, request = transferring(alice, pbx)
    pbx.reply(request, 202)
    notify(pbx, session, "100 Trying", seq=10, state="terminated;reason=timeout")
    assert outcome(alice) == 202
    assert session.established


@pytest.mark.parametrize(("answered_refer", "seconds"), [(False, 33), (True, 33)])
def test_a_transfer_of_which_nothing_is_heard_ends(
    alice: Phone, pbx: Script, world: World, answered_refer: bool, seconds: float
) -> None:
    session, request = transferring(alice, pbx)
    if answered_refer:
        pbx.reply(request, 202)
    world.run(seconds)
    assert outcome(alice) == 408
    assert session.established


def test_a_phone_that_rings_for_ever_ends_the_transfer(
    alice: Phone, pbx: Script, world: World
) -> None:
    session, request = transferring(alice, pbx)
    pbx.reply(request, 202)
    notify(pbx, session, "180 Ringing", seq=10, state="active;expires=86400")
    world.run(235)
    assert alice.all(TransferEnded) == []
    world.run(10)
    assert outcome(alice) == 408
    assert session.established


def test_the_last_word_may_come_after_the_bye_of_the_peer(
    alice: Phone, pbx: Script, world: World
) -> None:
    session, request = transferring(alice, pbx)
    pbx.reply(request, 202)
    pbx.within(session, "BYE", seq=10)
    assert session.ended
    world.run(20)
    state = "terminated;reason=noresource"
    assert notify(pbx, session, "200 OK", seq=11, state=state) == 200
    assert outcome(alice) == 200
    assert pbx.requests("BYE") == []
    pbx.within(session, "UPDATE", seq=12)
    assert pbx.last_response("UPDATE").status == 481
    assert notify(pbx, session, "200 OK", seq=13) == 481
    assert len(alice.all(SessionEnded)) == 1


def test_a_peer_that_takes_over_and_hangs_up_has_done_what_we_asked(
    alice: Phone, pbx: Script, world: World
) -> None:
    session, request = transferring(alice, pbx)
    pbx.reply(request, 202)
    pbx.within(session, "BYE", seq=10)
    world.run(33)
    assert outcome(alice) == 202
    assert not alice.agent.busy


def test_only_a_transfer_is_left_of_a_session_that_is_over(alice: Phone, pbx: Script) -> None:
    session, request = transferring(alice, pbx)
    pbx.reply(request, 202)
    pbx.within(session, "BYE", seq=10)
    for seq, method in enumerate(("INFO", "UPDATE", "INVITE", "BYE", "PRACK"), 11):
        pbx.within(session, method, seq=seq)
        assert pbx.last_response(method).status == 481
    assert refer(pbx, session, seq=20) == 481


def test_a_refer_that_crosses_a_bye(alice: Phone, pbx: Script, world: World) -> None:
    session, request = transferring(alice, pbx)
    pbx.within(session, "BYE", seq=10)
    pbx.reply(request, 481)
    world.run(100)
    assert outcome(alice) == 481
    assert len(alice.all(SessionEnded)) == 1
    assert not alice.agent.busy


def test_a_transfer_that_comes_too_late_is_told_so(alice: Phone, pbx: Script) -> None:
    session = answered(alice, pbx)
    pbx.within(session, "BYE", seq=10)
    session.transfers.ask(CAROL, now=alice.now)
    alice.pump()
    assert outcome(alice) == 481
    assert pbx.requests("REFER") == []


def test_the_user_may_hang_up_while_the_other_phone_rings(
    alice: Phone, pbx: Script, world: World
) -> None:
    session, request = transferring(alice, pbx)
    pbx.reply(request, 202)
    notify(pbx, session, "180 Ringing", seq=10)
    session.hang_up(now=world.now)
    alice.pump()
    world.settle()
    pbx.reply(pbx.last_request("BYE"), 200)
    state = "terminated;reason=noresource"
    assert notify(pbx, session, "200 OK", seq=11, state=state) == 200
    assert outcome(alice) == 200
    assert len(pbx.requests("BYE")) == 1


def test_a_flow_that_is_lost_under_the_refer(alice: Phone, pbx: Script, world: World) -> None:
    session, _ = transferring(alice, pbx)
    link = pbx.link
    assert isinstance(link, Link)
    link.cut()
    world.settle()
    assert outcome(alice) == 503
    assert not session.ended


def test_a_flow_that_is_lost_after_the_202(alice: Phone, pbx: Script, world: World) -> None:
    session, request = transferring(alice, pbx)
    pbx.reply(request, 202)
    assert pbx.link is not None
    pbx.link.cut()
    world.settle()
    world.link(alice, pbx)
    state = "terminated;reason=noresource"
    assert notify(pbx, session, "200 OK", seq=10, state=state) == 200
    assert outcome(alice) == 200


def test_an_attended_transfer_names_the_other_dialog_as_its_peer_sees_it(
    alice: Phone, pbx: Script, world: World
) -> None:
    session = answered(alice, pbx)
    consultation = alice.call("carol")
    world.settle()
    pbx.reply(pbx.last_request("INVITE"), 200, ANSWER, tag="carol-tag")
    session.transfers.ask(now=world.now, replaces=consultation)
    alice.pump()
    world.settle()
    request = pbx.last_request("REFER")
    refer_to = ReferTo.of(request.headers)
    assert str(refer_to.target) == "sip:pbx@192.0.2.9:5061;transport=tls"
    assert refer_to.replaces == Replaces(
        consultation.call_id,
        to_tag=consultation.remote_tag or "",
        from_tag=consultation.local_tag,
    )
    pbx.reply(request, 202)
    notify(pbx, session, "200 OK", seq=10, state="terminated;reason=noresource")
    assert outcome(alice) == 200
    assert {bye.headers.call_id for bye in pbx.requests("BYE")} == {
        session.call_id,
        consultation.call_id,
    }
    assert len(alice.all(SessionEnded)) == 2


def test_a_failed_attended_transfer_leaves_both_calls(
    alice: Phone, pbx: Script, world: World
) -> None:
    session = answered(alice, pbx)
    consultation = alice.call("carol")
    world.settle()
    pbx.reply(pbx.last_request("INVITE"), 200, ANSWER, tag="carol-tag")
    session.transfers.ask(CAROL, now=world.now, replaces=consultation)
    alice.pump()
    world.settle()
    assert (pbx.last_request("REFER").headers.get("Refer-To") or "").startswith("<sip:carol@")
    pbx.reply(pbx.last_request("REFER"), 603)
    assert session.established
    assert consultation.established


def test_what_cannot_be_transferred_is_an_error_of_ours(
    alice: Phone, pbx: Script, world: World
) -> None:
    ringing = alice.call()
    with pytest.raises(LocalError, match="not established"):
        ringing.transfers.ask(CAROL, now=world.now)
    session, _ = transferring(alice, pbx)
    with pytest.raises(LocalError, match="under way"):
        session.transfers.ask(CAROL, now=world.now)
    other = answered(alice, pbx)
    with pytest.raises(LocalError, match="target"):
        other.transfers.ask(now=world.now)
    with pytest.raises(LocalError, match="not established"):
        other.transfers.ask(now=world.now, replaces=ringing)
    with pytest.raises(LocalError, match="other"):
        other.transfers.ask(now=world.now, replaces=other)


# --- we are transferred


def test_a_transfer_is_asked_of_the_user_and_its_progress_told(
    alice: Phone, pbx: Script, world: World
) -> None:
    answer_notifies(pbx)
    session = taken(alice, pbx)
    assert refer(pbx, session, headers=[("Referred-By", "<sip:boss@pbx.example>")]) is None
    request = alice.last(TransferRequested)
    assert (request.session, request.target, request.replaces) == (session, CAROL, None)
    session.transfers.accept(now=world.now)
    alice.pump()
    world.settle()
    assert pbx.last_response("REFER").status == 202
    assert pbx.last_response("REFER").headers.contact is not None
    assert told(pbx) == [("active", "SIP/2.0 100 Trying")]
    assert pbx.last_request("NOTIFY").headers.get("Event") == "refer"
    call = alice.agent.invite(
        request.target,
        OFFER,
        now=world.now,
        referred_by=request.referred_by,
        replaces=request.replaces,
        transferor=session,
    )
    alice.pump()
    world.settle()
    invite = pbx.last_request("INVITE")
    assert invite.headers.get("Referred-By") == "<sip:boss@pbx.example>"
    assert "Replaces" not in invite.headers
    pbx.reply(invite, 180)
    pbx.reply(invite, 200, ANSWER)
    assert told(pbx)[1:] == [
        ("active", "SIP/2.0 180 Ringing"),
        ("terminated;reason=noresource", "SIP/2.0 200 OK"),
    ]
    assert call.established
    pbx.within(session, "BYE", seq=3)
    assert [event.session for event in alice.all(SessionEnded)] == [session]
    world.run(500)
    assert len(told(pbx)) == 3


def test_an_attended_transfer_brings_replaces_to_the_target(
    alice: Phone, pbx: Script, world: World
) -> None:
    session = taken(alice, pbx)
    to = "<sip:carol@192.0.2.7?Replaces=c1%40x%3Bto-tag%3Dt%3Bfrom-tag%3Df>"
    request = accepted(alice, pbx, session, to=to)
    alice.agent.invite(
        request.target, OFFER, now=world.now, replaces=request.replaces, transferor=session
    )
    alice.pump()
    world.settle()
    invite = pbx.last_request("INVITE")
    assert invite.headers.get("Replaces") == "c1@x;to-tag=t;from-tag=f"
    assert invite.headers.tokens("Require") == {"replaces"}


@pytest.mark.parametrize("how", ["busy", "hang up", "lost flow"])
def test_a_call_that_fails_is_told_to_the_transferor(
    alice: Phone, pbx: Script, world: World, how: str
) -> None:
    answer_notifies(pbx)
    session = taken(alice, pbx)
    accepted(alice, pbx, session)
    call = alice.agent.invite(CAROL, OFFER, now=world.now, transferor=session)
    alice.pump()
    world.settle()
    invite = pbx.last_request("INVITE")
    if how == "busy":
        pbx.reply(invite, 486)
    elif how == "hang up":
        pbx.reply(invite, 180)
        call.hang_up(now=world.now)
        alice.pump()
        world.settle()
        pbx.reply(invite, 487)
    else:
        assert pbx.link is not None
        pbx.link.cut()
        world.settle()
        world.link(alice, pbx)
        world.settle()
    expected = {
        "busy": "486 Busy Here",
        "hang up": "487 Request Terminated",
        "lost flow": "503 connection lost",
    }[how]
    assert told(pbx)[-1] == ("terminated;reason=noresource", f"SIP/2.0 {expected}")
    assert session.established
    final = [line for state, line in told(pbx) if state.startswith("terminated")]
    assert len(final) == 1


def test_a_refused_transfer_leaves_the_call_as_it_was(alice: Phone, pbx: Script) -> None:
    session = taken(alice, pbx)
    assert refer(pbx, session) is None
    session.transfers.decline(now=alice.now)
    alice.pump()
    alice.world.settle()
    assert pbx.last_response("REFER").status == 603
    session.transfers.accept(now=alice.now)  # too late
    alice.pump()
    assert pbx.requests("NOTIFY") == []
    assert session.established
    with pytest.raises(LocalError):
        session.transfers.decline(200, now=alice.now)


def test_a_user_who_does_not_decide_declines(alice: Phone, pbx: Script, world: World) -> None:
    session = taken(alice, pbx)
    refer(pbx, session)
    world.run(17)
    assert pbx.last_response("REFER").status == 603
    assert session.established


def test_a_bye_withdraws_the_question(alice: Phone, pbx: Script) -> None:
    session = taken(alice, pbx)
    refer(pbx, session)
    pbx.within(session, "BYE", seq=3)
    assert pbx.last_response("REFER").status == 487
    session.transfers.accept(now=alice.now)
    alice.pump()
    assert pbx.requests("NOTIFY") == []


@pytest.mark.parametrize(
    ("to", "status"),
    [
        ("<mailto:carol@example.net>", 416),
        ("<sip:carol@example.net;method=SUBSCRIBE>", 603),
        ("<sip:a@b>, <sip:c@d>", 400),
    ],
)
def test_what_we_cannot_be_asked_is_refused_without_asking(
    alice: Phone, pbx: Script, to: str, status: int
) -> None:
    session = taken(alice, pbx)
    assert refer(pbx, session, to=to) == status
    assert alice.all(TransferRequested) == []


def test_one_transfer_at_a_time(alice: Phone, pbx: Script) -> None:
    session = taken(alice, pbx)
    refer(pbx, session)
    assert refer(pbx, session, seq=3) == 491
    session.transfers.decline(now=alice.now)
    alice.pump()
    alice.world.settle()
    assert refer(pbx, session, seq=4) is None
    assert len(alice.all(TransferRequested)) == 2


def test_the_notifies_of_a_second_transfer_carry_its_number(alice: Phone, pbx: Script) -> None:
    session = taken(alice, pbx)
    refer(pbx, session)
    session.transfers.decline(now=alice.now)
    alice.pump()
    accepted(alice, pbx, session, seq=7)
    assert pbx.last_request("NOTIFY").headers.get("Event") == "refer;id=7"


def test_a_refer_outside_of_our_calls_is_forbidden(alice: Phone, pbx: Script) -> None:
    headers = [("Refer-To", "<sip:carol@example.net>")]
    pbx.request("REFER", headers=headers)
    assert pbx.last_response().status == 403
    pbx.request("REFER", to_tag="unknown", headers=headers)
    assert pbx.last_response().status == 481


def test_a_refer_before_the_answer_is_refused(alice: Phone, pbx: Script) -> None:
    pbx.request("INVITE", body=OFFER)
    assert refer(pbx, alice.incoming()) == 481


def test_a_peer_that_wants_to_hear_nothing_hears_nothing(
    alice: Phone, pbx: Script, world: World
) -> None:
    session = taken(alice, pbx)
    accepted(
        alice, pbx, session, headers=[("Refer-Sub", "false"), ("Require", "norefersub")]
    )  # fmt: skip
    response = pbx.last_response("REFER")
    assert (response.status, response.headers.get("Refer-Sub")) == (200, "false")
    alice.agent.invite(CAROL, OFFER, now=world.now, transferor=session)
    alice.pump()
    world.settle()
    pbx.reply(pbx.last_request("INVITE"), 200, ANSWER)
    assert pbx.requests("NOTIFY") == []
    assert alice.all(SessionAnswered)


def test_the_transferor_may_hang_up_and_hears_the_rest(
    alice: Phone, pbx: Script, world: World
) -> None:
    answer_notifies(pbx)
    session = taken(alice, pbx)
    accepted(alice, pbx, session)
    pbx.within(session, "BYE", seq=3)
    assert session.ended
    alice.agent.invite(CAROL, OFFER, now=world.now, transferor=session)
    alice.pump()
    world.settle()
    pbx.reply(pbx.last_request("INVITE"), 200, ANSWER)
    assert told(pbx)[-1] == ("terminated;reason=noresource", "SIP/2.0 200 OK")
    world.run(40)
    assert len(alice.agent.sessions) == 1


def test_a_transferor_that_forgot_us_is_left_alone(alice: Phone, pbx: Script, world: World) -> None:
    session = taken(alice, pbx)
    accepted(alice, pbx, session)
    pbx.reply(pbx.last_request("NOTIFY"), 481)
    alice.agent.invite(CAROL, OFFER, now=world.now, transferor=session)
    alice.pump()
    world.settle()
    pbx.reply(pbx.last_request("INVITE"), 200, ANSWER)
    world.run(300)
    assert len(pbx.requests("NOTIFY")) == 1


def test_notifies_go_one_after_the_other_and_old_news_is_left_out(
    alice: Phone, pbx: Script, world: World
) -> None:
    session = taken(alice, pbx)
    accepted(alice, pbx, session)
    alice.agent.invite(CAROL, OFFER, now=world.now, transferor=session)
    alice.pump()
    world.settle()
    pbx.reply(pbx.last_request("INVITE"), 180)
    pbx.reply(pbx.last_request("INVITE"), 200, ANSWER)
    assert told(pbx) == [("active", "SIP/2.0 100 Trying")]
    pbx.reply(pbx.last_request("NOTIFY"), 200)
    assert told(pbx)[1:] == [("terminated;reason=noresource", "SIP/2.0 200 OK")]


def test_a_subscription_for_which_nobody_calls_runs_out(
    alice: Phone, pbx: Script, world: World
) -> None:
    answer_notifies(pbx)
    session = taken(alice, pbx)
    accepted(alice, pbx, session)
    world.run(241)
    assert told(pbx)[-1] == ("terminated;reason=timeout", "SIP/2.0 100 Trying")
    world.run(100)
    assert len(told(pbx)) == 2
    assert session.established


def test_a_transferor_that_vanished_is_not_waited_for(
    alice: Phone, pbx: Script, world: World
) -> None:
    session = taken(alice, pbx)
    accepted(alice, pbx, session)
    pbx.within(session, "BYE", seq=3)
    assert pbx.link is not None
    pbx.link.cut()
    world.run(400)
    assert not alice.agent.busy
    assert alice.agent.deadline() is None


def test_a_subscription_is_prolonged_and_ended_by_subscribe(
    alice: Phone, pbx: Script, world: World
) -> None:
    answer_notifies(pbx)
    session = taken(alice, pbx)
    event = ("Event", "refer")
    pbx.within(session, "SUBSCRIBE", seq=2, headers=[event, ("Expires", "60")])
    assert pbx.last_response("SUBSCRIBE").status == 481
    accepted(alice, pbx, session, seq=3)
    pbx.within(session, "SUBSCRIBE", seq=4, headers=[event, ("Expires", "60")])
    assert pbx.last_response("SUBSCRIBE").headers.get("Expires") == "60"
    assert (pbx.last_request("NOTIFY").headers.get("Subscription-State") or "").endswith("=60")
    pbx.within(session, "SUBSCRIBE", seq=5, headers=[("Event", "dialog")])
    assert pbx.last_response("SUBSCRIBE").status == 489
    pbx.within(session, "SUBSCRIBE", seq=6, headers=[event, ("Expires", "0")])
    assert pbx.last_response("SUBSCRIBE").status == 200
    assert told(pbx)[-1][0] == "terminated;reason=timeout"
    world.run(400)
    assert session.established


# --- we are the target


def replace_with(
    pbx: Script, session: Session, *, seq: int = 1, headers: Iterable[tuple[str, str]] = ()
) -> None:
    value = f"{session.call_id};to-tag={session.local_tag};from-tag={session.remote_tag}"
    pbx.request(
        "INVITE",
        seq=seq,
        call_id="new-call",
        from_tag="new-tag",
        body=OFFER,
        headers=[("Replaces", value), *headers],
    )


def test_an_invite_takes_the_place_of_a_session(alice: Phone, pbx: Script) -> None:
    old = taken(alice, pbx)
    more = [("Require", "replaces"), ("Referred-By", "<sip:boss@pbx.example>")]
    replace_with(pbx, old, headers=more)
    event = alice.last(IncomingSession)
    assert event.replaces is old
    assert event.referred_by == NameAddr(Uri("sip", "boss", "pbx.example"))
    assert not old.ended
    event.session.answer(ANSWER, now=alice.now)
    alice.pump()
    alice.world.settle()
    assert pbx.last_response("INVITE").status == 200
    assert pbx.last_request("BYE").headers.call_id == old.call_id
    (over,) = alice.all(SessionEnded)
    assert (over.session, over.by_peer) == (old, False)
    assert event.session.established


def test_a_refused_replacement_leaves_the_session(alice: Phone, pbx: Script) -> None:
    old = taken(alice, pbx)
    replace_with(pbx, old)
    alice.incoming().reject(486, now=alice.now)
    alice.pump()
    alice.world.settle()
    assert old.established
    assert pbx.requests("BYE") == []


def test_the_replaced_session_may_end_by_itself_meanwhile(alice: Phone, pbx: Script) -> None:
    old = taken(alice, pbx)
    replace_with(pbx, old)
    pbx.within(old, "BYE", seq=2)
    alice.incoming().answer(ANSWER, now=alice.now)
    alice.pump()
    alice.world.settle()
    assert pbx.last_response("INVITE").status == 200
    assert pbx.requests("BYE") == []
    assert len(alice.all(SessionEnded)) == 1


def test_a_call_of_ours_that_rings_may_be_replaced(alice: Phone, pbx: Script) -> None:
    old = alice.call()
    alice.world.settle()
    pbx.reply(pbx.last_request("INVITE"), 180, tag="bob-tag")
    headers = [("Replaces", f"{old.call_id};to-tag={old.local_tag};from-tag=bob-tag;early-only")]
    pbx.request("INVITE", call_id="new-call", body=OFFER, headers=headers)
    assert alice.last(IncomingSession).replaces is old
    alice.incoming().answer(ANSWER, now=alice.now)
    alice.pump()
    alice.world.settle()
    assert pbx.requests("CANCEL")
    assert [event.session for event in alice.all(SessionEnded)] == [old]


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ("pbx-call;to-tag=x;from-tag=pbx-tag", 481),
        ("other;to-tag={local};from-tag=pbx-tag", 481),
        ("pbx-call;to-tag={local};from-tag=other", 481),
        ("pbx-call;to-tag=pbx-tag;from-tag={local}", 481),
        ("pbx-call;to-tag={local};from-tag=pbx-tag;early-only", 486),
        ("pbx-call;to-tag={local}", 400),
    ],
)
def test_what_cannot_be_replaced(alice: Phone, pbx: Script, value: str, status: int) -> None:
    old = taken(alice, pbx)
    headers = [("Replaces", value.format(local=old.local_tag))]
    pbx.request("INVITE", call_id="new-call", body=OFFER, headers=headers)
    assert pbx.last_response("INVITE").status == status
    assert len(alice.all(IncomingSession)) == 1
    assert old.established


def test_more_than_one_dialog_cannot_be_replaced(alice: Phone, pbx: Script) -> None:
    old = taken(alice, pbx)
    for seq, name in enumerate(("Replaces", "Join"), 1):
        replace_with(pbx, old, seq=seq, headers=[(name, "c;to-tag=1;from-tag=2")])
        assert pbx.last_response("INVITE").status == 400
    headers = [("Replaces", "c;to-tag=1;from-tag=2")]
    pbx.request("OPTIONS", headers=headers)
    assert pbx.last_response("OPTIONS").status == 400


def test_a_call_that_we_have_not_answered_cannot_be_replaced(alice: Phone, pbx: Script) -> None:
    pbx.request("INVITE", body=OFFER)
    replace_with(pbx, alice.incoming())
    assert pbx.last_response("INVITE").status == 481


def test_a_session_that_is_just_over_is_declined(alice: Phone, pbx: Script) -> None:
    old = taken(alice, pbx)
    old.hang_up(now=alice.now)
    alice.pump()
    replace_with(pbx, old)
    assert pbx.last_response("INVITE").status == 603


# --- two phones


def transfer_between(world: World, alice: Phone, bob: Phone) -> None:
    """Alice calls Bob and sends him to somebody who answers: herself, the only one he reaches."""

    def at_bob(event: Event) -> None:
        match event:
            case IncomingSession(session=session):
                session.answer(ANSWER, now=world.now)
            case TransferRequested(session=session, target=target, referred_by=by):
                session.transfers.accept(now=world.now)
                bob.agent.invite(
                    target, OFFER, now=world.now, referred_by=by, transferor=session
                )  # fmt: skip

    def at_alice(event: Event) -> None:
        match event:
            case SessionAnswered(session=session):
                session.transfers.ask(CAROL, now=world.now)
            case IncomingSession(session=session):
                session.ring(now=world.now)
                session.answer(ANSWER, now=world.now)

    alice.react, bob.react = at_alice, at_bob
    alice.call()
    world.run(600)


@pytest.mark.parametrize("transport", ["TLS", "UDP"])
def test_two_phones_transfer(world: World, alice: Phone, bob: Phone, transport: str) -> None:
    world.link(alice, bob, transport)
    transfer_between(world, alice, bob)
    assert outcome(alice) == 200
    assert len(alice.all(SessionEnded)) == len(bob.all(SessionEnded)) == 1
    assert len(alice.agent.sessions) == len(bob.agent.sessions) == 1
    assert not alice.agent.busy
    assert not bob.agent.busy


@pytest.mark.parametrize("seed", range(12))
def test_a_transfer_over_a_bad_wire_ends_once_and_leaves_nothing(seed: int) -> None:
    world = World(seed)
    alice, bob = world.phone("alice"), world.phone("bob")
    world.link(alice, bob, "UDP", Weather(jitter=0.3, loss=0.15, duplication=0.1))
    transfer_between(world, alice, bob)
    if alice.all(SessionAnswered):
        assert len(alice.all(TransferEnded)) == 1, world.ladder()
    for phone in (alice, bob):
        told_of = [event.session.id for event in phone.all(SessionEnded)]
        assert len(told_of) == len(set(told_of))
        assert not phone.agent.busy, world.ladder()


@pytest.mark.parametrize("messages", range(4, 22))
def test_a_flow_cut_anywhere_in_a_transfer_leaves_nothing_waiting(
    world: World, alice: Phone, bob: Phone, messages: int
) -> None:
    world.link(alice, bob, weather=Weather(cut_after=messages))
    transfer_between(world, alice, bob)
    assert len(alice.all(TransferEnded)) == len(alice.all(SessionAnswered)), world.ladder()
    assert not any(
        session.ended for phone in (alice, bob) for session in phone.agent.sessions
    )  # fmt: skip
