"""Our end of the offer/answer exchange with the browser (RFC 3264, JSEP: RFC 8829), pure.

Texts of the browser come in, ours go out, and what they agree on is a `WebrtcSettled` for the
session to act upon. The DTLS role is settled by the first exchange and stays.
"""

from collections.abc import Callable
from dataclasses import dataclass

from media import negotiate
from media.description import Description
from media.negotiate import Agreed, NegotiationError, WebrtcLocal, WebrtcRemote
from media.plane import Failure
from media.sdp import Direction, Format
from media.webrtc import WebrtcEnd


@dataclass(frozen=True, slots=True)
class WebrtcSettled:
    """What holds on the browser's side once an offer has its answer.

    Attributes:
        direction: ours.
    """

    remote: WebrtcRemote
    agreed: Agreed
    direction: Direction


class WebrtcTerms:
    """See the module's head. What cannot be had raises `NegotiationError` and changes nothing.

    Args:
        ssrc: of the stream that we send.
        random: gives so many random bytes.
        thin_link: whether the browser is asked to send sparingly.

    Attributes:
        remote: the browser's description that holds, or its offer that is open.
    """

    def __init__(
        self, *, ssrc: int, random: Callable[[int], bytes], thin_link: bool = False
    ) -> None:
        self._thin_link = thin_link
        self._narrow = False
        self.remote: WebrtcRemote | None = None
        self._ssrc = ssrc
        self._ours = Description(int.from_bytes(random(7)))
        self._role = "active"
        self._formats: tuple[Format, ...] = ()  # of our offer within the call

    @property
    def is_client(self) -> bool:
        """Whether we begin the DTLS handshake."""
        return self._role == "active"

    @property
    def is_offered(self) -> bool:
        """Whether the first offer was ours and waits for its answer."""
        return bool(self._ours.text) and self.remote is None

    def offer(self, end: WebrtcEnd, *, complete: bool, trunk: Format | None = None) -> str:
        """The offer that opens a call.

        Args:
            complete: whether no more candidates of ours will follow.
            trunk: the codec that the other side will speak, as far as one can tell.
        """
        self._narrow = negotiate.is_narrow(trunk)
        self._ours.text = negotiate.webrtc_offer(self._local(end, complete))
        return self._ours.text

    def answered(self, sdp: str) -> WebrtcSettled:
        """The browser's answer to `offer`."""
        remote = negotiate.read_webrtc(sdp)
        if remote.setup == "actpass":
            raise NegotiationError(Failure.BAD_SDP, "The answer leaves the DTLS role open.")
        agreed = negotiate.match(negotiate.WEBRTC_FORMATS, remote.formats)
        self._role = negotiate.webrtc_role(remote)
        self.remote = remote
        return WebrtcSettled(remote, negotiate.timed(agreed, remote), remote.direction.mirrored)

    def take_offer(self, sdp: str) -> WebrtcRemote:
        """The browser's offer that opens a call, to be answered later."""
        remote = negotiate.read_webrtc(sdp)
        negotiate.choose_webrtc(remote, "pcmu")  # so that a hopeless call rings nobody
        self._role = negotiate.webrtc_role(remote)
        self.remote = remote
        return remote

    def re_offer(self, end: WebrtcEnd, current: Agreed, *, complete: bool) -> str:
        """An offer of ours within the call, in the formats of the `current` terms."""
        assert self.remote is not None, "there is a call"
        remote = self.remote
        formats = self._formats = negotiate.webrtc_formats(current)
        self._ours.write(
            lambda: negotiate.webrtc_re_offer(remote, self._local(end, complete), formats)
        )
        return self._ours.text

    def re_answered(self, sdp: str, end: WebrtcEnd) -> WebrtcSettled:
        """The browser's answer to `re_offer`."""
        remote = negotiate.read_webrtc(sdp)
        agreed = negotiate.match(self._formats, remote.formats)
        if not end.proves_same(remote.fingerprints):
            raise NegotiationError(Failure.DTLS, "A new certificate needs a new call.")
        self.remote = remote
        return WebrtcSettled(remote, negotiate.timed(agreed, remote), remote.direction.mirrored)

    def is_restart(self, sdp: str) -> bool:
        """Whether a description has other ICE credentials than the one that holds."""
        new, old = negotiate.read_webrtc(sdp), self.remote
        return old is None or (new.ufrag, new.pwd) != (old.ufrag, old.pwd)

    def read_re_offer(self, sdp: str, end: WebrtcEnd | None) -> WebrtcRemote:
        """An offer within the call, to be given to `end` before it is answered."""
        remote = negotiate.read_webrtc(sdp)
        negotiate.choose_webrtc(remote, "pcmu")
        if end is None or not end.proves_same(remote.fingerprints):
            raise NegotiationError(Failure.DTLS, "A new certificate needs a new call.")
        self.remote = remote
        return remote

    def answer(self, end: WebrtcEnd, trunk: Agreed | None, *, complete: bool) -> WebrtcSettled:
        """Answer the browser's offer, the `text` is ours then.

        Args:
            trunk: what holds on the other side; its codec is taken where that suits.
        """
        assert self.remote is not None, "there is an offer to answer"
        remote = self.remote
        other = trunk.send.key if trunk is not None else "pcmu"
        self._narrow = negotiate.is_narrow(trunk.send if trunk is not None else None)
        agreed = negotiate.choose_webrtc(remote, other, end.link)

        def write() -> tuple[str, Direction]:
            local = self._local(end, complete)
            return negotiate.webrtc_answer(remote, local, agreed, setup=self._role)

        return WebrtcSettled(remote, negotiate.timed(agreed, remote), self._ours.write(write))

    @property
    def text(self) -> str:
        """Our description as last sent."""
        return self._ours.text

    def _local(self, end: WebrtcEnd, complete: bool) -> WebrtcLocal:
        local = end.credentials
        return WebrtcLocal(
            self._ours.session_id,
            self._ours.version,
            local.ufrag,
            local.pwd,
            end.fingerprint,
            end.candidates(),
            complete,
            self._ssrc,
            self._narrow,
            self._thin_link,
        )
