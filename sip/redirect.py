"""Where a 3xx sends our INVITE (RFC 3261 §8.1.3.4, §21.3).

Followed only where the trunk's settings say so, and then never away from the trunk: the host of a
Contact must be one of the trunk's, whatever its port, and the request goes over our own flow. A
call that is sent elsewhere may cost money or carry our credentials to a stranger.
"""

import re
from collections.abc import Callable
from dataclasses import replace

from sip.errors import RemoteError
from sip.message import Response
from sip.uri import NameAddr, Uri

# Places that are tried for one call, the first not counted; more is a loop or a hunt.
MAX_REDIRECTS = 5

# 305 and 380 ask for what we do not do: another proxy, another service.
_FOLLOWED = (300, 301, 302)

_QVALUE = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")


class Redirects:
    """The places that remain to be tried for one call.

    Args:
        is_ours: whether a host, in lower case, is the trunk's.
        tried: where the call went first.
    """

    def __init__(self, is_ours: Callable[[str], bool], tried: Uri) -> None:
        self._is_ours = is_ours
        self._tried = {_place(tried)}
        self._waiting: list[Uri] = []
        self._count = 0

    def add(self, response: Response) -> None:
        """Take the Contacts of a 3xx; they come before those of an earlier one."""
        if response.status in _FOLLOWED:
            # What a URI would write into a request is not for a peer to say (§19.1.5).
            uris = [replace(contact.uri, headers=None) for contact in contacts_of(response)]
            self._waiting[:0] = [uri for uri in uris if self._may_follow(uri)]

    def next(self) -> Uri | None:
        """Return the next place, None when there is none or enough were tried."""
        while self._waiting and self._count < MAX_REDIRECTS:
            uri = self._waiting.pop(0)
            if _place(uri) not in self._tried:
                self._tried.add(_place(uri))
                self._count += 1
                return uri
        return None

    def _may_follow(self, uri: Uri) -> bool:
        return uri.scheme in ("sip", "sips") and self._is_ours(uri.host.lower())


def contacts_of(response: Response) -> tuple[NameAddr, ...]:
    """Return the Contacts of a 3xx, the best first (§20.10); none if they are unreadable."""
    if not 300 <= response.status < 400:
        return ()
    try:
        contacts = response.headers.contacts
    except RemoteError:
        return ()
    return tuple(sorted(contacts, key=_preference, reverse=True))


def _preference(contact: NameAddr) -> float:
    value = contact.parameters.get("q") or "1"
    return float(value) if _QVALUE.fullmatch(value) else 0.0


def _place(uri: Uri) -> tuple[str | None, str]:
    return uri.user, uri.host.lower()
