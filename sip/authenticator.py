"""Who may have a proof of our password, and when: digest as a client (RFC 3261 §22, RFC 7616,
RFC 8760).

An answer to a challenge can be tried against a dictionary by whoever chose the nonce, so answers
are given by rule, not by demand:

- Only to the realms of the account: those that the trunk's settings name, or else those that the
  first accepted answer was made for. Until then the first to ask is believed, since somebody must
  be; after that another realm gets nothing.
- Only on requests to the trunk's own host (`sip.core` judges that). Within a dialog the remote
  target may be anybody's, and a 401 or 407 to a BYE is how passwords of phones are collected: there
  the target and the whole route must be the trunk's, and the realm proven before. On those terms
  BYE is answered as a re-INVITE is, because some servers challenge each request and a call that
  cannot be ended is billed on. ACK and CANCEL are never answered for (RFC 3261 §22.1).
- Never weaker than what the realm has asked for once: of several challenges of a realm the
  strongest algorithm is answered, the topmost among equals; MD5 after SHA-256, or a challenge
  without qop after one with it, is somebody in between. MD5 at all only if the trunk allows it.

Later requests carry credentials at once, which saves a round trip; the server answers a nonce that
it no longer likes with a fresh one, or names the next beforehand (`nextnonce`). Where a server
proves itself in turn (`rspauth`), a wrong proof makes its realm no realm of ours.
"""

import hmac
import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace

from sip.digest import Account, AuthenticationInfo, Challenge, Credentials, answer, signed
from sip.message import Request, Response

logger = logging.getLogger(__name__)

# One for the registrar, one for a proxy in front of it, and some room. More would let a peer
# collect digests of our password over realms of its choice.
MAX_REALMS = 4

# Where a challenge came from: the header field that answers it, and its realm.
Realm = tuple[str, str]

_FIELDS = {"WWW-Authenticate": "Authorization", "Proxy-Authenticate": "Proxy-Authorization"}
_INFO_FIELDS = {
    "Authentication-Info": "Authorization",
    "Proxy-Authentication-Info": "Proxy-Authorization",
}


@dataclass(frozen=True, slots=True)
class Lesson:
    """What there is to do about a 401 or 407.

    Attributes:
        answers: the challenges that will be answered.
        objection: why others will not, in words for a person; "" if there is nothing to say.
    """

    answers: dict[Realm, Challenge] = field(default_factory=dict)
    objection: str = ""


@dataclass(slots=True)
class _Known:
    """A challenge that we answer, and how often its nonce was used.

    The client nonce is chosen once per nonce: RFC 7616 §3.4.2 computes A1 of a "-sess" algorithm
    from the first one.
    """

    challenge: Challenge
    cnonce: str
    count: int = 0


class Authenticator:
    """What we know of the realms that challenged us.

    Args:
        account: what is proven.
        allow_md5: whether MD5 is good enough where nothing better is offered.
        realms: the account's realms; empty to learn them from the first success.
        cnonce: returns a client nonce that nobody can guess.
    """

    def __init__(
        self,
        account: Account,
        *,
        allow_md5: bool,
        realms: Iterable[str] = (),
        cnonce: Callable[[], str],
    ) -> None:
        self._account = account
        self._allow_md5 = allow_md5
        self._cnonce = cnonce
        self._proven = set(realms)
        self._known: dict[Realm, _Known] = {}
        self._strongest: dict[str, tuple[int, bool]] = {}

    def learn(self, response: Response, *, within_dialog: bool = False) -> Lesson:
        """Take the challenges of a 401 or 407.

        Args:
            within_dialog: whether it answers a request within a dialog.
        """
        best: dict[Realm, Challenge] = {}
        objections: list[str] = []
        for challenge_field, answer_field in _FIELDS.items():
            for value in response.headers.get_all(challenge_field):
                for challenge in Challenge.parse(value):
                    objection = self._objection(challenge, within_dialog=within_dialog)
                    if objection:
                        objections.append(objection)
                        continue
                    realm = (answer_field, challenge.realm)
                    if realm not in best or challenge.strength > best[realm].strength:
                        best[realm] = challenge
        for realm, challenge in best.items():
            self._remember(realm, challenge)
        if not best and not objections:
            objections.append("it asks for a password in no way that we know")
        return Lesson(best, "" if best else objections[0])

    def authorize(self, request: Request, answered: Collection[Realm] = ()) -> None:
        """Put credentials on a request, in the place of older ones: for the proven realms, and for
        those whose challenge to this very request is answered.
        """
        self.forget(request)
        for realm, known in self._known.items():
            if realm[1] not in self._proven and realm not in answered:
                continue
            known.count += 1
            credentials = answer(
                self._account,
                known.challenge,
                method=request.method,
                uri=str(request.uri),
                cnonce=known.cnonce,
                count=known.count,
                body=request.body,
            )
            request.headers.add(realm[0], credentials)

    @staticmethod
    def forget(request: Request) -> None:
        """Take credentials off a request."""
        for answer_field in _FIELDS.values():
            request.headers.remove(answer_field)

    def confirm(self, request: Request, response: Response) -> None:
        """Take a 2xx to a request with our credentials: its realms are the account's from now on,
        and the server may say something about its nonces (RFC 7616 §3.5).
        """
        for info_field, answer_field in _INFO_FIELDS.items():
            given = [Credentials.parse(value) for value in request.headers.get_all(answer_field)]
            used = [credentials for credentials in given if credentials is not None]
            text = response.headers.get(info_field)
            info = None if text is None or len(used) != 1 else AuthenticationInfo.parse(text)
            if info is not None and not self._is_genuine(info, used[0], response.body):
                logger.warning("the proof of realm %r is wrong", used[0].realm)
                self._proven.discard(used[0].realm)
                self._known.pop((answer_field, used[0].realm), None)
                continue
            self._proven.update(credentials.realm for credentials in used)
            if info is not None and info.nextnonce:
                self._renew((answer_field, used[0].realm), used[0].nonce, info.nextnonce)

    # ---

    def _objection(self, challenge: Challenge, *, within_dialog: bool) -> str:
        """Why a challenge is not answered, "" if it is."""
        realm = challenge.realm
        if realm not in self._proven and (self._proven or within_dialog):
            named = ", ".join(f'"{proven}"' for proven in sorted(self._proven)) or "none yet"
            return f'it asks in the name of "{realm}", while `realms` of this trunk are: {named}'
        if challenge.algorithm == "MD5" and not self._allow_md5:
            return "it asks for MD5, which `allow_md5` of this trunk rules out"
        if challenge.strength < self._strongest.get(realm, challenge.strength):
            return f'realm "{realm}" has asked for a stronger proof before; this is a downgrade'
        return ""

    def _remember(self, realm: Realm, challenge: Challenge) -> None:
        known = self._known.pop(realm, None)
        if known is None or known.challenge.nonce != challenge.nonce:
            known = _Known(challenge, self._cnonce())
        known.challenge = challenge
        self._known[realm] = known  # at the end: the oldest is the first to go
        strongest = self._strongest.get(realm[1], challenge.strength)
        self._strongest[realm[1]] = max(strongest, challenge.strength)
        while len(self._known) > MAX_REALMS:
            del self._known[next(iter(self._known))]
        alive = {name for _, name in self._known}
        for name in [n for n in self._strongest if n not in alive and n not in self._proven]:
            del self._strongest[name]

    def _is_genuine(self, info: AuthenticationInfo, used: Credentials, body: bytes) -> bool:
        """Whether the server's proof, if it gives one, is right and about this request."""
        if info.rspauth is None:
            return True
        if (info.cnonce or used.cnonce, info.nc or used.nc) != (used.cnonce, used.nc):
            return False
        used = replace(used, qop=info.qop or used.qop)
        proof = signed(used, self._account, method="", body=body).response
        return hmac.compare_digest(proof.encode(), info.rspauth.lower().encode())

    def _renew(self, realm: Realm, old: str, nonce: str) -> None:
        known = self._known.get(realm)
        if known is not None and known.challenge.nonce == old:
            challenge = replace(known.challenge, nonce=nonce, stale=False)
            self._known[realm] = _Known(challenge, self._cnonce())
