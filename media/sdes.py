"""The SDES end of a session: a pair of UDP ports and SRTP under keys from SDP (RFC 4568), sans-IO.

Packets go to the address in the trunk's description until an authentic one has come from somewhere
else; from then on they go there (symmetric RTP, RFC 4961), because trunks and we ourselves may
stand behind NAT. Only a packet whose tag verified can move the destination, so no stranger can.

Where the settings allow plain RTP, nothing verifies: such packets are taken from the host of the
description alone, and from the port of it that was heard first.

RTP and RTCP are told apart by their type and not by the port (RFC 5761), whatever was agreed on.
"""

import ipaddress
from typing import NamedTuple

from media.clear import ClearRtp
from media.ice.events import Transmit, as_transmit
from media.sdp import Crypto
from media.srtp import SUITES, Srtp
from media.webrtc import LocalSocket


class _Destination(NamedTuple):
    socket: int
    address: tuple[str, int]


class SdesEnd:
    """The trunk as seen from the engine.

    Args:
        rtp, rtcp: our two ports, even and odd.
    """

    def __init__(self, *, rtp: LocalSocket, rtcp: LocalSocket) -> None:
        self.srtp: Srtp | ClearRtp | None = None
        self.path = "udp"
        self.was_clear = False
        self.strays = 0
        self._rtp = rtp
        self._rtcp = rtcp
        self._to: _Destination | None = None
        self._rtcp_to: _Destination | None = None
        self._described: tuple[str, int, int | None] | None = None
        self._mki: _Mki | None = None
        self._clear_from: dict[bool, tuple[str, int]] = {}  # of RTP and RTCP, for plain RTP

    @property
    def is_up(self) -> bool:
        return self.srtp is not None

    def set_remote(self, address: str, port: int, rtcp_port: int | None) -> None:
        """Where the trunk's description wants packets; `rtcp_port` None: muxed with RTP.

        The same description again does not undo what was learnt since.
        """
        described = (address, port, rtcp_port)
        if described == self._described:
            return
        self._described = described
        self._to = self._rtcp_to = None
        self._clear_from.clear()
        if not _is_usable(address):
            return
        self._to = _Destination(self._rtp.number, (address, port))
        if rtcp_port is None:
            self._rtcp_to = self._to
        elif rtcp_port:
            self._rtcp_to = _Destination(self._rtcp.number, (address, rtcp_port))

    def set_keys(self, ours: Crypto, theirs: Crypto) -> None:
        """Keys of an offer/answer exchange. Unchanged ones keep their packet counters."""
        self._mki = _Mki(theirs.suite, theirs.mki[1]) if theirs.mki else None
        if isinstance(self.srtp, Srtp) and self.srtp.name == ours.suite:
            self.srtp.change_keys(ours.key, theirs.key)
        else:
            self.close()
            self.srtp = Srtp(ours.suite, ours.key, theirs.key)

    def set_clear(self) -> None:
        """The offer/answer exchange agreed on plain RTP."""
        self._mki = None
        self.was_clear = True
        if not isinstance(self.srtp, ClearRtp):
            self.close()
            self.srtp = ClearRtp()

    def close(self) -> None:
        """Forget the keys."""
        if self.srtp is not None:
            self.srtp.close()

    def receive(self, data: bytes, source: tuple[str, int], socket: int) -> bytes | None:
        """A datagram; returns an authentic RTP or RTCP packet in clear if it held one."""
        srtp = self.srtp
        if srtp is None or not data or not 128 <= data[0] <= 191:
            self.strays += 1
            return None
        control = len(data) > 1 and 192 <= data[1] <= 223  # `is_rtcp`, written out
        if isinstance(srtp, ClearRtp) and not self._is_described(source, control):
            srtp.discarded += 1
            return None
        if self._mki is not None:
            data = self._mki.strip(data, control)
        plain = srtp.unprotect_rtcp(data) if control else srtp.unprotect(data)
        if self._mki is not None:
            self._mki.learn(plain is not None)
        if plain is None:
            return None
        if control:
            if self._rtcp_to is None or self._rtcp_to.address != source:
                self._rtcp_to = _Destination(socket, source)
        elif self._to is None or self._to.address != source:
            if self._described is not None and self._described[2] is None:  # muxed with RTP
                self._rtcp_to = _Destination(socket, source)
            self._to = _Destination(socket, source)
        return plain

    def _is_described(self, source: tuple[str, int], control: bool) -> bool:
        """Whether a plain packet comes from where the trunk's description says."""
        known = self._clear_from.get(control)
        if known is not None:
            return known == source
        if self._described is None or not _is_same_host(self._described[0], source[0]):
            return False
        self._clear_from[control] = source
        return True

    def send(self, packet: bytes, now: float) -> Transmit | None:
        """An RTP packet of ours, protected; None if it cannot go anywhere now."""
        if self._to is None or self.srtp is None:
            return None
        protected = self.srtp.protect(packet)
        return as_transmit((*self._to, protected)) if protected else None

    def send_rtcp(self, packet: bytes, now: float) -> Transmit | None:
        if self._rtcp_to is None or self.srtp is None:
            return None
        protected = self.srtp.protect_rtcp(packet)
        return Transmit(*self._rtcp_to, protected) if protected else None


class _Mki:
    """The key identifier that a peer announced (RFC 3711 §3.1), taken off before authentication.

    Some that announce one do not send it, so it is learnt from the packets: they are read without
    and with it by turns until one verifies.
    """

    def __init__(self, suite: str, length: int) -> None:
        self._length = length
        # AES-CM puts the MKI before the tag; with GCM the tag belongs to the text (RFC 7714 §8).
        self._tag = 0 if SUITES[suite].is_gcm else SUITES[suite].tag_length
        self._control_tag = 10 if self._tag else 0  # SRTCP never has the short tag (RFC 4568 §6.2)
        self._present = False
        self._settled = False

    def strip(self, data: bytes, control: bool) -> bytes:
        tag = self._control_tag if control else self._tag
        if not self._present or len(data) < 12 + self._length + tag:
            return data
        end = len(data) - tag
        return data[: end - self._length] + data[end:]

    def learn(self, verified: bool) -> None:
        if verified:
            self._settled = True
        elif not self._settled:
            self._present = not self._present


def _is_same_host(described: str, seen: str) -> bool:
    """By number, however it is written."""
    try:
        return ipaddress.ip_address(described) == ipaddress.ip_address(seen)
    except ValueError:
        return False


def _is_usable(address: str) -> bool:
    """Whether packets may be sent there: one host, by number."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return not (parsed.is_multicast or parsed.is_unspecified or str(parsed) == "255.255.255.255")
