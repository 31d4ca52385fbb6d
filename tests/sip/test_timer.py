"""Negotiation of the session timer alone; with a session around it, see test_change."""

import pytest

from sip.errors import RemoteError
from sip.headers import Headers
from sip.message import Request, Response
from sip.timer import INTERVAL, SessionTimer, check_interval
from sip.uri import Uri


def request(**headers: str) -> Request:
    fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return Request("INVITE", Uri.parse("sip:a@b"), Headers(fields))


def response(expires: str | None = None) -> Response:
    return Response(200, "OK", Headers([] if expires is None else [("Session-Expires", expires)]))


def test_the_first_offer_leaves_the_refresher_open() -> None:
    assert SessionTimer().offer() == [("Session-Expires", str(INTERVAL)), ("Min-SE", "90")]


@pytest.mark.parametrize(
    ("expires", "refresh_at", "expire_at"),
    [
        ("1800;refresher=uac", 900.0, 1768.0),
        ("90;refresher=uac", 45.0, 60.0),
        ("90;refresher=uas", None, 60.0),
        ("90", 45.0, 60.0),
        ("nonsense", None, None),
        (None, None, None),
    ],
)
def test_deadlines_follow_what_the_answer_grants(
    expires: str | None, refresh_at: float | None, expire_at: float | None
) -> None:
    timer = SessionTimer()
    timer.accepted(response(expires), 0.0)
    assert (timer.refresh_at, timer.expire_at) == (refresh_at, expire_at)
    assert timer.deadline == (refresh_at or expire_at)


def test_an_agreement_is_offered_again_with_the_same_roles() -> None:
    timer = SessionTimer()
    timer.accepted(response("90;refresher=uas"), 0.0)
    assert timer.offer()[0] == ("Session-Expires", "90;refresher=uas")


def test_whoever_refreshes_goes_on_unless_the_peer_says_otherwise() -> None:
    timer = SessionTimer()
    timer.accepted(response("600;refresher=uac"), 0.0)
    wish = {"Session_Expires": "600", "Supported": "timer"}
    assert timer.accept(request(**wish), 10.0) == [("Session-Expires", "600;refresher=uas")]
    assert timer.refresh_at == 310.0
    wish["Session_Expires"] = "600;refresher=uac"
    headers = timer.accept(request(**wish), 20.0)
    assert headers == [("Session-Expires", "600;refresher=uac"), ("Require", "timer")]
    assert timer.refresh_at is None


@pytest.mark.parametrize(
    ("supported", "asked", "refresher", "required"),
    [  # RFC 4028 §9, table 2; the second row is one that no caller may send
        (False, None, "uas", False),
        (False, "uac", "uas", False),
        (False, "uas", "uas", False),
        (True, None, "uac", True),
        (True, "uac", "uac", True),
        (True, "uas", "uas", False),
    ],
)
def test_the_callee_chooses_the_refresher_as_the_table_says(
    supported: bool, asked: str | None, refresher: str, required: bool
) -> None:
    timer = SessionTimer()
    expires = "600" + ("" if asked is None else f";refresher={asked}")
    wish = {"Session_Expires": expires} | ({"Supported": "timer"} if supported else {})
    told = dict(timer.accept(request(**wish), 0.0))
    assert told["Session-Expires"] == f"600;refresher={refresher}"
    assert ("Require" in told) is required
    assert timer.refresh_at == (300.0 if refresher == "uas" else None)
    assert timer.expire_at == 568.0


def test_a_request_that_says_nothing_keeps_the_interval() -> None:
    timer = SessionTimer()
    timer.accept(request(Session_Expires="120;refresher=uac", Supported="timer"), 0.0)
    headers = timer.accept(request(Supported="timer"), 10.0)
    assert headers == [("Session-Expires", "120;refresher=uas")]


def test_a_least_interval_once_told_binds_our_refreshes() -> None:
    timer = SessionTimer()
    wish = {"Session_Expires": "1800", "Min_SE": "1900", "Supported": "timer"}
    timer.accept(request(**wish), 0.0)
    assert timer.offer() == [("Session-Expires", "1900;refresher=uas"), ("Min-SE", "1900")]


def test_a_422_is_followed_a_few_times_and_no_more() -> None:
    timer = SessionTimer()
    followed = 0
    while timer.too_small(Response(422, "", Headers([("Min-SE", str(INTERVAL + 1 + followed))]))):
        followed += 1
    assert followed == 4


def test_however_short_the_interval_we_do_not_refresh_all_the_time() -> None:
    timer = SessionTimer()
    timer.accepted(response("1;refresher=uac"), 0.0)
    assert timer.refresh_at == 10.0


def test_an_insertion_of_ours_respects_the_peers_least() -> None:
    headers = SessionTimer().accept(request(Supported="timer", Min_SE="7200"), 0.0)
    assert headers == [("Session-Expires", "7200;refresher=uas")]


def test_a_peer_that_drops_the_timer_is_believed() -> None:
    timer = SessionTimer()
    timer.accepted(response("90;refresher=uas"), 0.0)
    assert timer.accept(request(), 10.0) == []
    assert timer.deadline is None


def test_only_the_refresher_postpones() -> None:
    timer = SessionTimer()
    timer.accepted(response("80;refresher=uas"), 0.0)
    timer.postpone(5.0)
    assert timer.refresh_at is None
    timer.accepted(response("80;refresher=uac"), 0.0)
    timer.postpone(5.0)
    assert timer.refresh_at == 15.0


def test_an_interval_below_the_least_is_422_for_those_who_understand() -> None:
    with pytest.raises(RemoteError) as caught:
        check_interval(request(Session_Expires="89", Supported="timer"))
    assert caught.value.status == 422
    check_interval(request(Session_Expires="89"))
    check_interval(request(Session_Expires="90", Supported="timer"))
