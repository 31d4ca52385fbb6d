"""Our end of the offer/answer exchange with the trunk (RFC 3264, RFC 4568), pure.

Texts of the trunk come in, ours go out, and what they agree on is a `SdesSettled` for the session
to act upon. Our key stays through re-offers of the same suite, since a new one without need would
only give the peer a chance to get it wrong.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from media import crypto, negotiate
from media.description import Description
from media.negotiate import Agreed, NegotiationError, SdesLocal, SdesRemote
from media.plane import Failure
from media.sdp import Crypto, Direction, Format, SdpError


@dataclass(frozen=True, slots=True)
class SdesSettled:
    """What holds on the trunk's side once an offer has its answer.

    Attributes:
        ours, theirs: the keys that each sends under.
        direction: ours.
    """

    remote: SdesRemote
    ours: Crypto
    theirs: Crypto
    agreed: Agreed
    direction: Direction


@dataclass(slots=True)
class _Offer:
    """Ours, open or answered: a trunk may answer it again."""

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
        suites: Sequence[str],
        address: str,
        port: int,
        random: Callable[[int], bytes],
    ) -> None:
        self.remote: SdesRemote | None = None
        self._codecs = tuple(codecs)
        self._suites = tuple(suites)
        self._address = address
        self._port = port
        self._random = random
        self._ours = Description(int.from_bytes(random(7)))
        self._offer: _Offer | None = None
        self._key: Crypto | None = None

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
        cryptos = crypto.offer(self._suites, self._key, self._random)
        formats = negotiate.sdes_formats(self._codecs, current)
        self._offer = _Offer(cryptos, formats)
        remote = self.remote
        self._ours.write(lambda: negotiate.sdes_offer(self._local(), cryptos, formats, remote))
        return self._ours.text

    def answered(self, sdp: str) -> SdesSettled:
        """The trunk's answer to our offer, the first or another one."""
        offer = self._offer
        if offer is None:
            raise NegotiationError(Failure.BAD_SDP, "An answer without an offer.")
        remote = negotiate.read_sdes(sdp)
        try:
            ours, theirs = crypto.match(offer.cryptos, remote.cryptos)
        except SdpError as error:
            raise NegotiationError(
                Failure.NO_SRTP, f"The trunk's encryption cannot be used: {error}"
            ) from None
        agreed = negotiate.match(offer.formats, remote.formats)
        return self._settle(remote, ours, theirs, agreed, remote.direction.mirrored)

    def take_offer(self, sdp: str) -> None:
        """The trunk's offer that opens a call, to be answered later."""
        remote = negotiate.read_sdes(sdp)
        self._choose_key(remote)
        negotiate.choose_sdes(remote, self._codecs)
        self.remote = remote

    def answer(self) -> tuple[str, SdesSettled]:
        """The answer to what `take_offer` took."""
        assert self.remote is not None, "there is an offer to answer"
        return self._answer(self.remote, None)

    def re_offered(self, sdp: str, current: Agreed | None) -> tuple[str, SdesSettled]:
        """The answer to an offer within the call, in the `current` codec if that is possible."""
        codec = current.send if current is not None else None
        return self._answer(negotiate.read_sdes(sdp), codec)

    def _answer(self, remote: SdesRemote, current: Format | None) -> tuple[str, SdesSettled]:
        agreed = negotiate.choose_sdes(remote, self._codecs, current)
        ours, theirs = self._choose_key(remote)
        direction = self._ours.write(
            lambda: negotiate.sdes_answer(remote, self._local(), ours, agreed)
        )
        return self._ours.text, self._settle(remote, ours, theirs, agreed, direction)

    def _choose_key(self, remote: SdesRemote) -> tuple[Crypto, Crypto]:
        """Our line in answer to theirs."""
        theirs = crypto.choose(remote.cryptos, self._suites)
        if theirs is None:
            raise NegotiationError(
                Failure.NO_SRTP, "The trunk offers no encryption that is allowed for it."
            )
        if self._key is not None and self._key.suite == theirs.suite:
            self._key = Crypto(theirs.tag, theirs.suite, self._key.key)
        else:
            self._key = crypto.make(theirs.tag, theirs.suite, self._random)
        return self._key, theirs

    def _settle(
        self, remote: SdesRemote, ours: Crypto, theirs: Crypto, agreed: Agreed, direction: Direction
    ) -> SdesSettled:
        self.remote, self._key = remote, ours
        return SdesSettled(remote, ours, theirs, agreed, direction)

    def _local(self) -> SdesLocal:
        return SdesLocal(self._ours.session_id, self._ours.version, self._address, self._port)
