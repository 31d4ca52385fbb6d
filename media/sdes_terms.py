"""Our end of the offer/answer exchange with the trunk (RFC 3264, RFC 4568), pure.

Texts of the trunk come in, ours go out, and what they agree on is a `SdesSettled` for the session
to act upon. Our key stays through re-offers of the same suite, since a new one without need would
only give the peer a chance to get it wrong.

Which sections of a description are looked at, and whether plain RTP is one of the things to agree
on, is for the settings to say (`Encryption`):

    required    we offer RTP/SAVP, and take what has a crypto line of an allowed suite
    preferred   we offer RTP/AVP with crypto lines, which both kinds of trunk understand; of an
                offer we take an encrypted section, or else a plain one
    off         we offer and take RTP/AVP alone
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from media import crypto, negotiate
from media.description import Description
from media.negotiate import Agreed, NegotiationError, SdesLocal, SdesRemote, Wish
from media.plane import (
    Encryption,
    Failure,
)
from media.sdp import Crypto, Direction, Format, Media, SdpError


@dataclass(frozen=True, slots=True)
class SdesSettled:
    """What holds on the trunk's side once an offer has its answer.

    Attributes:
        keys: the lines that we and they send under; None: plain RTP.
        direction: ours.
    """

    remote: SdesRemote
    keys: tuple[Crypto, Crypto] | None
    agreed: Agreed
    direction: Direction


@dataclass(slots=True)
class _Offer:
    """Ours, open or answered: a trunk may answer it again."""

    encryption: Encryption
    cryptos: list[Crypto]
    formats: tuple[Format, ...]


class SdesTerms:
    """See the module's head. What cannot be had raises `NegotiationError` and changes nothing.

    Args:
        codecs, suites: what is allowed, in order of preference.
        address, port: ours.
        random: gives so many random bytes.

    Attributes:
        remote: the trunk's description that holds, or its offer that is open.
    """

    def __init__(
        self,
        *,
        codecs: Sequence[str],
        encryption: Encryption,
        suites: Sequence[str],
        address: str,
        port: int,
        random: Callable[[int], bytes],
    ) -> None:
        self.remote: SdesRemote | None = None
        self._codecs = tuple(codecs)
        self._allowed = self._encryption = encryption
        self._suites = tuple(suites)
        self._address = address
        self._told: str | None = None
        self._port = port
        self._random = random
        self._ours = Description(int.from_bytes(random(7)))
        self._offer: _Offer | None = None
        self._key: Crypto | None = None

    def move(self, address: str) -> bool:
        """Our address from now on; whether that is another one than the trunk was told."""
        self._address = address
        return self.is_outdated

    @property
    def is_outdated(self) -> bool:
        """Whether the trunk was told another address than ours of now."""
        return self._told is not None and self._told != self._address

    @property
    def is_offered(self) -> bool:
        """Whether there is an offer of ours that the trunk may answer."""
        return self._offer is not None

    def offer(self, current: Agreed | None) -> str:
        """Offer what the settings allow, both ways even while the trunk holds us: only who holds
        can end that, and says so in the answer (RFC 6337 §5.3).

        Args:
            current: what holds, in a call.
        """
        cryptos = []
        if self._encryption is not Encryption.OFF:
            cryptos = crypto.offer(self._suites, self._key, self._random)
        formats = negotiate.sdes_formats(self._codecs, current)
        self._offer = _Offer(self._encryption, cryptos, formats)
        secure, remote = self._encryption is Encryption.REQUIRED, self.remote
        self._ours.write(
            lambda: negotiate.sdes_offer(self._local(), cryptos, formats, remote, secure=secure)
        )
        return self._ours.text

    def answered(self, sdp: str) -> SdesSettled:
        """The trunk's answer to our offer, the first or another one."""
        offer = self._offer
        if offer is None:
            raise NegotiationError(Failure.BAD_SDP, "An answer without an offer.")
        remote = negotiate.read_sdes(sdp, *_ANSWERED[offer.encryption])
        keys = _match(offer, remote)
        agreed = negotiate.match(offer.formats, remote.formats)
        return self._settle(remote, keys, agreed, remote.direction.mirrored)

    def take_offer(self, sdp: str) -> None:
        """The trunk's offer that opens a call, to be answered later."""
        remote = self._read_offer(sdp)
        negotiate.choose_sdes(remote, self._codecs)
        self.remote = remote

    @property
    def likely(self) -> Format | None:
        """The codec that the trunk will speak, by its offer; None as long as it made none."""
        return negotiate.choose_sdes(self.remote, self._codecs).send if self.remote else None

    def answer(self) -> tuple[str, SdesSettled]:
        """The answer to what `take_offer` took."""
        assert self.remote is not None, "there is an offer to answer"
        return self._answer(self.remote, None)

    def re_offered(self, sdp: str, current: Agreed | None) -> tuple[str, SdesSettled]:
        """The answer to an offer within the call, in the `current` codec if that is possible."""
        codec = current.send if current is not None else None
        return self._answer(self._read_offer(sdp), codec)

    def _answer(self, remote: SdesRemote, current: Format | None) -> tuple[str, SdesSettled]:
        agreed = negotiate.choose_sdes(remote, self._codecs, current)
        keys = self._choose_keys(remote)
        ours = keys[0] if keys is not None else None
        direction = self._ours.write(
            lambda: negotiate.sdes_answer(remote, self._local(), ours, agreed)
        )
        return self._ours.text, self._settle(remote, keys, agreed, direction)

    def _read_offer(self, sdp: str) -> SdesRemote:
        """The trunk's offer, by the section that we would take."""
        wishes: tuple[Wish, ...] = (self._is_acceptable, negotiate.is_clear)
        match self._encryption:
            case Encryption.REQUIRED:
                wishes = (self._is_acceptable,)
            case Encryption.OFF:
                wishes = (negotiate.is_clear,)
        return negotiate.read_sdes(sdp, *wishes)

    def _is_acceptable(self, media: Media) -> bool:
        lines = media.values("crypto")
        return negotiate.is_keyed(media) and crypto.choose(lines, self._suites) is not None

    def _choose_keys(self, remote: SdesRemote) -> tuple[Crypto, Crypto] | None:
        """Our line in answer to theirs, and theirs; None: the section is taken as plain RTP."""
        if self._encryption is Encryption.OFF:
            return None
        theirs = crypto.choose(remote.cryptos, self._suites)
        if theirs is None:
            return None  # allowed, or `_read_offer` would not have taken the section
        ours = self._key
        if ours is not None and ours.suite == theirs.suite and ours.key != theirs.key:
            return Crypto(theirs.tag, theirs.suite, ours.key), theirs
        return crypto.make(theirs.tag, theirs.suite, self._random), theirs

    def _settle(
        self,
        remote: SdesRemote,
        keys: tuple[Crypto, Crypto] | None,
        agreed: Agreed,
        direction: Direction,
    ) -> SdesSettled:
        self.remote = _without_keys(remote)  # they are in the SRTP context from here on
        self._key = keys[0] if keys is not None else None  # plain RTP ends its packet counters
        # A call that is encrypted stays so, unless its first offer is answered by another phone.
        self._encryption = self._allowed if keys is None else Encryption.REQUIRED
        return SdesSettled(remote, keys, negotiate.timed(agreed, remote), direction)

    def _local(self) -> SdesLocal:
        self._told = self._address
        return SdesLocal(self._ours.session_id, self._ours.version, self._address, self._port)


def _without_keys(remote: SdesRemote) -> SdesRemote:
    """The same, to be kept once its keys have been taken out of it."""
    sections = tuple(
        replace(media, attributes=tuple(a for a in media.attributes if a.name != "crypto"))
        for media in remote.sections
    )
    return replace(remote, cryptos=(), sections=sections)


# What may be the audio in an answer to an offer of ours.
_ANSWERED: Final = {
    Encryption.REQUIRED: (negotiate.is_keyed,),
    Encryption.PREFERRED: (negotiate.is_keyed, negotiate.is_clear),
    Encryption.OFF: (negotiate.is_clear,),
}


def _match(offer: _Offer, remote: SdesRemote) -> tuple[Crypto, Crypto] | None:
    """Our line and theirs, out of an answer; None: plain RTP."""
    if not remote.cryptos and offer.encryption is not Encryption.REQUIRED:
        return None
    if offer.encryption is Encryption.OFF:
        raise NegotiationError(Failure.BAD_SDP, "The trunk answers with encryption, unasked.")
    try:
        return crypto.match(offer.cryptos, remote.cryptos)
    except SdpError as error:
        raise NegotiationError(
            Failure.NO_SRTP, f"The trunk's encryption cannot be used: {error}"
        ) from None
