"""Offer/answer choices of the two sides (RFC 3264, JSEP: RFC 8829), pure.

WEBRTC side: one audio section with Opus, or G.711 for an end without Opus; everything else that is
offered is refused with port 0. Beside Opus, telephone-event is agreed on at 48 kHz alone where that
is offered: browsers send it malformed at 8 kHz under a 48 kHz codec. Candidates stand in our
descriptions; the peer may trickle.

SDES side: RTP/SAVP, several codecs and crypto lines in our offers, exactly one of each in our
answers; RTP/AVP where the settings allow plain RTP. Peers answer with several codecs and may send
any of them.

`read_*` turns a peer's text into what concerns us, `choose_*` takes from an offer, `match` reads an
answer against our offer, `*_offer` and `*_answer` write our text. What goes wrong is raised as
`NegotiationError` with the plane's `Failure`.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from media.link import Link
from media.plane import Failure
from media.sdp import (
    Attribute,
    Crypto,
    Direction,
    Fingerprint,
    Format,
    Media,
    Origin,
    Sdp,
    SdpError,
)

STREAM_ID = "ringback"  # the Matrix leg names it in sdp_stream_metadata
EVENTS = "telephone-event"
# bit/s that we ask a browser for; copies of lost speech are in it.
NARROW_BITRATE = 40_000
THIN_BITRATE = 18_000  # with 16,000 Chromium leaves the copies out

OPUS = Format(111, "opus", 48000, 2, "minptime=10;useinbandfec=1")
G722 = Format(9, "G722", 8000)
PCMA = Format(8, "PCMA", 8000)
PCMU = Format(0, "PCMU", 8000)
EVENTS_48000 = Format(110, EVENTS, 48000, 1, "0-15")
EVENTS_8000 = Format(101, EVENTS, 8000, 1, "0-15")

CODECS = {f.key: f for f in (OPUS, G722, PCMA, PCMU)}
WEBRTC_FORMATS = (OPUS, PCMU, PCMA, EVENTS_48000)

_UFRAG = re.compile("[!-9;-~]{4,256}")  # RFC 8839 §5.4, and more of ASCII than it allows
_PWD = re.compile("[!-~]{22,256}")


class NegotiationError(Exception):
    """The descriptions do not come together."""

    def __init__(self, failure: Failure, text: str) -> None:
        super().__init__(text)
        self.failure = failure
        self.text = text


@dataclass(frozen=True, slots=True)
class Agreed:
    """What may pass on one side once an offer has its answer.

    Attributes:
        send: the codec that we send, numbered as the peer wants it.
        send_events: telephone-event as the peer wants it, None if it takes no digits.
        receive: codecs that may arrive; the first is the expected one.
        receive_events: payload types of digits that may arrive.
        reason: why this codec, in words for a person.
        packet_ms: how much sound the peer wants in a packet; None: it does not say.
    """

    send: Format
    send_events: Format | None
    receive: tuple[Format, ...]
    receive_events: tuple[Format, ...] = ()
    reason: str = field(default="", compare=False)
    packet_ms: int | None = None


def _is_same(one: Format, other: Format) -> bool:
    return (one.key, one.clock_rate) == (other.key, other.clock_rate)


def _find(formats: Iterable[Format], wanted: Format) -> Format | None:
    return next((f for f in formats if _is_same(f, wanted)), None)


def events_beside(formats: Iterable[Format], codec: Format) -> Format | None:
    """The telephone-event whose clock is the codec's, or failing that the first one."""
    events = [f for f in formats if f.key == EVENTS]
    fitting = (f for f in events if f.clock_rate == codec.clock_rate)
    return next(fitting, events[0] if events else None)


def _alone(formats: Sequence[Format], codec: Format, reason: str = "") -> Agreed:
    """One codec and its telephone-event, numbered alike both ways: what our answers agree on."""
    events = events_beside(formats, codec)
    return Agreed(codec, events, (codec,), (events,) if events else (), reason)


def match(offered: Sequence[Format], answered: Sequence[Format]) -> Agreed:
    """What an answer agrees on. An end may number its payload types unlike us (RFC 3264 §5.1)."""
    known = [f for f in answered if _find(offered, f)]
    codecs = [f for f in known if f.key != EVENTS]
    if not codecs:
        raise NegotiationError(Failure.NO_CODEC, "The answer has none of the offered codecs.")
    receive: dict[int, Format] = {}
    for theirs in known:
        ours = _find(offered, theirs)
        if ours is not None:
            receive[ours.payload_type] = ours
    for theirs in known:
        receive.setdefault(theirs.payload_type, theirs)
    return Agreed(
        codecs[0],
        events_beside(known, codecs[0]),
        tuple(f for f in receive.values() if f.key != EVENTS),
        tuple(f for f in receive.values() if f.key == EVENTS),
        "chosen by the far end out of our offer",
    )


def timed(agreed: Agreed, remote: "WebrtcRemote | SdesRemote") -> Agreed:
    """With the packet time that the peer asks for."""
    return replace(agreed, packet_ms=remote.sections[remote.index].packet_ms)


def _parse(text: str) -> Sdp:
    try:
        return Sdp.parse(text)
    except SdpError as error:
        text = f"Unreadable session description: {error}"
        raise NegotiationError(Failure.BAD_SDP, text) from None


def _refused(media: Media) -> Media:
    """The answer to a section that we do not take (RFC 3264 §6)."""
    mid = [a for a in media.attributes if a.name == "mid"]
    return Media(
        media.kind, 0, media.protocol, media.payloads[:1], None, (*mid, Attribute("inactive"))
    )


def _format_lines(formats: Iterable[Format]) -> list[Attribute]:
    lines = []
    for f in formats:
        lines.append(Attribute("rtpmap", f.rtpmap))
        if f.parameters:
            lines.append(Attribute("fmtp", f"{f.payload_type} {f.parameters}"))
    return lines


def _answered_formats(agreed: Agreed) -> tuple[Format, ...]:
    """As they stand in our answer: the peer's numbers with our own parameters."""
    formats = [replace(agreed.send, parameters=CODECS[agreed.send.key].parameters)]
    if agreed.send_events:
        formats.append(replace(agreed.send_events, parameters="0-15"))
    return tuple(formats)


# --- the WEBRTC side


@dataclass(frozen=True, slots=True)
class WebrtcRemote:
    """A browser's description, as far as it concerns us.

    Attributes:
        index: which m-line is the audio.
        complete: whether end-of-candidates was in it.
        setup: "actpass", "active" or "passive".
        grouped: whether it wants the audio bundled.
        sections: all m-lines, for the answer to mirror.
    """

    index: int
    mid: str
    ufrag: str = field(repr=False)
    pwd: str = field(repr=False)
    candidates: tuple[str, ...]
    complete: bool
    fingerprints: tuple[Fingerprint, ...]
    setup: str
    direction: Direction
    formats: tuple[Format, ...]
    grouped: bool
    sections: tuple[Media, ...]


@dataclass(frozen=True, slots=True)
class WebrtcLocal:
    """What our descriptions for the WEBRTC side say of ourselves.

    Attributes:
        narrow: nothing above 4 kHz is of use, as the phone has no more.
        thin_link: the browser is asked to send little.
    """

    session_id: int
    version: int
    ufrag: str = field(repr=False)
    pwd: str = field(repr=False)
    fingerprint: str
    candidates: tuple[str, ...]
    complete: bool
    ssrc: int
    narrow: bool = False
    thin_link: bool = False


def read_webrtc(text: str) -> WebrtcRemote:
    sdp = _parse(text)
    index = next((i for i, m in enumerate(sdp.media) if _is_webrtc_audio(m)), None)
    if index is None:
        raise NegotiationError(Failure.BAD_SDP, "No audio over DTLS-SRTP in the description.")
    audio = sdp.media[index]
    ufrag, pwd = sdp.value(audio, "ice-ufrag") or "", sdp.value(audio, "ice-pwd") or ""
    setup = sdp.value(audio, "setup") or "active"
    try:
        fingerprints, formats = sdp.fingerprints(audio), audio.formats()
    except SdpError as error:
        raise NegotiationError(Failure.BAD_SDP, f"Unreadable audio section: {error}") from None
    if not _UFRAG.fullmatch(ufrag) or not _PWD.fullmatch(pwd):
        raise NegotiationError(Failure.BAD_SDP, "No usable ICE credentials in the description.")
    mid = audio.value("mid") or ""
    if any(c.isspace() for c in mid):
        raise NegotiationError(Failure.BAD_SDP, "Unusable a=mid in the description.")
    if not fingerprints:
        raise NegotiationError(Failure.BAD_SDP, "No certificate fingerprint in the description.")
    if setup not in ("actpass", "active", "passive"):
        raise NegotiationError(Failure.BAD_SDP, f"Unusable a=setup:{setup[:20]}")
    if not audio.has("rtcp-mux"):
        raise NegotiationError(Failure.BAD_SDP, "No a=rtcp-mux in the description.")
    return WebrtcRemote(
        index,
        mid,
        ufrag,
        pwd,
        audio.candidates(),
        sdp.value(audio, "end-of-candidates") is not None,
        fingerprints,
        setup,
        sdp.direction(audio),
        formats,
        any(_bundles(a, mid) for a in sdp.attributes),
        sdp.media,
    )


def _bundles(attribute: Attribute, mid: str) -> bool:
    """Whether a section is one of a group that shares its transport (RFC 9143 §7.1)."""
    kind, *mids = (attribute.value or "").split() or [""]
    return attribute.name == "group" and kind == "BUNDLE" and mid in mids


def _is_webrtc_audio(media: Media) -> bool:
    live = media.port != 0 or media.has("bundle-only")
    return media.kind == "audio" and live and "SAVP" in media.protocol


def choose_webrtc(remote: WebrtcRemote, other: str, link: Link = Link.UNKNOWN) -> Agreed:
    """The codec towards an offering browser, and why.

    What both ends have passes untouched, if it suits the link: Opus suits any, G.711 a wired one or
    Wi-Fi, since it has nothing to offer against loss and takes twice the bandwidth. Else the
    browser gets Opus.

    Args:
        other: the codec of the other side.
        link: what is known of the browser's network.
    """
    opus = _find(remote.formats, OPUS)
    shared = _find(remote.formats, CODECS[other]) if other in ("pcmu", "pcma") else None
    if opus is not None and other == OPUS.key:
        return _alone(remote.formats, opus, "both ends have Opus")
    if opus is not None and (shared is None or link is not Link.LOCAL):
        phone = f"the phone has {CODECS[other].name} alone"
        return _alone(remote.formats, opus, f"{phone}, the Matrix client's network is {link.value}")
    if shared is not None:
        why = f"its network is {link.value}" if opus else "the Matrix client has no Opus"
        return _alone(remote.formats, shared, f"both ends have {shared.name}, {why}")
    for codec in (PCMU, PCMA):
        found = _find(remote.formats, codec)
        if found is not None:
            return _alone(remote.formats, found, "the Matrix client has no Opus")
    raise NegotiationError(Failure.NO_CODEC, "The browser offers neither Opus nor G.711.")


def webrtc_offer(local: WebrtcLocal) -> str:
    """Audio alone, both ways; the answer settles the DTLS roles."""
    audio = _webrtc_section(
        local, "0", "UDP/TLS/RTP/SAVPF", WEBRTC_FORMATS, "actpass", Direction.SENDRECV
    )
    return _webrtc_sdp(local, (audio,), ("0",))


def webrtc_answer(
    remote: WebrtcRemote, local: WebrtcLocal, agreed: Agreed, *, setup: str
) -> tuple[str, Direction]:
    """The answer and the direction in it. `setup` is our DTLS role, "active" or "passive"."""
    direction = remote.direction.mirrored
    protocol = remote.sections[remote.index].protocol
    formats = _answered_formats(agreed)
    audio = _webrtc_section(local, remote.mid, protocol, formats, setup, direction)
    bundle = (remote.mid,) if remote.grouped and remote.mid else ()
    return _webrtc_sdp(local, _among(remote, audio), bundle), direction


def webrtc_re_offer(
    before: WebrtcRemote, local: WebrtcLocal, formats: Sequence[Format]
) -> tuple[str, Direction]:
    """An offer within a call, and the direction in it: both ways, since only who holds can end
    that. It keeps the sections and names of what the browser described `before` (RFC 3264 §8), and
    leaves the DTLS role open, which for an association that exists changes nothing (RFC 8842
    §5.5)."""
    direction = Direction.SENDRECV
    protocol = before.sections[before.index].protocol
    audio = _webrtc_section(local, before.mid, protocol, formats, "actpass", direction)
    bundle = (before.mid,) if before.grouped and before.mid else ()
    return _webrtc_sdp(local, _among(before, audio), bundle), direction


def webrtc_formats(current: Agreed) -> tuple[Format, ...]:
    """What an offer within a call holds: what is in use."""
    return _answered_formats(_alone(current.receive_events, current.receive[0]))


def webrtc_role(remote: WebrtcRemote) -> str:
    """Our DTLS role opposite an offer: active wherever the peer leaves the choice (RFC 5763 §5)."""
    return "passive" if remote.setup == "active" else "active"


def _webrtc_section(
    local: WebrtcLocal,
    mid: str,
    protocol: str,
    formats: Sequence[Format],
    setup: str,
    direction: Direction,
) -> Media:
    attributes = [Attribute("mid", mid)] if mid else []
    attributes += [
        Attribute("rtcp", "9 IN IP4 0.0.0.0"),
        Attribute("ice-ufrag", local.ufrag),
        Attribute("ice-pwd", local.pwd),
        Attribute("ice-options", "trickle"),
        Attribute("fingerprint", local.fingerprint),
        Attribute("setup", setup),
        Attribute(direction.value),
        Attribute("msid", f"{STREAM_ID} audio"),
        Attribute("rtcp-mux"),
        *_format_lines(_wished(f, local) for f in formats),
        *((Attribute("ptime", "60"), Attribute("maxptime", "60")) if local.thin_link else ()),
        Attribute("ssrc", f"{local.ssrc} cname:{STREAM_ID}"),
        *(Attribute.parse(candidate) for candidate in local.candidates),
    ]
    if local.complete:
        attributes.append(Attribute("end-of-candidates"))
    address, port = _default_candidate(local.candidates)
    payloads = tuple(str(f.payload_type) for f in formats)
    return Media("audio", port, protocol, payloads, address, tuple(attributes))


def _wished(codec: Format, local: WebrtcLocal) -> Format:
    """As we describe it, so that the browser sends what is of use (RFC 7587 §6.1).

    A band that the phone does not have is not worth any bits. A browser that is told so would spend
    less on the rest, too, if it were not told how much it may.
    """
    if codec.key != OPUS.key:
        return codec
    parameters = codec.parameters
    if local.narrow:
        parameters += ";maxplaybackrate=8000"
    if local.narrow or local.thin_link:
        bitrate = THIN_BITRATE if local.thin_link else NARROW_BITRATE
        parameters += f";maxaveragebitrate={bitrate}"
    return replace(codec, parameters=parameters)


def is_narrow(codec: Format | None) -> bool:
    """Whether a phone that speaks so has nothing above 4 kHz; None: it is not known how."""
    return codec is not None and codec.key in (PCMU.key, PCMA.key)


def _default_candidate(candidates: Sequence[str]) -> tuple[str, int]:
    """Address and port for c= and m= (RFC 8839 §4.2.1.2); port 9 while there is none."""
    for candidate in candidates:
        words = candidate.split()
        if len(words) > 5 and words[5].isdigit():
            return words[4], int(words[5])
    return "0.0.0.0", 9


def _webrtc_sdp(local: WebrtcLocal, media: tuple[Media, ...], bundle: tuple[str, ...]) -> str:
    attributes = [Attribute("msid-semantic", f" WMS {STREAM_ID}")]
    if bundle:
        attributes.insert(0, Attribute("group", " ".join(("BUNDLE", *bundle))))
    origin = Origin(local.session_id, local.version)
    return str(Sdp(origin, media, None, tuple(attributes)))


# --- the SDES side


@dataclass(frozen=True, slots=True)
class SdesRemote:
    """A trunk's description, as far as it concerns us.

    Attributes:
        address: where it wants its packets, as written (an IP address in practice).
        rtcp: port for RTCP at the same address, None when muxed with RTP.
        direction: as it was meant: `c=0.0.0.0`, the hold of RFC 2543, receives nothing.
        cryptos: the values of its a=crypto lines.
    """

    index: int
    address: str
    port: int
    rtcp: int | None
    direction: Direction
    cryptos: tuple[str, ...] = field(repr=False)
    formats: tuple[Format, ...]
    sections: tuple[Media, ...]


@dataclass(frozen=True, slots=True)
class SdesLocal:
    """What our descriptions for the SDES side say of ourselves."""

    session_id: int
    version: int
    address: str
    port: int


_CLEAR = ("RTP/AVP", "RTP/AVPF")
_RTP = (*_CLEAR, "RTP/SAVP", "RTP/SAVPF")

Wish = Callable[[Media], bool]


def is_keyed(media: Media) -> bool:
    """Whether a section has crypto lines.

    Deviation: RTP/AVP may have them as well (PBXs that encrypt by "best effort" offer so); what is
    sent is SRTP all the same.
    """
    return media.has("crypto") and media.protocol in _RTP


def is_clear(media: Media) -> bool:
    """Whether a section may be taken as plain RTP."""
    return media.protocol in _CLEAR


def read_sdes(text: str, *wishes: Wish) -> SdesRemote:
    """Find the live audio section that the earliest of the `wishes` takes; `is_keyed` by itself."""
    sdp = _parse(text)
    live = [(i, m) for i, m in enumerate(sdp.media) if m.kind == "audio" and m.port != 0]
    if not live:
        raise NegotiationError(Failure.BAD_SDP, "No audio in the description.")
    found = [(i, m) for takes in wishes or (is_keyed,) for i, m in live if takes(m)]
    if not found:
        raise _not_wanted([media for _, media in live], wishes)
    index, audio = found[0]
    try:
        address, direction = sdp.address_of(audio), sdp.direction(audio)
        formats = audio.formats()
    except SdpError as error:
        raise NegotiationError(Failure.BAD_SDP, f"Unreadable audio section: {error}") from None
    if address in ("0.0.0.0", "::"):
        direction = Direction.of(sends=direction.sends, receives=False)
    return SdesRemote(
        index,
        address,
        audio.port,
        None if audio.has("rtcp-mux") else _rtcp_port(audio),
        direction,
        tuple(audio.values("crypto")),
        formats,
        sdp.media,
    )


def _not_wanted(live: Sequence[Media], wishes: Sequence[Wish]) -> NegotiationError:
    """Why none of the audio sections can be taken."""
    if list(wishes) == [is_clear]:
        text = "The trunk insists on encryption (SRTP), which is turned off for it."
        return NegotiationError(Failure.ONLY_SRTP, text)
    if any(map(is_keyed, live)):
        text = "The trunk offers no encryption that is allowed for it."
    else:
        text = "The trunk does not encrypt the audio (no SRTP)."
    return NegotiationError(Failure.NO_SRTP, text)


def _rtcp_port(audio: Media) -> int:
    """a=rtcp (RFC 3605), or the port above; 0, nowhere, if neither makes sense."""
    word = (audio.value("rtcp") or "").partition(" ")[0]
    if word.isascii() and word.isdigit() and len(word) <= 5 and int(word) <= 65535:
        return int(word)
    return audio.port + 1 if audio.port < 65535 else 0


def choose_sdes(remote: SdesRemote, codecs: Sequence[str], current: Format | None = None) -> Agreed:
    """The codec towards an offering trunk: the current one if still offered, else as we prefer."""
    held = _find(remote.formats, current) if current is not None else None
    if held is not None:
        return _alone(remote.formats, held, "in use before, and offered again")
    for name in codecs:
        codec = _find(remote.formats, CODECS[name]) if name in CODECS else None
        if codec is not None:
            return _alone(remote.formats, codec, "the first of the trunk's settings that it offers")
    raise NegotiationError(Failure.NO_CODEC, "The trunk offers none of the codecs allowed for it.")


def sdes_formats(codecs: Sequence[str], current: Agreed | None = None) -> tuple[Format, ...]:
    """What our offers hold: the codecs of the settings, then telephone-event at their clocks.

    Within a session the `current` codec comes first, and its number means nothing else (RFC 3264
    §8.3.2).
    """
    chosen = [CODECS[name] for name in codecs if name in CODECS]
    clocks = {f.clock_rate for f in chosen}
    events = [f for f in (EVENTS_8000, EVENTS_48000) if f.clock_rate in clocks]
    if current is None:
        return (*chosen, *events)
    kept = _answered_formats(_alone(current.receive_events, current.receive[0]))
    numbers = {f.payload_type for f in kept}
    others = [f for f in (*chosen, *events) if not _find(kept, f) and f.payload_type not in numbers]
    return tuple(sorted((*kept, *others), key=lambda f: f.key == EVENTS))


def sdes_offer(
    local: SdesLocal,
    cryptos: Sequence[Crypto],
    formats: Sequence[Format],
    before: SdesRemote | None = None,
    *,
    secure: bool = True,
) -> tuple[str, Direction]:
    """The offer and the direction in it. It keeps the sections of what the trunk described `before`
    (RFC 3264 §8); else `secure` says whether it must be encrypted."""
    protocol, mux = "RTP/SAVP" if secure else "RTP/AVP", False
    if before is not None:
        protocol, mux = before.sections[before.index].protocol, before.rtcp is None
    direction = Direction.SENDRECV
    audio = _sdes_section(local, protocol, cryptos, formats, direction, mux=mux)
    return _sdes_sdp(local, (audio,) if before is None else _among(before, audio)), direction


def sdes_answer(
    remote: SdesRemote, local: SdesLocal, crypto: Crypto | None, agreed: Agreed
) -> tuple[str, Direction]:
    """The answer and the direction in it; without a `crypto` it agrees on plain RTP."""
    direction = remote.direction.mirrored
    protocol = remote.sections[remote.index].protocol
    formats = _answered_formats(agreed)
    audio = _sdes_section(
        local, protocol, (crypto,) if crypto else (), formats, direction, mux=remote.rtcp is None
    )
    return _sdes_sdp(local, _among(remote, audio)), direction


def _among(remote: WebrtcRemote | SdesRemote, audio: Media) -> tuple[Media, ...]:
    """Our section in the place of the peer's, whose others we do not take."""
    sections = [_refused(media) for media in remote.sections]
    sections[remote.index] = audio
    return tuple(sections)


def _sdes_section(
    local: SdesLocal,
    protocol: str,
    cryptos: Sequence[Crypto],
    formats: Sequence[Format],
    direction: Direction,
    *,
    mux: bool,
) -> Media:
    attributes = [Attribute("crypto", str(crypto)) for crypto in cryptos]
    attributes += _format_lines(formats)
    attributes += [Attribute("ptime", "20"), Attribute(direction.value)]
    if mux:
        attributes.append(Attribute("rtcp-mux"))
    payloads = tuple(str(f.payload_type) for f in formats)
    return Media("audio", local.port, protocol, payloads, None, tuple(attributes))


def _sdes_sdp(local: SdesLocal, media: tuple[Media, ...]) -> str:
    origin = Origin(local.session_id, local.version, local.address)
    return str(Sdp(origin, media, local.address))
