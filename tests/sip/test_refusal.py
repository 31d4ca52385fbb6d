from typing import cast

import pytest

from sip.errors import LocalError
from sip.events import Reason, SipWarning
from sip.headers import Headers
from sip.message import Response
from sip.refusal import ended_by, expect_refusal, refusal_headers
from sip.session import Session


@pytest.mark.parametrize("status", [100, 180, 200, 299, 700])
def test_what_refuses_nothing_is_an_error_of_ours(status: int) -> None:
    with pytest.raises(LocalError, match=f"{status} refuses nothing"):
        expect_refusal(status)


def test_a_refusal_is_written_with_all_that_is_said_of_it() -> None:
    assert refusal_headers() == []
    warning = SipWarning(305, "no codec")
    headers = refusal_headers(Reason("Q.850", 17, "busy"), warning, retry_after=9, agent="us")
    assert headers == [
        ("Reason", 'Q.850;cause=17;text="busy"'),
        ("Warning", '305 us "no codec"'),
        ("Retry-After", "9"),
    ]


def test_a_refusal_is_read_with_all_that_is_said_of_it() -> None:
    headers = Headers(refusal_headers(Reason("SIP", 302), retry_after=9))
    headers.add("Contact", "<sip:there@pbx.example.org>")
    ended = ended_by(cast(Session, None), Response(302, "Moved", headers))
    assert (ended.status, ended.by_peer, ended.retry_after) == (302, True, 9)
    assert (ended.reason, ended.warning) == (Reason("SIP", 302), None)
    assert [contact.uri.user for contact in ended.contacts] == ["there"]
