"""What we say of ourselves to those we call or write to (RFC 3261 §20.20, RFC 3323, RFC 3325).

A trunk is one account, but may carry many numbers; which of them a call shows is up to the call,
and where it has to be written is up to the trunk:

    CallerId        From                          and beside it
    FROM            the number                    nothing
    PREFERRED       the account                   P-Preferred-Identity: the number (RFC 3325 §9.2)
    ASSERTED        the account                   P-Asserted-Identity: the number
    REMOTE_PARTY    the account                   Remote-Party-ID: the number

Most PBXs know an account by the From of its requests and refuse one that they do not know, so the
number goes beside it by default, where who does not know the field does not see it either.

A call that shows nothing asks for it (`Privacy: id`) and has an anonymous From, so that a proxy
that only passes the request on does not give us away. Toward a PBX that we tell by ASSERTED or
REMOTE_PARTY the account stays in From, for the reason above: that PBX is the one to remove it.
"""

from dataclasses import dataclass, replace

from sip.trunk import CallerId, Trunk
from sip.uri import NameAddr, Uri

# RFC 3323 §4.1.1.3.
ANONYMOUS = NameAddr(Uri("sip", "anonymous", "anonymous.invalid"), "Anonymous")


@dataclass(frozen=True, slots=True)
class Presentation:
    """What the other side is to see of us.

    Attributes:
        user: user part of our address at the trunk's domain, mostly a number; None is the account.
        display_name: None is the trunk's.
        withheld: show nothing of it. The trunk still learns who calls.
    """

    user: str | None = None
    display_name: str | None = None
    withheld: bool = False


# What a trunk shows of us by itself.
ACCOUNT = Presentation()


def shown(trunk: Trunk, presentation: Presentation) -> NameAddr:
    """Return the address by which the other side is to know us."""
    if presentation.withheld:
        return ANONYMOUS
    return _address(trunk, presentation)


def present(trunk: Trunk, presentation: Presentation) -> tuple[NameAddr, list[tuple[str, str]]]:
    """Return the From of a request, without its tag, and the header fields that go with it."""
    address = _address(trunk, presentation)
    account = Uri("sip", trunk.username, trunk.domain)
    if not presentation.withheld:
        if trunk.caller_id is CallerId.FROM or address.uri == account:
            return address, []
        told = [_told(trunk.caller_id, address, withheld=False)]
        return replace(address, uri=account), told
    told = [_told(trunk.caller_id, address, withheld=True), ("Privacy", "id")]
    if trunk.caller_id in (CallerId.ASSERTED, CallerId.REMOTE_PARTY):
        return NameAddr(account, ANONYMOUS.display_name), told
    return ANONYMOUS, told


def _address(trunk: Trunk, presentation: Presentation) -> NameAddr:
    name = presentation.display_name
    user = trunk.username if presentation.user is None else presentation.user
    return NameAddr(
        Uri("sip", user, trunk.domain), (trunk.display_name or "") if name is None else name
    )


def _told(form: CallerId, address: NameAddr, *, withheld: bool) -> tuple[str, str]:
    match form:
        case CallerId.ASSERTED:
            return "P-Asserted-Identity", str(address)
        case CallerId.REMOTE_PARTY:
            privacy = "full" if withheld else "off"
            return "Remote-Party-ID", f"{address};party=calling;privacy={privacy}"
        case _:
            return "P-Preferred-Identity", str(address)
