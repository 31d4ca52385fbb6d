"""What we say of ourselves, and where."""

import pytest

from sip.headers import Headers
from sip.identity import read_identity
from sip.presentation import ACCOUNT, Presentation, present
from sip.trunk import CallerId, Trunk


def trunk(caller_id: CallerId = CallerId.PREFERRED, name: str | None = "Us") -> Trunk:
    return Trunk("home", "example.net", "account", "secret", display_name=name, caller_id=caller_id)


@pytest.mark.parametrize("form", CallerId)
def test_the_account_is_shown_by_itself(form: CallerId) -> None:
    sender, told = present(trunk(form), ACCOUNT)
    assert (str(sender), told) == ('"Us" <sip:account@example.net>', [])
    assert present(trunk(form), Presentation("account")) == (sender, [])


NUMBER = '"Ann" <sip:+4930111222@example.net>'
FROM_ACCOUNT = '"Ann" <sip:account@example.net>'
FROM_NOBODY = '"Anonymous" <sip:anonymous@anonymous.invalid>'
FROM_HIDDEN = '"Anonymous" <sip:account@example.net>'
PRIVACY = ("Privacy", "id")


@pytest.mark.parametrize(
    ("form", "withheld", "sender", "told"),
    [
        (CallerId.FROM, False, NUMBER, []),
        (CallerId.PREFERRED, False, FROM_ACCOUNT, [("P-Preferred-Identity", NUMBER)]),
        (CallerId.ASSERTED, False, FROM_ACCOUNT, [("P-Asserted-Identity", NUMBER)]),
        (
            CallerId.REMOTE_PARTY,
            False,
            FROM_ACCOUNT,
            [("Remote-Party-ID", f"{NUMBER};party=calling;privacy=off")],
        ),
        (CallerId.FROM, True, FROM_NOBODY, [("P-Preferred-Identity", NUMBER), PRIVACY]),
        (CallerId.PREFERRED, True, FROM_NOBODY, [("P-Preferred-Identity", NUMBER), PRIVACY]),
        (CallerId.ASSERTED, True, FROM_HIDDEN, [("P-Asserted-Identity", NUMBER), PRIVACY]),
        (
            CallerId.REMOTE_PARTY,
            True,
            FROM_HIDDEN,
            [("Remote-Party-ID", f"{NUMBER};party=calling;privacy=full"), PRIVACY],
        ),
    ],
)
def test_a_number_is_told_where_the_trunk_wants_it(
    form: CallerId, withheld: bool, sender: str, told: list[tuple[str, str]]
) -> None:
    written, headers = present(trunk(form), Presentation("+4930111222", "Ann", withheld))
    assert (str(written), headers) == (sender, told)


def test_an_anonymous_account_still_tells_the_trunk_who_calls() -> None:
    sender, told = present(trunk(name=None), Presentation(withheld=True))
    assert str(sender) == FROM_NOBODY
    assert told == [("P-Preferred-Identity", "<sip:account@example.net>"), PRIVACY]


def test_a_name_may_be_left_out() -> None:
    sender, _ = present(trunk(), Presentation(display_name=""))
    assert str(sender) == "<sip:account@example.net>"


@pytest.mark.parametrize("form", CallerId)
def test_what_we_withhold_we_would_not_show_ourselves(form: CallerId) -> None:
    sender, told = present(trunk(form), Presentation("+4930111222", "Ann", withheld=True))
    headers = Headers([("From", str(sender)), *told])
    for trusted in (True, False):
        identity = read_identity(headers, trusted=trusted)
        assert identity.withheld
        assert identity.address is None


@pytest.mark.parametrize("form", [CallerId.FROM, CallerId.ASSERTED, CallerId.REMOTE_PARTY])
def test_what_we_show_is_what_a_trusting_peer_reads(form: CallerId) -> None:
    sender, told = present(trunk(form), Presentation("+4930111222", 'Ann "A"'))
    identity = read_identity(Headers([("From", str(sender)), *told]), trusted=True)
    assert identity.address is not None
    assert identity.address.uri.user == "+4930111222"
    assert identity.address.display_name == 'Ann "A"'
