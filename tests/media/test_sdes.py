"""The SDES end alone: key identifiers on the wire, where packets go, which keys open them."""

import os

import pytest

from media import crypto
from media.ice.events import Transmit
from media.rtcp import Goodbye
from media.rtp import build
from media.sdes import SdesEnd
from media.sdp import Crypto
from media.srtp import SUITES, Srtp
from media.webrtc import LocalSocket

PBX = ("192.0.2.9", 20000)
CONTROL_PBX = (PBX[0], PBX[1] + 1)


def _end(theirs: Crypto) -> tuple[SdesEnd, Srtp]:
    """An end and the SRTP of its peer."""
    ours = crypto.make(theirs.tag, theirs.suite, os.urandom)
    end = SdesEnd(rtp=LocalSocket(0, "", 4000), rtcp=LocalSocket(1, "", 4001))
    end.set_keys(ours, theirs)
    end.set_remote(*PBX, CONTROL_PBX[1])
    return end, Srtp(theirs.suite, theirs.key, ours.key)


def _theirs(suite: str = "AES_CM_128_HMAC_SHA1_80", mki: tuple[int, int] | None = None) -> Crypto:
    return Crypto(1, suite, os.urandom(SUITES[suite].master_length), mki=mki)


def _rtp(sequence: int) -> bytes:
    return build(0, sequence, 160 * sequence, 77, b"x" * 160)


def _protected(srtp: Srtp, packet: bytes) -> bytes:
    protected = srtp.protect(packet)
    assert protected is not None
    return protected


def _with_mki(packet: bytes, tag: int) -> bytes:
    end = len(packet) - tag
    return packet[:end] + b"\0\0\0\1" + packet[end:]


@pytest.mark.parametrize("suite", list(SUITES))
@pytest.mark.parametrize("present", [True, False])
def test_an_announced_key_identifier_may_be_on_the_wire_or_not(suite: str, present: bool) -> None:
    end, peer = _end(_theirs(suite, (1, 4)))
    tag = 0 if SUITES[suite].is_gcm else SUITES[suite].tag_length
    opened = 0
    for sequence in range(1, 11):
        data = _protected(peer, _rtp(sequence))
        plain = end.receive(_with_mki(data, tag) if present else data, PBX, 0)
        opened += plain == _rtp(sequence)
    assert opened >= 8
    control = peer.protect_rtcp(bytes(Goodbye((77, 78))))
    assert control is not None
    data = _with_mki(control, 10 if tag else 0) if present else control
    assert end.receive(data, CONTROL_PBX, 1) == bytes(Goodbye((77, 78)))


def test_nothing_is_sent_or_taken_before_there_are_keys() -> None:
    end = SdesEnd(rtp=LocalSocket(0, "", 4000), rtcp=LocalSocket(1, "", 4001))
    end.set_remote(*PBX, None)
    assert not end.is_up
    assert end.send(_rtp(1), 0.0) is None
    assert end.send_rtcp(bytes(Goodbye((77,))), 0.0) is None
    assert end.receive(_rtp(1), PBX, 0) is None


@pytest.mark.parametrize(
    "address", ["pbx.example", "0.0.0.0", "239.1.1.1", "255.255.255.255", "::"]
)
def test_nothing_is_sent_to_what_is_no_host(address: str) -> None:
    end, peer = _end(_theirs())
    end.set_remote(address, 20000, 20001)
    assert end.send(_rtp(1), 0.0) is None
    end.receive(_protected(peer, _rtp(1)), PBX, 0)
    transmit = end.send(_rtp(1), 0.0)
    assert transmit is not None
    assert transmit.destination == PBX


def test_rtcp_goes_to_the_port_above_or_with_rtp() -> None:
    end, peer = _end(_theirs())
    report = bytes(Goodbye((77,)))
    assert _where(end.send_rtcp(report, 0.0)) == (1, CONTROL_PBX)
    end.set_remote(*PBX, None)
    assert _where(end.send_rtcp(report, 0.0)) == (0, PBX)
    moved = ("198.51.100.1", 1234)
    end.receive(_protected(peer, _rtp(1)), moved, 0)
    assert _where(end.send_rtcp(report, 0.0)) == (0, moved)
    end.set_remote(*PBX, 0)
    assert end.send_rtcp(report, 0.0) is None


def _where(transmit: Transmit | None) -> tuple[int, tuple[str, int]]:
    assert transmit is not None
    return transmit.socket, transmit.destination


def test_the_same_description_again_keeps_where_the_peer_was_found() -> None:
    end, peer = _end(_theirs())
    moved = ("198.51.100.1", 1234)
    end.receive(_protected(peer, _rtp(1)), moved, 0)
    end.set_remote(*PBX, CONTROL_PBX[1])
    assert _where(end.send(_rtp(1), 0.0)) == (0, moved)
    end.set_remote("192.0.2.10", 20000, 20001)
    assert _where(end.send(_rtp(2), 0.0)) == (0, ("192.0.2.10", 20000))


def test_keys_of_another_suite_are_taken_over() -> None:
    end, _ = _end(_theirs())
    theirs = _theirs("AEAD_AES_256_GCM")
    ours = crypto.make(1, theirs.suite, os.urandom)
    end.set_keys(ours, theirs)
    peer = Srtp(theirs.suite, theirs.key, ours.key)
    assert end.receive(_protected(peer, _rtp(1)), PBX, 0) == _rtp(1)


@pytest.mark.parametrize(
    "data", [b"", b"\x80", b"\x16\xfe\xff", b"\0\1\0\0", b"\x80\xc8" + bytes(50)]
)
def test_what_is_not_ours_is_dropped(data: bytes) -> None:
    end, _ = _end(_theirs())
    assert end.receive(data, PBX, 0) is None
