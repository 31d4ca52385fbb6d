"""Offers and answers of a trunk in any order, as a target: what is agreed on is never less than the
policy wants, nor in the clear once it was not.

The input chooses from a grammar of descriptions, so that what is tried is mostly near to being
acceptable: right and wrong lengths of keys, tags and suites that were offered and such that were
not, our own key given back, sections of other kinds before and behind the audio.
"""

import base64
from collections.abc import Sequence
from contextlib import suppress
from itertools import count

from media.negotiate import Agreed, NegotiationError
from media.plane import Encryption
from media.sdes_terms import SdesSettled, SdesTerms
from media.sdp import Crypto, Sdp
from media.srtp import SUITES

_SUITES = tuple(SUITES)
_NAMES = (*_SUITES, "AES_CM_128_HMAC_SHA1_80", "F8_128_HMAC_SHA1_80", "aead_aes_128_gcm")
_KINDS = ("audio", "audio", "audio", "video", "image")
_CLEAR = ("RTP/AVP", "RTP/AVPF")
_PROFILES = ("RTP/SAVP", *_CLEAR, "RTP/SAVPF", "UDP/TLS/RTP/SAVPF", "udptl")
_TAGS = ("1", "2", "3", "4", "5", "6", "7", "0", "01", "x", "999999999")
_TAILS = (
    "", "", "", "|2^31", "|2^31|1:4", "|1:4", "|2^19", "|1:129", "|2:4", "|x", " KDR=1", " WSH=64",
    " -x=1", " UNENCRYPTED_SRTP", "|2^31|1:4;inline:QUFB|2^31|2:4",
)  # fmt: skip
_LINES = ("a=sendonly", "a=inactive", "a=rtcp-mux", "a=ptime:20", "c=IN IP4 0.0.0.0", "a=crypto:")
_VERBS = 8


class _Choices:
    """What the input chooses, one byte each; the first of everything when there are no more."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def of(self, number: int) -> int:
        self._at += 1
        return self._data[self._at - 1] % number if self._at <= len(self._data) else 0

    def one(self, things: Sequence[str]) -> str:
        return things[self.of(len(things))]

    def text(self) -> str:
        size = self.of(40)
        self._at += size
        return self._data[self._at - size : self._at].decode(errors="replace")

    @property
    def are_left(self) -> bool:
        return self._at < len(self._data)


class _Exchange:
    """Our terms, the trunk that the input is, and what was agreed on last."""

    def __init__(self, policy: Encryption, choices: _Choices) -> None:
        number = count(1)
        self.policy = policy
        self.choices = choices
        self.ours = SdesTerms(
            codecs=("opus", "pcmu"),
            encryption=policy,
            suites=_SUITES,
            address="192.0.2.7",
            port=40000,
            random=lambda size: next(number).to_bytes(size),
        )
        self.said: dict[str, Crypto] = {}  # our line of each suite
        self.agreed: Agreed | None = None
        self.is_encrypted = False

    def step(self) -> None:
        """The trunk offers, we offer and it answers, or it answers once more."""
        verb = self.choices.of(3)
        if verb == 0:
            self._is_offered()
        else:
            self._offers(again=verb == 2)

    def _is_offered(self) -> None:
        sdp = self._description()
        if self.agreed is None:
            self.ours.take_offer(sdp)
            text, settled = self.ours.answer()
        else:
            text, settled = self.ours.re_offered(sdp, self.agreed)
        answer = Sdp.parse(text)
        (audio,) = (media for media in answer.media if media.port)
        assert len(answer.media) == len(Sdp.parse(sdp).media)
        lines = [Crypto.parse(line) for line in audio.values("crypto")]
        assert lines == ([] if settled.keys is None else [settled.keys[0]])
        if settled.keys is not None:
            ours, theirs = settled.keys
            assert ours.tag == theirs.tag
        self._settle(settled, may_fall=False)

    def _offers(self, *, again: bool) -> None:
        is_fork = again and self.ours.is_offered
        if not is_fork:
            lines = Sdp.parse(self.ours.offer(self.agreed)).media
            offered = [Crypto.parse(line) for m in lines for line in m.values("crypto")]
            assert not offered or self.policy is not Encryption.OFF
            assert offered or self.policy is not Encryption.REQUIRED
            self.said = {line.suite: line for line in offered}
        settled = self.ours.answered(self._description())
        if settled.keys is not None:
            assert self.said[settled.keys[0].suite] == settled.keys[0]
        self._settle(settled, may_fall=is_fork)

    def _settle(self, settled: SdesSettled, *, may_fall: bool) -> None:
        """Args: may_fall: another phone answers what was offered before the call was encrypted."""
        if settled.keys is None:
            assert self.policy is not Encryption.REQUIRED
            assert not self.is_encrypted or may_fall
            assert settled.remote.sections[settled.remote.index].protocol in _CLEAR
        else:
            assert self.policy is not Encryption.OFF
            ours, theirs = settled.keys
            assert ours.suite == theirs.suite
            assert len(ours.key) == len(theirs.key) == SUITES[ours.suite].master_length
            assert ours.key != theirs.key
            assert theirs.mki is None or theirs.mki[0] == 1
            assert not [p for p in theirs.parameters if not p.startswith(("-", "WSH="))]
            self.said.setdefault(ours.suite, ours)
        self.is_encrypted, self.agreed = settled.keys is not None, settled.agreed

    # --- the trunk

    def _description(self) -> str:
        lines = ["v=0", "o=- 1 1 IN IP4 192.0.2.9", "s=-", "c=IN IP4 192.0.2.9", "t=0 0"]
        for _ in range(1 + self.choices.of(3)):
            lines += self._section()
        return "".join(f"{line}\r\n" for line in lines)

    def _section(self) -> list[str]:
        choices = self.choices
        kind, profile = choices.one(_KINDS), choices.one(_PROFILES)
        lines = [f"m={kind} {choices.one(('5000', '0', '65535'))} {profile} 0"]
        lines += [self._line() for _ in range(choices.of(4))]
        match choices.of(4):
            case 2:
                lines.append(choices.one(_LINES))
            case 3:
                lines.append(choices.text())
        return lines

    def _line(self) -> str:
        choices = self.choices
        tag, suite = choices.one(_TAGS), choices.one(_NAMES)
        key, size = choices.of(8), SUITES[suite].master_length if suite in SUITES else 30
        data = bytes((64 + choices.of(4),)) * (size + {5: -1, 6: 1, 7: -size}.get(key, 0))
        if key == 4 and suite in self.said:
            data = self.said[suite].key
        word = base64.b64encode(data).decode()
        return f"a=crypto:{tag} {suite} inline:{word}{choices.one(_TAILS)}"


def terms(data: bytes) -> None:
    choices = _Choices(data)
    exchange = _Exchange(list(Encryption)[choices.of(3)], choices)
    for _ in range(_VERBS):
        with suppress(NegotiationError):
            exchange.step()
        if not choices.are_left:
            return


SEEDS = [
    bytes((policy, *verbs))
    for policy in range(3)
    for verbs in (
        # An encrypted offer, then the same again; a plain one.
        (0, 0, 0, 0, 0, 1, 0, 3, 0, 0, 0, 0) * 2,
        (0, 0, 0, 0, 0, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0),
        # Ours, answered in kind, with our own key, in the clear, twice.
        (1, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0),
        (1, 0, 0, 1, 0, 1, 0, 0, 4, 1, 0, 0, 2, 0, 0, 1, 0, 0, 0),
        (1, 0, 0, 1, 0, 0, 0, 2, 0, 0, 1, 0, 1, 1, 1, 0, 1, 0, 0),
        # Two sections, a picture first; a line of text.
        (0, 1, 3, 1, 0, 0, 0, 0, 0, 0, 2, 0, 6, 0, 2, 1, 1, 3, 0, 3, 3, 97, 61, 120),
    )
]
