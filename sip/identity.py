"""Who calls or writes: one value from the many header fields that say so.

    From                       RFC 3261 §20.20   what the caller's side claims
    P-Asserted-Identity        RFC 3325 §9.1     what the network knows
    Remote-Party-ID            an expired draft  the same, of older PBXs
    `verstat` of a number      3GPP TS 24.229    what the network's check of the number (STIR) found
    Privacy                    RFC 3323, 3325    what the caller does not want to be shown
    Diversion, History-Info    `sip.diversion`   by what way the call came
    Identity                   `sip.passport`    the signed claim itself, not verified

A stranger can write anything into any of these, so all but From count only where the trunk is
declared trusted (RFC 3325 §5): its PBX or provider is known to remove what callers write there. A
wish for privacy is granted whoever conveys it, since hiding a number deceives nobody. Fields that
cannot be read are left out; none of them is worth refusing a call.
"""

from dataclasses import dataclass, replace
from enum import Enum

from sip.diversion import (
    Diversion,
    HistoryEntry,
    last_diverter,
    read_diversions,
    read_history,
)
from sip.errors import RemoteError
from sip.headers import Headers
from sip.passport import Passport, read_passports
from sip.uri import NameAddr, Uri

# User parts that stand for a number which the caller does not show, and for one that nobody knows;
# the first are RFC 3323's and what gateways make of the ISDN's "presentation restricted".
WITHHELD_USERS = frozenset({"anonymous", "restricted", "private", "withheld"})
UNKNOWN_USERS = frozenset({"", "unknown", "unavailable"})

# Display names that say the same of the address beside them (RFC 3323 §4.1.1.3).
_WITHHELD_NAMES = frozenset({"anonymous", "restricted"})

# More than RFC 3325 allows (one SIP URI, one tel URI), for networks that add their own.
MAX_ASSERTED = 4


class Source(Enum):
    """Which field the address comes from."""

    FROM = "From"
    ASSERTED = "P-Asserted-Identity"
    REMOTE_PARTY = "Remote-Party-ID"


class Verstat(Enum):
    """What the terminating network found when it checked the number (TS 24.229 §7.2A.20).

    The letters are the attestation of the originating provider (RFC 8588 §4): A vouches for the
    number, B for the customer only, C for nothing but where the call came in.
    """

    PASSED = "TN-Validation-Passed"
    PASSED_A = "TN-Validation-Passed-A"
    PASSED_B = "TN-Validation-Passed-B"
    PASSED_C = "TN-Validation-Passed-C"
    FAILED = "TN-Validation-Failed"
    NONE = "No-TN-Validation"

    @classmethod
    def parse(cls, text: str) -> "Verstat | None":
        """Read a value, in any case; None for one that is not known."""
        lowered = text.lower()
        if lowered.startswith("tn-validation-failed-"):  # -A to -C, of some providers
            return cls.FAILED
        return next((value for value in cls if value.value.lower() == lowered), None)

    @property
    def vouches_for_number(self) -> bool:
        """Whether somebody stands for it that the caller may use this number."""
        return self in (Verstat.PASSED, Verstat.PASSED_A)


@dataclass(frozen=True, slots=True)
class RemoteParty:
    """One Remote-Party-ID (draft-ietf-sip-privacy-04 §11).

    Attributes:
        address: the party.
        party: "calling" or "called"; "calling" where it is left out.
        screen: whether somebody checked it; PBXs write False for most calls.
        privacy: "off", "name", "uri" or "full".
    """

    address: NameAddr
    party: str = "calling"
    screen: bool = False
    privacy: str = "off"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls or writes, as far as its trunk may be believed.

    Texts in it are a stranger's: they may hold control characters and worse, and are to be cleaned
    before a person sees them.

    Attributes:
        address: number and name; None where they are withheld or unknown, so that nothing can be
            shown by mistake.
        source: which field the address comes from.
        withheld: whether the caller asked not to be shown.
        verstat: what the network found about the number of `address`; None where nobody said, or
            where nobody who may be believed did.
        diversions: forwardings, the latest first.
        history: targets of the request, in the order of time.
        passports: signed claims, not verified.
    """

    address: NameAddr | None
    source: Source = Source.FROM
    withheld: bool = False
    verstat: Verstat | None = None
    diversions: tuple[Diversion, ...] = ()
    history: tuple[HistoryEntry, ...] = ()
    passports: tuple[Passport, ...] = ()

    @property
    def diverted(self) -> bool:
        """Whether the call was forwarded to us."""
        return bool(self.diversions) or last_diverter(self.history) is not None

    @property
    def diverter(self) -> NameAddr | None:
        """Who forwarded the call to us; None if nobody did, or does not want to be named."""
        by = self.diversions[0].address if self.diversions else last_diverter(self.history)
        return None if by is None or is_nameless(by) else by


def read_identity(headers: Headers, *, trusted: bool) -> Identity:
    """Read who sent a request.

    Args:
        trusted: whether more than From may be believed.
    """
    privacy = read_privacy(headers)
    said = headers.from_
    party = read_remote_party(headers)
    withheld = (
        bool(privacy & {"id", "user"})
        or is_withheld(said)
        or (party is not None and party.privacy in ("uri", "full"))
    )
    passports = read_passports(headers)
    if not trusted:
        return Identity(
            None if withheld or is_nameless(said) else said,
            withheld=withheld,
            passports=passports,
        )
    address, source, verstat = _choose(said, _asserted(headers), party)
    return Identity(
        None if withheld or is_nameless(address) else address,
        source,
        withheld,
        None if withheld else verstat,
        read_diversions(headers),
        () if "history" in privacy else read_history(headers),
        passports,
    )


def read_privacy(headers: Headers) -> frozenset[str]:
    """Read what the caller wants hidden (RFC 3323 §4.2, 3325 §9.3), in lower case."""
    tokens = (token for value in headers.elements("Privacy") for token in value.split(";"))
    return frozenset(token.strip().lower() for token in tokens)


def read_remote_party(headers: Headers) -> RemoteParty | None:
    """Read the Remote-Party-ID of the calling party; None if there is none that can be read."""
    for value in headers.elements("Remote-Party-ID")[:MAX_ASSERTED]:
        try:
            address = NameAddr.parse(value)
        except RemoteError:
            continue
        get = address.parameters.get
        party = (get("party") or "calling").lower()
        if party == "calling":
            screen = (get("screen") or "no").lower() == "yes"
            # "full-network" and the like: the network's wish rather than the user's.
            privacy = (get("privacy") or "off").lower().removesuffix("-network")
            return RemoteParty(address, party, screen, privacy)
    return None


def is_withheld(address: NameAddr) -> bool:
    """Whether an address stands for somebody who does not want to be known (RFC 3323 §4.1.1)."""
    user = _bare_user(address.uri)
    if user in UNKNOWN_USERS and user:
        return False  # `unknown@unknown.invalid`: nobody wants anything there
    return (
        user in WITHHELD_USERS
        or address.uri.host.lower().rstrip(".").endswith(".invalid")
        or address.display_name.strip().lower() in _WITHHELD_NAMES
    )


def is_nameless(address: NameAddr) -> bool:
    """Whether an address names nobody, for whatever reason."""
    return _bare_user(address.uri) in UNKNOWN_USERS or is_withheld(address)


def _bare_user(uri: Uri) -> str:
    """The user part without the parameters of a tel URI in it (RFC 3261 §19.1.6)."""
    return uri.user.partition(";")[0].strip().lower()


def _choose(
    said: NameAddr, asserted: list[NameAddr], party: RemoteParty | None
) -> tuple[NameAddr, Source, Verstat | None]:
    """Return the best of what a trusted trunk says, and what it found about that very number."""
    if asserted:
        # A tel URI is a number for certain; the SIP URI beside it has the name.
        best = next((one for one in asserted if one.uri.scheme == "tel"), asserted[0])
        name = next((one.display_name for one in asserted if one.display_name), said.display_name)
        verstats = [
            verstat
            for one in asserted
            if _bare_user(one.uri) == _bare_user(best.uri) and (verstat := _verstat(one))
        ]
        # Two that contradict each other prove nothing good.
        verstat = Verstat.FAILED if Verstat.FAILED in verstats else next(iter(verstats), None)
        return replace(best, display_name=name), Source.ASSERTED, verstat
    if party is not None and not is_nameless(party.address):
        name = "" if party.privacy == "name" else party.address.display_name
        address = replace(party.address, display_name=name)
        return address, Source.REMOTE_PARTY, _verstat(address)
    return said, Source.FROM, _verstat(said)


def _asserted(headers: Headers) -> list[NameAddr]:
    """Read what of P-Asserted-Identity can be read and names somebody."""
    found: list[NameAddr] = []
    for value in headers.elements("P-Asserted-Identity")[:MAX_ASSERTED]:
        try:
            address = NameAddr.parse(value)
        except RemoteError:
            continue
        if address.uri.scheme in ("sip", "sips", "tel") and not is_nameless(address):
            found.append(address)
    return found


def _verstat(address: NameAddr) -> Verstat | None:
    """Read `verstat`: a parameter of a tel URI, in SIP within the user part or of the URI."""
    uri = address.uri
    _, _, in_user = uri.user.partition(";")
    for piece in in_user.split(";"):
        name, _, value = piece.partition("=")
        if name.strip().lower() == "verstat":
            return Verstat.parse(value.strip())
    return Verstat.parse(uri.parameters.get("verstat") or "")
