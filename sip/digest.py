"""Digest authentication as a client (RFC 3261 §22, RFC 7616, RFC 8760).

`Authenticator` remembers the best challenge of each realm, so that later requests carry credentials
at once and save a round trip; the server answers a nonce that it no longer likes with a fresh one.
Strength comes first: of several challenges of one realm the strongest algorithm that we know is
answered, wherever it stands in the message, and MD5 only if the trunk's settings allow it.

Not done: qop auth-int (no server asks for it alone) and user name hashing (optional for a client).
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from sip import grammar
from sip.errors import RemoteError
from sip.message import Request, Response
from sip.uri import Parameters

# Weakest first. The names of RFC 7616 §3.7, and what hashlib calls them.
_ALGORITHMS = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}
_STRENGTH = list(_ALGORITHMS)

# One for the registrar, one for a proxy in front of it, and some room. More would let a peer
# collect digests of our password over realms of its choice.
MAX_REALMS = 4


@dataclass(frozen=True, slots=True)
class Challenge:
    """One Digest challenge (RFC 7616 §3.3). Texts are kept as they stand between their quotes.

    Attributes:
        algorithm: upper case name without "-SESS"; "MD5" where the server names none.
        session: whether the algorithm is a "-sess" variant.
        auth: whether qop "auth" is offered; False is the digest of RFC 2069.
        stale: whether only the nonce was wrong.
    """

    realm: str
    nonce: str
    algorithm: str = "MD5"
    session: bool = False
    auth: bool = True
    opaque: str | None = None
    stale: bool = False

    @classmethod
    def parse(cls, text: str) -> "Challenge | None":
        """Read the value of WWW-Authenticate or Proxy-Authenticate; None if we cannot answer it."""
        scheme, _, rest = text.partition(" ")
        if scheme.lower() != "digest":
            return None
        try:
            parameters = Parameters.parse(";".join(grammar.split(rest, ",")))
        except RemoteError:
            return None
        values = {name.lower(): _inner(value or "") for name, value in parameters.pairs}
        algorithm = values.get("algorithm", "MD5").upper()
        session = algorithm.endswith("-SESS")
        algorithm = algorithm.removesuffix("-SESS")
        qops = [qop.strip().lower() for qop in values.get("qop", "").split(",") if qop.strip()]
        if "realm" not in values or "nonce" not in values or algorithm not in _ALGORITHMS:
            return None
        if qops and "auth" not in qops:
            return None
        return cls(
            realm=values["realm"],
            nonce=values["nonce"],
            algorithm=algorithm,
            session=session,
            auth=bool(qops),
            opaque=values.get("opaque"),
            stale=values.get("stale", "").lower() == "true",
        )

    @property
    def strength(self) -> int:
        return _STRENGTH.index(self.algorithm)


@dataclass(frozen=True, slots=True)
class Account:
    """Who we are to the server."""

    username: str
    password: str = field(repr=False)


def credentials(
    account: Account, challenge: Challenge, *, method: str, uri: str, cnonce: str, count: int
) -> str:
    """Compute the value of Authorization or Proxy-Authorization (RFC 7616 §3.4).

    Args:
        count: how many requests, with this one, were sent with the challenge's nonce.
    """

    def digest(text: str) -> str:
        return hashlib.new(
            _ALGORITHMS[challenge.algorithm], text.encode(), usedforsecurity=False
        ).hexdigest()

    a1 = digest(f"{account.username}:{challenge.realm}:{account.password}")
    if challenge.session:
        a1 = digest(f"{a1}:{challenge.nonce}:{cnonce}")
    a2 = digest(f"{method}:{uri}")
    nc = f"{count:08x}"
    middle = f"{challenge.nonce}:{nc}:{cnonce}:auth" if challenge.auth else challenge.nonce
    response = digest(f"{a1}:{middle}:{a2}")
    parts = [
        f"username={grammar.quote(account.username)}",
        f'realm="{challenge.realm}"',
        f'nonce="{challenge.nonce}"',
        f'uri="{uri}"',
        f'response="{response}"',
        f"algorithm={challenge.algorithm}{'-sess' if challenge.session else ''}",
    ]
    if challenge.auth:
        parts += [f'cnonce="{cnonce}"', "qop=auth", f"nc={nc}"]
    if challenge.opaque is not None:
        parts.append(f'opaque="{challenge.opaque}"')
    return "Digest " + ", ".join(parts)


@dataclass(slots=True)
class _Known:
    """A challenge that we answer, and how often its nonce was used.

    The client nonce is chosen once per nonce: RFC 7616 §3.4.2 computes A1 of a "-sess" algorithm
    from the first one.
    """

    challenge: Challenge
    cnonce: str
    count: int = 0


# Where a challenge came from: the header field that answers it, and its realm.
Realm = tuple[str, str]


class Authenticator:
    """What we know of the realms that challenged us."""

    def __init__(self, account: Account, *, allow_md5: bool, cnonce: Callable[[], str]) -> None:
        self._account = account
        self._allow_md5 = allow_md5
        self._cnonce = cnonce
        self._known: dict[Realm, _Known] = {}

    def learn(self, response: Response) -> dict[Realm, Challenge]:
        """Take the challenges of a 401 or 407 and return those that we will answer."""
        best: dict[Realm, Challenge] = {}
        for challenge_field, answer_field in (
            ("WWW-Authenticate", "Authorization"),
            ("Proxy-Authenticate", "Proxy-Authorization"),
        ):
            for value in response.headers.get_all(challenge_field):
                challenge = Challenge.parse(value)
                if challenge is None or (challenge.algorithm == "MD5" and not self._allow_md5):
                    continue
                realm = (answer_field, challenge.realm)
                if realm not in best or challenge.strength > best[realm].strength:
                    best[realm] = challenge
        for realm, challenge in best.items():
            known = self._known.pop(realm, None)
            if known is None or known.challenge.nonce != challenge.nonce:
                known = _Known(challenge, self._cnonce())
            known.challenge = challenge
            self._known[realm] = known  # at the end: the oldest is the first to go
        while len(self._known) > MAX_REALMS:
            del self._known[next(iter(self._known))]
        return best

    def authorize(self, request: Request) -> None:
        """Put credentials for all known realms on a request, in the place of older ones."""
        request.headers.remove("Authorization")
        request.headers.remove("Proxy-Authorization")
        for (answer_field, _), known in self._known.items():
            known.count += 1
            value = credentials(
                self._account,
                known.challenge,
                method=request.method,
                uri=str(request.uri),
                cnonce=known.cnonce,
                count=known.count,
            )
            request.headers.add(answer_field, value)


def _inner(value: str) -> str:
    """Return what stands between the quotes, escapes included: that is what is hashed."""
    return value[1:-1] if value.startswith('"') else value
