"""ICE candidates: the value, its text (RFC 8839 §5.1), priority and foundation (RFC 8445 §5.1.1.3,
§5.1.2).

Reading is tolerant where clients differ (transport in capitals, `generation`, `ufrag`, `network-id`
and other extensions, an `a=` in front) and total: any text gives a `Candidate` or a `ValueError`.
Whether it is of use to us is a second question, `usable`: TCP, `.local` names (RFC 8828) and
link-local addresses of IPv6 are not. Whether it is of use to one of our addresses is a third,
`may_be_named`.
"""

import ipaddress
import re
import zlib
from dataclasses import dataclass
from typing import Self

# RFC 8445 §5.1.2.2; what is nearest comes first.
TYPE_PREFERENCES = {"host": 126, "prflx": 110, "srflx": 100, "relay": 0}

_BROADCAST = "255.255.255.255"
_TOKEN = re.compile(r"[\x21-\x7e]+")
_FOUNDATION = re.compile(r"[A-Za-z0-9+/]{1,32}")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A transport address that may be tried (RFC 8839 §5.1).

    Attributes:
        component: 1; other components exist only without rtcp-mux.
        transport: in lower case, `udp` or `tcp`.
        type: `host`, `srflx`, `prflx` or `relay`.
        related: address and port of the base, for reflexive and relayed candidates.
        ufrag: of the generation it belongs to, when the peer says so.
    """

    foundation: str
    component: int
    transport: str
    priority: int
    address: str
    port: int
    type: str
    related: tuple[str, int] | None = None
    tcptype: str | None = None
    ufrag: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the value of a candidate attribute, with or without `a=candidate:`; `ValueError` if
        it is none."""
        words = text.strip().removeprefix("a=").removeprefix("candidate:").split(" ")
        if len(words) < 8 or words[6].lower() != "typ" or not all(map(_TOKEN.fullmatch, words)):
            raise ValueError("not a candidate attribute")
        foundation, component, transport, priority, address, port, _, kind = words[:8]
        if not _FOUNDATION.fullmatch(foundation):
            raise ValueError("bad foundation")
        if kind.lower() not in TYPE_PREFERENCES:
            raise ValueError("unknown type of candidate")
        # An odd word at the end is nobody's value; an extension's name may repeat, then the first
        # one holds.
        extensions = dict(reversed(list(zip(words[8::2], words[9::2], strict=False))))
        related = None
        if "raddr" in extensions and "rport" in extensions:
            related = extensions["raddr"], _number(extensions["rport"], 65535)
        return cls(
            foundation=foundation,
            component=_number(component, 256),
            transport=transport.lower(),
            priority=_number(priority, 2**32 - 1),
            address=_canonical(address),
            port=_number(port, 65535),
            type=kind.lower(),
            related=related,
            tcptype=extensions.get("tcptype"),
            ufrag=extensions.get("ufrag"),
        )

    @property
    def usable(self) -> bool:
        """Whether there is sense in trying it: UDP, RTP's component, an address that means
        something here."""
        if self.transport != "udp" or self.component != 1 or not self.port:
            return False
        try:
            address = ipaddress.ip_address(self.address)
        except ValueError:
            return False  # a `.local` name (RFC 8828), or any other
        if address.is_unspecified or address.is_multicast or self.address == _BROADCAST:
            return False
        if isinstance(address, ipaddress.IPv4Address):
            return True
        # What stands in for an address of IPv4 could be any of ours; a zone is nobody else's.
        return not (address.is_link_local or address.ipv4_mapped or address.scope_id)

    def __str__(self) -> str:
        """The attribute's value as `m.call.candidates` and SDP carry it: `candidate:…`, without
        `a=`."""
        text = (
            f"candidate:{self.foundation} {self.component} {self.transport} {self.priority} "
            f"{self.address} {self.port} typ {self.type}"
        )
        if self.related is not None:
            text += f" raddr {self.related[0]} rport {self.related[1]}"
        if self.tcptype is not None:
            text += f" tcptype {self.tcptype}"
        if self.ufrag is not None:
            text += f" ufrag {self.ufrag}"
        return text


def priority(kind: str, local_preference: int, component: int = 1) -> int:
    """The candidate's priority by the recommended formula (RFC 8445 §5.1.2.1)."""
    return (TYPE_PREFERENCES[kind] << 24) + (local_preference << 8) + (256 - component)


def pair_priority(controlling: int, controlled: int) -> int:
    """The pair's priority from those of its candidates by role (RFC 8445 §6.1.2.3)."""
    return (
        (min(controlling, controlled) << 32)
        + 2 * max(controlling, controlled)
        + (controlling > controlled)
    )


def foundation(kind: str, base: str, server: str = "", transport: str = "udp") -> str:
    """Equal for candidates of the same type, base address, server and transport (RFC 8445
    §5.1.1.3)."""
    return str(zlib.crc32(f"{kind} {base} {server} {transport}".encode()))


def may_be_named(ours: str, theirs: str) -> bool:
    """Whether a packet from one of our addresses may go to this one on a stranger's word: the
    family is the same, and neither our own machine is meant nor our link (RFC 3927), unless that is
    where we are. The kernel would not mind, and services there trust whoever reaches them."""
    a, b = ipaddress.ip_address(ours), ipaddress.ip_address(theirs)
    if a.version != b.version:
        return False
    return (a.is_loopback or not b.is_loopback) and (a.is_link_local or not b.is_link_local)


def _number(text: str, limit: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise ValueError("not a number in candidate")
    value = int(text)
    if value > limit:
        raise ValueError("number out of range in candidate")
    return value


def _canonical(address: str) -> str:
    """Addresses are compared as text with what the socket says, so they get the one spelling it
    uses."""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address
