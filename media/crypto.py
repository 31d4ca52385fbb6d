"""Which crypto line to take, and which to make (RFC 4568): the policy over `sdp.Crypto`.

Lines that we take: a suite that the settings allow, a key of exactly its length, a lifetime that no
call outlives. A line with a session parameter is refused, since each of them weakens or changes the
protection; the two that RFC 4568 lets us disregard are the hint WSH and those marked with "-".

Deviation: an MKI in the peer's line is taken when its identifier is 1 (there is one key, so it says
nothing), and none is sent; Asterisk does the same, and requires it of nobody.
"""

from collections.abc import Callable, Sequence

from media.sdp import Crypto, SdpError
from media.srtp import SUITES

# A call of a day at 50 packets a second is 2^22 packets; 2^20 is the least that others take too.
_LEAST_LIFETIME = 1 << 20
_MOST_LIFETIME = 1 << 48
_LONGEST_MKI = 128


def read(line: str, suites: Sequence[str]) -> Crypto:
    """One crypto line if it is acceptable under `suites`; raises `SdpError` with the reason."""
    crypto = Crypto.parse(line)
    if crypto.suite not in suites or crypto.suite not in SUITES:
        raise SdpError(f"suite {crypto.suite} is not allowed")
    if len(crypto.key) != SUITES[crypto.suite].master_length:
        raise SdpError(f"key of the wrong length for {crypto.suite}")
    if crypto.lifetime is not None and not _LEAST_LIFETIME <= crypto.lifetime <= _MOST_LIFETIME:
        raise SdpError("key lifetime outside 2^20 to 2^48")
    if crypto.mki is not None and (crypto.mki[0] != 1 or crypto.mki[1] > _LONGEST_MKI):
        raise SdpError("MKI other than 1")
    for parameter in crypto.parameters:
        if not parameter.startswith(("-", "WSH=")):
            raise SdpError(f"session parameter {parameter[:40]} is not supported")
    return crypto


def choose(lines: Sequence[str], suites: Sequence[str]) -> Crypto | None:
    """The first acceptable line of an offer: its order is the offerer's wish (RFC 4568 §5.1.2)."""
    for line in lines:
        try:
            return read(line, suites)
        except SdpError:
            continue
    return None


def make(tag: int, suite: str, random: Callable[[int], bytes]) -> Crypto:
    """A line of ours with a fresh key."""
    return Crypto(tag, suite, random(SUITES[suite].master_length))


def offer(
    suites: Sequence[str], used: Crypto | None, random: Callable[[int], bytes]
) -> list[Crypto]:
    """Our lines, one for each suite. What is `used` already comes first and with its key, so that
    nothing changes for a peer that takes it again."""
    ordered = sorted(suites, key=lambda suite: used is None or suite != used.suite)
    lines = [make(tag, suite, random) for tag, suite in enumerate(ordered, start=1)]
    if used is not None and lines[0].suite == used.suite:
        lines[0] = Crypto(1, used.suite, used.key)
    return lines


def match(offered: Sequence[Crypto], lines: Sequence[str]) -> tuple[Crypto, Crypto]:
    """Our line and the peer's, from the lines of an answer (RFC 4568 §5.1.3).

    Raises `SdpError` unless the answer has exactly one line whose tag and suite we offered: there
    are phones that answer with a suite of their own choice and then send plain RTP.
    """
    if len(lines) != 1:
        raise SdpError(f"answer with {len(lines)} crypto lines")
    theirs = read(lines[0], [crypto.suite for crypto in offered])
    for ours in offered:
        if (ours.tag, ours.suite) == (theirs.tag, theirs.suite):
            if ours.key == theirs.key:
                raise SdpError("answer repeats our own key")
            return ours, theirs
    raise SdpError("answer with a crypto tag that was not offered")
