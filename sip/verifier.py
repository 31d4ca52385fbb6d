"""Digest as a server: a peer that cannot be registered at proves itself when it calls (RFC 3261
§22.4, RFC 7616, RFC 8760).

Nonces need no memory: each carries the time at which it was made and an HMAC of it with a secret
that lives as long as the process. What is remembered is which nonces were used for how many
requests, and only of those who knew the password, so that a stranger's flood costs nothing and a
recorded request cannot be played again.
"""

import hashlib
import hmac
from collections import OrderedDict
from enum import Enum

from sip import grammar
from sip.digest import Account, Credentials, signed
from sip.errors import RemoteError
from sip.message import Request
from sip.uri import Uri

# How long a nonce may be used, seconds. Short enough that a stolen list of them is worth nothing,
# long enough for a call with its refreshes.
NONCE_LIFE = 300.0

# Nonces in use at once. Each belongs to an authenticated peer; beyond, the oldest must ask anew.
MAX_NONCES = 1024


class Verdict(Enum):
    """What the credentials of a request are worth."""

    ACCEPTED = "accepted"
    MISSING = "missing"
    STALE = "stale"  # right, but with a nonce that is too old or was used before
    WRONG = "wrong"
    ELSEWHERE = "elsewhere"  # right, but for another Request-URI (RFC 7616 §3.4.6: 400)


class Verifier:
    """Judges one account's requests.

    Args:
        realm: what we are called in challenges.
        account: whom we expect.
        secret: unguessable, new with each process.
        allow_md5: whether MD5 is good enough for peers that know nothing better.
    """

    def __init__(self, realm: str, account: Account, *, secret: bytes, allow_md5: bool) -> None:
        self._realm = grammar.quote(realm)[1:-1]
        self._account = account
        self._secret = secret
        # Strongest first: RFC 8760 §2.3 has the client take the topmost that it knows.
        self._algorithms = ("SHA-256", "MD5") if allow_md5 else ("SHA-256",)
        self._counts: OrderedDict[str, int] = OrderedDict()
        self._made = 0
        self._oldest = float("-inf")  # nonces made before are no longer known to be unused

    def challenges(self, now: float, *, stale: bool = False) -> list[tuple[str, str]]:
        """Return the WWW-Authenticate fields of a 401."""
        nonce = self._nonce(now)
        suffix = ", stale=true" if stale else ""
        return [
            (
                "WWW-Authenticate",
                f'Digest realm="{self._realm}", nonce="{nonce}", algorithm={algorithm}, '
                f'qop="auth,auth-int"{suffix}',
            )
            for algorithm in self._algorithms
        ]

    def verify(self, request: Request, now: float, *, spend: bool = True) -> Verdict:
        """Judge a request by its Authorization; those of other realms are not looked at.

        Args:
            spend: whether the nonce counts as used; False where the same request is judged again.
        """
        given = (Credentials.parse(value) for value in request.headers.get_all("Authorization"))
        ours = next((found for found in given if found and found.realm == self._realm), None)
        if ours is None:
            return Verdict.MISSING
        if not self._is_proven(ours, request):
            return Verdict.WRONG
        if not _names(ours.uri, request.uri):
            return Verdict.ELSEWHERE
        if not self._is_first(ours, now):
            return Verdict.STALE
        if spend:
            self._spend(ours)
        return Verdict.ACCEPTED

    def admit(self, request: Request, now: float, *, spend: bool = True) -> None:
        """Let a request of the account pass.

        Raises:
            RemoteError: 401 with challenges; 400 for credentials that are right for another target.
        """
        match self.verify(request, now, spend=spend):
            case Verdict.ACCEPTED:
                return
            case Verdict.ELSEWHERE:
                raise RemoteError("the digest is for another Request-URI")
            case verdict:
                challenges = self.challenges(now, stale=verdict is Verdict.STALE)
                raise RemoteError("who is this?", status=401, headers=challenges)

    # ---

    def _is_proven(self, given: Credentials, request: Request) -> bool:
        if given.algorithm not in self._algorithms or given.qop is None:
            return False  # we offer qop always; without it a nonce could be counted by nobody
        expected = signed(given, self._account, method=request.method, body=request.body)
        username = grammar.quote(self._account.username)[1:-1]
        known = hmac.compare_digest(given.username.encode(), username.encode())
        proven = hmac.compare_digest(expected.response.encode(), given.response.lower().encode())
        return known and proven

    def _is_first(self, given: Credentials, now: float) -> bool:
        """Whether the nonce is ours and fresh, and was used for fewer requests than this one."""
        made = self._time_of(given.nonce)
        if made is None or not 0 <= now - made <= NONCE_LIFE or made <= self._oldest:
            return False
        return int(given.nc, 16) > self._counts.get(given.nonce, 0)

    def _spend(self, given: Credentials) -> None:
        self._counts[given.nonce] = int(given.nc, 16)
        self._counts.move_to_end(given.nonce)
        while len(self._counts) > MAX_NONCES:
            forgotten, _ = self._counts.popitem(last=False)
            made = self._time_of(forgotten)
            assert made is not None, "only nonces of ours are counted"
            self._oldest = max(self._oldest, made)

    def _nonce(self, now: float) -> str:
        self._made += 1
        text = f"{int(now * 1000):x}-{self._made:x}"
        return f"{text}-{self._mac(text)}"

    def _time_of(self, nonce: str) -> float | None:
        """When a nonce was made; None if it is not ours."""
        text, _, mac = nonce.rpartition("-")
        if not hmac.compare_digest(self._mac(text).encode(), mac.encode()):
            return None
        return int(text.partition("-")[0], 16) / 1000

    def _mac(self, text: str) -> str:
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()[:32]


def _names(digest_uri: str, target: Uri) -> bool:
    """Whether the URI under the digest is the one of the request line, however it is spelled."""
    try:
        return Uri.parse(digest_uri).equivalent(target)
    except RemoteError:
        return False
