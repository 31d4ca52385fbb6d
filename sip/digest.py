"""Digest authentication: what a challenge and its answer say, and the arithmetic between them
(RFC 7616, RFC 8760 for SIP).

Values and functions only; both roles build on them: `sip.authenticator` answers challenges,
`sip.verifier` makes them. Texts of a challenge are kept as they stand between their quotes, escapes
included, because that is what is hashed (`unq` in RFC 7616 §3.4) and what is sent back.
"""

import hashlib
import re
from dataclasses import dataclass, field, replace
from typing import Literal

from sip import grammar
from sip.errors import RemoteError
from sip.uri import MAX_PARAMETERS, Parameters

# Weakest first. The names of RFC 7616 §3.7, and what hashlib calls them.
ALGORITHMS = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}
_STRENGTH = list(ALGORITHMS)

Qop = Literal["auth", "auth-int"]

# Of all challenges in one field together.
_MAX_PIECES = 4 * MAX_PARAMETERS

# A piece of a list of challenges that begins a new one: a scheme, then nothing or a parameter.
_SCHEME = re.compile(rf"({grammar.TOKEN})(?:\s+(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One Digest challenge (RFC 7616 §3.3) that we know how to answer.

    Attributes:
        algorithm: upper case name without "-SESS"; "MD5" where the server names none.
        session: whether the algorithm is a "-sess" variant.
        qop: what our answer protects: "auth" where it is offered, "auth-int" (the body too) where
            it is all that is offered, None for the digest of RFC 2069.
        stale: whether only the nonce was wrong.
        userhash: whether the server wants the user name hashed (§3.4.4).
    """

    realm: str
    nonce: str
    algorithm: str = "MD5"
    session: bool = False
    qop: Qop | None = "auth"
    opaque: str | None = None
    stale: bool = False
    userhash: bool = False

    @classmethod
    def parse(cls, text: str) -> "list[Challenge]":
        """Read the value of WWW-Authenticate or Proxy-Authenticate.

        A value holds one challenge (RFC 3261 §20.44), or several, which RFC 3261 forbids and
        RFC 9110 §11.6.1 allows. Those of other schemes, of unknown algorithms, and those that name
        something twice are left out.
        """
        challenges = (_challenge(parameters) for parameters in _schemes(text))
        return [challenge for challenge in challenges if challenge is not None]

    @property
    def strength(self) -> tuple[int, bool]:
        """What a later challenge of the same realm must not fall below: the algorithm, and whether
        a nonce of ours goes into the answer."""
        return _STRENGTH.index(self.algorithm), self.qop is not None


@dataclass(frozen=True, slots=True)
class Account:
    """A user name and its password, on either side."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Credentials:
    """The value of Authorization or Proxy-Authorization (RFC 7616 §3.4).

    Attributes:
        username: as it stands between its quotes, or its hash.
        uri: the digest-uri.
        algorithm: upper case, without "-SESS".
        nc: how many requests, with this one, used the nonce, as eight hex digits.
    """

    username: str
    realm: str
    nonce: str
    uri: str
    response: str
    algorithm: str = "MD5"
    session: bool = False
    qop: Qop | None = None
    cnonce: str = ""
    nc: str = ""
    opaque: str | None = None
    userhash: bool = False

    @classmethod
    def parse(cls, text: str) -> "Credentials | None":
        """Read a field; None if it is not Digest, or not whole."""
        found = _schemes(text)
        if len(found) != 1:
            return None
        values = found[0]
        algorithm, session = _algorithm(values)
        qop = values.get("qop", "").lower()
        if algorithm not in ALGORITHMS or qop not in ("", "auth", "auth-int"):
            return None
        if not {"username", "realm", "nonce", "uri", "response"} <= values.keys():
            return None
        if qop and not re.fullmatch(r"[0-9A-Fa-f]{8}", values.get("nc", "")):
            return None
        return cls(
            username=values["username"],
            realm=values["realm"],
            nonce=values["nonce"],
            uri=values["uri"],
            response=values["response"],
            algorithm=algorithm,
            session=session,
            qop=_qop(qop),
            cnonce=values.get("cnonce", ""),
            nc=values.get("nc", ""),
            opaque=values.get("opaque"),
            userhash=values.get("userhash", "").lower() == "true",
        )

    def __str__(self) -> str:
        parts = [
            f'username="{self.username}"',
            f'realm="{self.realm}"',
            f'nonce="{self.nonce}"',
            f'uri="{self.uri}"',
            f'response="{self.response}"',
            f"algorithm={self.algorithm}{'-sess' if self.session else ''}",
        ]
        if self.qop is not None:
            parts += [f'cnonce="{self.cnonce}"', f"qop={self.qop}", f"nc={self.nc}"]
        if self.opaque is not None:
            parts.append(f'opaque="{self.opaque}"')
        if self.userhash:
            parts.append("userhash=true")
        return "Digest " + ", ".join(parts)


@dataclass(frozen=True, slots=True)
class AuthenticationInfo:
    """What a server adds to its answer once we have proven ourselves (RFC 7616 §3.5).

    Attributes:
        nextnonce: the nonce to use from now on, None if the old one stays.
        rspauth: the server's own proof that it knows the password, None if it gives none.
        cnonce, nc: which of our requests it speaks of, where it says so.
    """

    nextnonce: str | None = None
    rspauth: str | None = None
    qop: Qop | None = None
    cnonce: str | None = None
    nc: str | None = None

    @classmethod
    def parse(cls, text: str) -> "AuthenticationInfo | None":
        """Read a field; None if it cannot be read."""
        values = _values(grammar.split(text, ","))
        if values is None:
            return None
        return cls(
            nextnonce=values.get("nextnonce"),
            rspauth=values.get("rspauth"),
            qop=_qop(values.get("qop", "").lower()),
            cnonce=values.get("cnonce"),
            nc=values.get("nc"),
        )


def hashed(algorithm: str, data: str | bytes) -> str:
    """Return H(data) as lower case hex (RFC 7616 §3.2); text is hashed as UTF-8 (§4).

    Args:
        algorithm: one of `ALGORITHMS`.
    """
    octets = data.encode() if isinstance(data, str) else data
    return hashlib.new(ALGORITHMS[algorithm], octets, usedforsecurity=False).hexdigest()


def answer(
    account: Account,
    challenge: Challenge,
    *,
    method: str,
    uri: str,
    cnonce: str,
    count: int,
    body: bytes = b"",
) -> Credentials:
    """Answer a challenge for one request (RFC 7616 §3.4).

    Args:
        count: how many requests, with this one, were sent with the challenge's nonce.
        body: what "auth-int" protects besides.
    """
    nc = f"{count:08x}"
    username = grammar.quote(account.username)[1:-1]
    if challenge.userhash:
        username = hashed(challenge.algorithm, f"{account.username}:{challenge.realm}")
    unsigned = Credentials(
        username=username,
        realm=challenge.realm,
        nonce=challenge.nonce,
        uri=uri,
        response="",
        algorithm=challenge.algorithm,
        session=challenge.session,
        qop=challenge.qop,
        cnonce=cnonce if challenge.qop else "",
        nc=nc if challenge.qop else "",
        opaque=challenge.opaque,
        userhash=challenge.userhash,
    )
    return signed(unsigned, account, method=method, body=body)


def signed(
    credentials: Credentials, account: Account, *, method: str, body: bytes = b""
) -> Credentials:
    """Return the credentials with the response that belongs to them (§3.4.1 to §3.4.3).

    Args:
        method: that of the request; "" computes a server's `rspauth` (§3.5).
    """
    algorithm = credentials.algorithm
    secret = hashed(algorithm, f"{account.username}:{credentials.realm}:{account.password}")
    if credentials.session:
        secret = hashed(algorithm, f"{secret}:{credentials.nonce}:{credentials.cnonce}")
    request = f"{method}:{credentials.uri}"
    if credentials.qop == "auth-int":
        request += f":{hashed(algorithm, body)}"
    middle = credentials.nonce
    if credentials.qop is not None:
        middle += f":{credentials.nc}:{credentials.cnonce}:{credentials.qop}"
    response = hashed(algorithm, f"{secret}:{middle}:{hashed(algorithm, request)}")
    return replace(credentials, response=response)


def _challenge(values: dict[str, str]) -> Challenge | None:
    algorithm, session = _algorithm(values)
    if "realm" not in values or "nonce" not in values or algorithm not in ALGORITHMS:
        return None
    offered = [qop.strip().lower() for qop in values.get("qop", "").split(",") if qop.strip()]
    # Where the choice is ours, not the body: what stands between may lawfully change it.
    qop = next((_qop(qop) for qop in ("auth", "auth-int") if qop in offered), None)
    if qop is None and (offered or session):
        return None  # "-sess" needs a client nonce, which only qop brings
    return Challenge(
        realm=values["realm"],
        nonce=values["nonce"],
        algorithm=algorithm,
        session=session,
        qop=qop,
        opaque=values.get("opaque"),
        stale=values.get("stale", "").lower() == "true",
        userhash=values.get("userhash", "").lower() == "true",
    )


def _schemes(text: str) -> list[dict[str, str]]:
    """Cut a value into its Digest challenges or credentials; unreadable ones are left out."""
    groups: list[list[str]] = []
    digest = False
    pieces = grammar.split(text, ",")
    if len(pieces) > _MAX_PIECES:
        return []
    for piece in pieces:
        match = _SCHEME.fullmatch(piece)
        if match is not None and not (match[2] or "").startswith("="):
            digest = match[1].lower() == "digest"
            if digest:
                groups.append([match[2]] if match[2] else [])
        elif digest:
            groups[-1].append(piece)
    return [values for group in groups if (values := _values(group)) is not None]


def _values(pieces: list[str]) -> dict[str, str] | None:
    """Read name=value pieces; None if one is no such thing, or comes twice."""
    values: dict[str, str] = {}
    if len(pieces) > MAX_PARAMETERS:
        return None
    try:
        pairs = Parameters.parse(";".join(pieces)).pairs
    except RemoteError:
        return None
    for name, value in pairs:
        if name.lower() in values:
            return None  # which of the two is meant is anybody's guess
        values[name.lower()] = _inner(value or "")
    return values


def _algorithm(values: dict[str, str]) -> tuple[str, bool]:
    name = values.get("algorithm", "MD5").upper()
    return name.removesuffix("-SESS"), name.endswith("-SESS")


def _qop(text: str) -> Qop | None:
    match text:
        case "auth":
            return "auth"
        case "auth-int":
            return "auth-int"
        case _:
            return None


def _inner(value: str) -> str:
    """Return what stands between the quotes, escapes included."""
    return value[1:-1] if value.startswith('"') else value
