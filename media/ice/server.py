"""STUN and TURN servers as URIs name them (RFC 7064, RFC 7065).

Homeservers hand out URIs like `turn:turn.example.org?transport=udp` (`/voip/turnServer`). The name
is resolved by whoever may wait for it; the agent gets the numeric address beside the value.
"""

from dataclasses import dataclass, field
from typing import Literal, Self

Transport = Literal["udp", "tcp", "tls"]


@dataclass(frozen=True, slots=True)
class Server:
    """One server: what it does, where it is, how it is reached.

    Attributes:
        turn: whether it relays (TURN); otherwise it only tells our reflexive address (STUN).
        host: name or address as written in the URI; with TLS, the name that its certificate must
        have.
        username, credential: long-term credentials (RFC 8489 §9.2) for TURN.
    """

    turn: bool
    host: str
    port: int
    transport: Transport
    username: str = ""
    credential: str = field(default="", repr=False)

    @classmethod
    def parse(cls, uri: str, username: str = "", credential: str = "") -> Self:
        """Read a `stun:`, `turn:` or `turns:` URI; `ValueError` when it is something else.

        `stuns:` and TURN over DTLS are refused too: a STUN answer over TLS says nothing about UDP,
        and no homeserver is known to hand out DTLS.
        """
        scheme, colon, rest = uri.strip().partition(":")
        scheme = scheme.lower()
        if not colon or scheme not in ("stun", "turn", "turns"):
            raise ValueError(f"not a stun:, turn: or turns: URI: {uri!r}")
        authority, _, query = rest.partition("?")
        transport = ""
        for parameter in query.split("&") if query else ():
            name, _, value = parameter.partition("=")
            if name.lower() == "transport":
                transport = value.lower()
        if transport not in ("", "udp", "tcp"):
            raise ValueError(f"unknown transport {transport!r} in {uri!r}")
        if scheme == "turns" and transport == "udp":
            raise ValueError(f"TURN over DTLS is not supported: {uri!r}")
        host, port = _split_authority(authority, 5349 if scheme == "turns" else 3478)
        kind: Transport = "udp"
        if scheme == "turns":
            kind = "tls"
        elif scheme == "turn" and transport == "tcp":
            kind = "tcp"
        return cls(scheme != "stun", host, port, kind, username, credential)


def _split_authority(authority: str, default_port: int) -> tuple[str, int]:
    if authority.startswith("["):
        host, bracket, rest = authority[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"bad IPv6 address in {authority!r}")
        port = rest[1:]
    else:
        host, _, port = authority.partition(":")
    if not host:
        raise ValueError("no host in URI of server")
    if not port:
        return host, default_port
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        raise ValueError(f"bad port in {authority!r}")
    return host, int(port)
