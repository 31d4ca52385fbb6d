"""What proves a hook, or us at an interface, where a provider has no signature of its own: user
name and password (RFC 7617), and the address that a hook comes from.
"""

import base64
import hmac
import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from bridge.road.road import Forged, Hook

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def basic(username: str, password: str) -> str:
    """The value of `Authorization` for a user name and password."""
    return f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode()}"


def login_for(url: str, login: str, *, base: str) -> dict[str, str]:
    """The header that tells a login to the host of `base`, and nothing for any other."""
    asked, ours = urlsplit(url), urlsplit(base)
    same = (asked.scheme, asked.netloc) == (ours.scheme, ours.netloc)
    return {"Authorization": login} if same else {}


def check_login(hook: Hook, username: str, password: str) -> None:
    """Compare the hook's login with ours.

    Raises:
        Forged: it is another, or none.
    """
    told = hook.headers.get("authorization", "")
    if not hmac.compare_digest(basic(username, password).encode(), told.encode()):
        raise Forged("without our user name and password")


def check_source(hook: Hook, sources: Sequence[Network]) -> None:
    """Look for the hook's address among those that the provider sends from.

    Raises:
        Forged: it is not among them.
    """
    try:
        source = ipaddress.ip_address(hook.source)
    except ValueError:
        raise Forged("from an address that cannot be read") from None
    # A listener on both families sees IPv4 as mapped into IPv6.
    mapped = getattr(source, "ipv4_mapped", None) or source
    if not any(mapped in network for network in sources):
        raise Forged("from an address that is not listed")
