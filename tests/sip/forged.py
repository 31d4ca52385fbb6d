"""Forged identities: header fields by which a caller could pretend to be somebody else.

Each is what a caller can write without any help of the network. `TRUE_NUMBER` is the number that
the caller really has, where From says it.
"""

import base64
import json

TRUE_NUMBER = "+15550100"
VICTIM = "+15550911"
HONEST = f'"Mallory" <sip:{TRUE_NUMBER}@evil.example>;tag=1'


def passport(**claims: object) -> str:
    """An Identity header field's value that nobody has signed."""

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    header = {"alg": "ES256", "ppt": "shaken", "typ": "passport", "x5u": "https://cert.example/a"}
    token = f"{part(header)}.{part(claims)}.c2lnbmF0dXJl"
    return f"{token};info=<https://cert.example/a>;alg=ES256;ppt=shaken"


_SHAKEN = passport(attest="A", orig={"tn": "15550911"}, dest={"tn": ["1"]}, iat=1, origid="x")

# What a person must never see as it came, in the display name of From.
NAMES = [
    "Bank\x00Support",
    "Bank\x07",
    "\x1b[31mBank\x1b[0m",
    "Bank\x7f",
    "Bank\x85Support",
    "\u202eknaB",
    "\u2066Bank\u2069",
    "\u200fBank",
    "\u061cBank",
    "B\u200ba\u200bn\u200bk",
    "Bank\u200d",
    "\ufeffBank",
    "Ba\u00adnk",
    "B\u2060ank",
    "Bank\u2028Support",
    "Bank\u2029Support",
    "Bank\u3164",
    "Ba\u034fnk",
    "Bank\U000e0041\U000e0042",
    "Bank\ufe0f",
    "\ue000Bank",
    "Bank" + "\u0301" * 500,
    "B" * 5000,
    f"\u202a{VICTIM}\u202c",
    VICTIM,
    "1 (555) 0911",
]

# Fields that claim to be the network's, beside an honest From.
CLAIMS: list[list[tuple[str, str]]] = [
    [("P-Asserted-Identity", f'"Bank" <sip:{VICTIM}@bank.example>')],
    [("P-Asserted-Identity", f'"Bank" <tel:{VICTIM}>')],
    [("P-Asserted-Identity", f"<tel:{VICTIM};verstat=TN-Validation-Passed>")],
    [("P-Asserted-Identity", f"<sip:{VICTIM};verstat=TN-Validation-Passed-A@x;user=phone>")],
    [("P-Asserted-Identity", f"<tel:{VICTIM}>"), ("P-Asserted-Identity", "<tel:+15550912>")],
    [("p-asserted-identity", f"<tel:{VICTIM}>")],
    [("P-Preferred-Identity", f"<tel:{VICTIM}>")],
    [("Remote-Party-ID", f'"Bank" <sip:{VICTIM}@x>;party=calling;screen=yes;privacy=off')],
    [("Remote-Party-ID", f"<sip:{VICTIM};verstat=TN-Validation-Passed@x>")],
    [("Diversion", f"<tel:{VICTIM}>;reason=unconditional")],
    [("History-Info", f"<sip:{VICTIM}@x>;index=1, <sip:me@x;cause=302>;index=1.1;mp=1")],
    [("Identity", _SHAKEN)],
    [("Verstat", "TN-Validation-Passed"), ("X-Verstat", "TN-Validation-Passed")],
    [("P-Attestation-Indicator", "A"), ("Attestation-Info", "A"), ("Origination-Id", "x")],
    [("Referred-By", f"<sip:{VICTIM}@x>"), ("Contact", f"<sip:{VICTIM}@x>")],
]

# Forged Froms, each with the same number that must be read from it.
FROMS = [
    f"<sip:{TRUE_NUMBER};verstat=TN-Validation-Passed@evil.example;user=phone>;tag=1",
    f"<sip:{TRUE_NUMBER}@evil.example;verstat=TN-Validation-Passed-A>;tag=1",
    f"<tel:{TRUE_NUMBER};verstat=TN-Validation-Passed>;tag=1",
    f"<sip:{TRUE_NUMBER}@evil.example>;tag=1;verstat=TN-Validation-Passed",
    f"<tel:+1-555-0100;phone-context={VICTIM};tag={VICTIM}>;tag=1",
    f"<sip:{TRUE_NUMBER};isub={VICTIM};npdi;rn={VICTIM}@evil.example>;tag=1",
    f"<sip:%2B15550100%3Bphone-context%3D{VICTIM}@evil.example>;tag=1",
    f'"\\"Bank\\" <sip:{VICTIM}@bank.example>" <sip:{TRUE_NUMBER}@evil.example>;tag=1',
]
