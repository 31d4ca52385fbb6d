"""What a registrar knows of our flow, and what we may know from its answer (RFC 5626, RFC 3327,
RFC 3608, RFC 6223, RFC 3581).

A contact with an instance and a flow number survives a new connection: the registrar puts the new
flow in the place of the old one. A registrar that knows nothing of it ignores the parameters, and
one whose first hop knows nothing says 439. Everything in an answer is read tolerantly, since
registrars list other phones, rewrite what we wrote, and leave out what they do not care for.
"""

import re
from collections.abc import Sequence

from sip import grammar
from sip.errors import RemoteError
from sip.headers import Headers, Via
from sip.message import Response
from sip.uri import NameAddr, Uri

# No registrar means it when it grants more than a week.
MAX_EXPIRES = 7 * 86_400

# Proxies between registrar and us: a longer path would not fit into a message with its call.
MAX_ROUTES = 8

# We open one flow at a time (RFC 5626 §4.2 lets an instance have several).
_REG_ID = "1"

_NUMBER = re.compile(r"[0-9]{1,10}")


def with_instance(contact: NameAddr, instance: str) -> NameAddr:
    """Name the instance and the flow in a Contact (RFC 5626 §4.1).

    Args:
        instance: a URN, such as "urn:uuid:…".
    """
    parameters = contact.parameters.with_("+sip.instance", grammar.quote(f"<{instance}>"))
    return NameAddr(contact.uri, contact.display_name, parameters.with_("reg-id", _REG_ID))


def granted(asked: int, ours: NameAddr, response: Response) -> int:
    """Return the lifetime of our binding in seconds, among all that the registrar lists (RFC 3261
    §10.2.4); 0 if it grants none.

    Args:
        asked: what holds where the answer says nothing.
        ours: the Contact that we sent.
    """
    try:
        found = _find(ours, response.headers.contacts)
    except RemoteError:
        found = None
    said = None if found is None else found.parameters.get("expires")
    if said is None or _NUMBER.fullmatch(said) is None:
        said = response.headers.get("Expires") or ""
    expires = int(said) if _NUMBER.fullmatch(said) else asked
    return min(expires, MAX_EXPIRES)


def lists(response: Response, contact: NameAddr) -> bool:
    """Whether a binding still stands in a registrar's answer."""
    try:
        return any(_same_place(other.uri, contact.uri) for other in response.headers.contacts)
    except RemoteError:
        return False


def ping_interval(response: Response) -> tuple[bool, int | None]:
    """Whether the registrar answers pings on this flow, and within how many seconds it wants them
    (RFC 5626 §4.4.1, RFC 6223 §4.3)."""
    headers = response.headers
    keep = _NUMBER.fullmatch(headers.via.parameters.get("keep") or "")
    if "outbound" in headers.tokens("Require"):
        timer = _NUMBER.fullmatch(headers.get("Flow-Timer") or "")
        return True, int(timer[0]) if timer else None
    return keep is not None, (int(keep[0]) or None) if keep else None


def service_route(headers: Headers) -> tuple[NameAddr, ...]:
    """The way that the registrar wants our requests to go (RFC 3608 §6.1); () if it names none, or
    one that cannot be used: each stop must be a loose router."""
    try:
        routes = [NameAddr.parse(value) for value in headers.elements("Service-Route")]
    except RemoteError:
        return ()
    loose = all("lr" in route.uri.parameters for route in routes)
    return tuple(routes) if loose and len(routes) <= MAX_ROUTES else ()


def associated(headers: Headers) -> tuple[Uri, ...]:
    """The addresses that are ours besides (P-Associated-URI, RFC 7315 §4.1)."""
    found: list[Uri] = []
    for value in headers.elements("P-Associated-URI"):
        try:
            found.append(NameAddr.parse(value).uri)
        except RemoteError:
            continue  # it is for information; the others are as good as before
    return tuple(found)


def seen_address(via: Via) -> tuple[str, int] | None:
    """Host and port that a request of ours came from, as its receiver wrote into our Via (RFC 3581
    §4); None where it is what we wrote ourselves, or is unreadable."""
    host = (via.parameters.get("received") or via.host).strip("[]")
    port = via.parameters.get("rport") or ""
    if _NUMBER.fullmatch(port) is None or not 0 < int(port) < 65536:
        return None
    if not grammar.is_address(host) or (host, int(port)) == (via.host, via.port):
        return None
    return host, int(port)


def _find(ours: NameAddr, listed: Sequence[NameAddr]) -> NameAddr | None:
    """Find our binding: by its instance, by its address, or because there is no other (registrars
    rewrite contacts to what they see)."""
    instance = ours.parameters.get("+sip.instance")
    for contact in listed:
        if instance is not None and contact.parameters.get("+sip.instance") == instance:
            return contact
    for contact in listed:
        if _same_place(contact.uri, ours.uri):
            return contact
    return listed[0] if len(listed) == 1 else None


def _same_place(one: Uri, other: Uri) -> bool:
    """Whether both are one contact; registrars change the case and drop parameters."""
    return (one.user, one.host.lower(), one.port) == (other.user, other.host.lower(), other.port)
