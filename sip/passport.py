"""STIR: the Identity header field and the claims of its PASSporT (RFC 8224, RFC 8225, RFC 8588).

Nothing is verified here: that takes a certificate from the network, a list of authorities and the
wall clock. In practice the terminating provider verifies and says so by `verstat`, which
`sip.identity` reads. What a token claims is handed up for whoever verifies or looks into a call
later; until then anybody can have written it, and nothing of it is to be shown as true.
"""

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any

from sip.errors import RemoteError
from sip.headers import Headers
from sip.uri import Parameters

# A token holds a few numbers and a signature; those seen are below 1 KiB.
MAX_TOKEN = 8192
# One for the call and one for each forwarding ("div"); more is noise.
MAX_PASSPORTS = 4
# Claims are two deep. The parser of `json` recurses, and its depth is a stranger's to choose.
MAX_BRACKETS = 64


@dataclass(frozen=True, slots=True)
class Passport:
    """One Identity header field, not verified.

    Attributes:
        token: the signed token as it came, for whoever verifies it.
        certificate_url: where its certificate is (`info`).
        kind: "shaken", "div" and so on (`ppt`), "" if absent.
        attestation: how far the originating provider vouches: "A", "B" or "C"; "" if it does not
            say.
        orig: number or URI of the caller, "" in the compact form.
        dest: numbers or URIs of those called.
        issued_at: seconds since 1970, None if absent.
        origin_id: the originating provider's name for the source of the call.
    """

    token: str
    certificate_url: str = ""
    kind: str = ""
    attestation: str = ""
    orig: str = ""
    dest: tuple[str, ...] = ()
    issued_at: int | None = None
    origin_id: str = ""


def read_passports(headers: Headers) -> tuple[Passport, ...]:
    """Read each Identity header field that can be read; the others say nothing."""
    read = (_passport(value) for value in headers.get_all("Identity")[:MAX_PASSPORTS])
    return tuple(passport for passport in read if passport is not None)


def _passport(value: str) -> Passport | None:
    if len(value) > MAX_TOKEN:
        return None
    token, _, rest = value.partition(";")
    # Before RFC 8224 the signature stood in quotes and had no claims (RFC 4474).
    parts = token.strip().split(".")
    if len(parts) != 3:
        return None
    claims: dict[str, Any] = {}
    if parts[1]:
        decoded = _decode(parts[1])
        if decoded is None:
            return None
        claims = decoded
    elif parts[0]:
        return None  # the compact form leaves out both (RFC 8225 §7)
    try:
        parameters = Parameters.parse(rest.replace("<", '"').replace(">", '"'))
    except RemoteError:
        return None
    attestation = claims.get("attest")
    return Passport(
        token.strip(),
        parameters.get("info") or "",
        (parameters.get("ppt") or "").lower(),
        attestation if attestation in ("A", "B", "C") else "",
        next(iter(_parties(claims.get("orig"))), ""),
        _parties(claims.get("dest")),
        _seconds(claims.get("iat")),
        _text(claims.get("origid")),
    )


def _decode(part: str) -> dict[str, Any] | None:
    """Read the claims: a JSON object in base64url without padding (RFC 7515 §2)."""
    try:
        text = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode()
        if text.count("[") + text.count("{") > MAX_BRACKETS:
            return None
        claims = json.loads(text)
    except (binascii.Error, ValueError):
        return None
    return claims if isinstance(claims, dict) else None


def _parties(claim: Any) -> tuple[str, ...]:
    """Read `{"tn": "..."}`, `{"tn": ["..."]}` or the same with `uri` (RFC 8225 §5.2.1)."""
    if not isinstance(claim, dict):
        return ()
    found: list[str] = []
    for name in ("tn", "uri"):
        value = claim.get(name)
        found += [_text(one) for one in (value if isinstance(value, list) else [value])]
    return tuple(text for text in found if text)


def _seconds(value: Any) -> int | None:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return value if is_whole and 0 <= value < 2**63 else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
