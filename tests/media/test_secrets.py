"""Keys and passwords stay where they belong: out of the log, out of `repr`, out of what is said of
mistakes."""

import base64
import enum
import logging
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from media import crypto
from media.negotiate import NegotiationError, read_sdes, read_webrtc
from media.plane import (
    Failed,
    OfferReady,
    Refused,
    Side,
)
from media.sdp import Crypto, Sdp, SdpError
from media.srtp import SUITES
from tests.media.session_lab import Lab
from tests.media.test_local import Call, running

LEAST = 6  # letters of a secret that nobody may see in a row; a ufrag has not many more


def _parts(secret: str) -> set[str]:
    return {secret[i : i + LEAST] for i in range(max(1, len(secret) - LEAST + 1))}


def _spelled(key: bytes) -> set[str]:
    """A key as base64, in hex, and as Python shows bytes."""
    return {base64.b64encode(key).decode(), key.hex(), repr(key)[2:-1]}


def _secrets(lab: Lab) -> set[str]:
    """Of both sides of a call."""
    found = set()
    for event in lab.of(OfferReady):
        if event.side is Side.SDES:
            for line in Sdp.parse(event.sdp).media[0].values("crypto"):
                found |= _spelled(Crypto.parse(line).key)
    found |= _spelled(lab.pbx.key.key)
    ours, theirs = read_webrtc(lab.browser.remote_sdp), lab.browser.end.credentials
    found |= {ours.ufrag, ours.pwd, theirs.ufrag, theirs.pwd}
    assert all(len(secret) >= 4 for secret in found)
    return found


def _reachable(root: object) -> Iterator[object]:
    """Every object of ours that `root` holds, however deep."""
    seen: set[int] = set()
    waiting: list[Any] = [root]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, str | bytes | bytearray | int | float | enum.Enum):
            continue
        seen.add(id(one))
        if isinstance(one, dict):
            waiting += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set | frozenset):
            waiting += one
        elif type(one).__module__.startswith("media"):
            waiting += vars(one).values() if hasattr(one, "__dict__") else ()
            for kind in type(one).__mro__:
                slots = getattr(kind, "__slots__", ())
                names = (slots,) if isinstance(slots, str) else slots
                waiting += [getattr(one, name) for name in names if hasattr(one, name)]
        if type(one).__module__.startswith("media"):
            yield one


def _words(root: object) -> Iterator[str]:
    """Every text that `root` holds, however deep, and every row of bytes as it is spelled."""
    for one in _reachable(root):
        values = list(vars(one).values()) if hasattr(one, "__dict__") else []
        for kind in type(one).__mro__:
            slots = getattr(kind, "__slots__", ())
            names = (slots,) if isinstance(slots, str) else slots
            values += [getattr(one, name) for name in names if hasattr(one, name)]
        while values:
            value = values.pop()
            if isinstance(value, str):
                yield value
            elif isinstance(value, bytes | bytearray):
                yield from _spelled(bytes(value))
            elif isinstance(value, list | tuple | set | frozenset):
                values += value
            elif isinstance(value, dict):
                values += [*value.keys(), *value.values()]


@pytest.mark.parametrize("begin", [Lab.call_out, Lab.call_in, Lab.call_in_without_offer])
def test_no_object_shows_a_secret_and_no_line_of_the_log_has_one(
    begin: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    lab = Lab()
    begin(lab)
    lab.run(0.3)
    lab.talk(0.1)
    secrets = _secrets(lab)
    shown = [repr(one) for one in _reachable([lab.session, lab.events])]
    assert len(shown) > 50
    for secret in secrets:
        assert not [text for text in shown if secret in text]
    lab.session.offer(Side.SDES, "v=0", lab.now)
    lab.session.close(lab.now)
    lab.pump()
    for secret in secrets:
        assert secret not in caplog.text


@pytest.mark.parametrize("begin", [Lab.call_out, Lab.call_in, Lab.call_in_without_offer])
def test_the_trunks_key_is_nowhere_in_a_session_that_is_set_up(begin: Any) -> None:
    """It is in libsrtp's context, which overwrites it. Ours is kept, since a re-offer says it
    again; the browser's were wiped."""
    lab = Lab()
    begin(lab)
    lab.run(0.3)
    lab.session.offer(Side.SDES, lab.pbx.offer(), lab.now)
    secrets = _spelled(lab.pbx.key.key)
    held = list(_words(lab.session))
    assert len(held) > 50
    assert not [word for word in held if any(secret in word for secret in secrets)]


KEY = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj"
GOOD = f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^31|1:4"


@pytest.mark.parametrize("suite", SUITES)
def test_no_mistake_in_a_crypto_line_shows_its_key(suite: str) -> None:
    words = [*GOOD.replace("AES_CM_128_HMAC_SHA1_80", suite).split(), "KDR=1"]
    lines = [" ".join(words[i:] + words[:i]) for i in range(len(words))]
    for at in range(len(GOOD)):
        for piece in ("", " ", "|", ":", "=", ";", "x", "\t"):
            lines.append(GOOD[:at] + piece + GOOD[at + 1 :])
            lines.append(GOOD[:at] + piece + GOOD[at:])
    ours = [crypto.make(1, suite, bytes)]
    parts = _parts(KEY)
    for line in lines:
        said = ""
        try:
            crypto.match(ours, [line])
        except SdpError as error:
            said = str(error)
        assert not [part for part in parts if part in said], line


def test_no_mistake_in_a_description_shows_a_secret() -> None:
    lab = Lab()
    lab.call_out()
    secrets = [lab.browser.end.credentials.pwd, KEY]
    parts = {part for secret in secrets for part in _parts(secret)}
    for good in (lab.browser.offer(), _with_key(lab.pbx.offer())):
        for at in range(len(good)):
            for piece in ("", "\r\n", "=", " ", "\0"):
                text = good[:at] + piece + good[at + 1 :]
                said = []
                for read in (read_sdes, read_webrtc):
                    try:
                        read(text)
                    except NegotiationError as error:
                        said.append(error.text)
                assert not [part for part in parts for each in said if part in each], text


def _with_key(offer: str) -> str:
    lines = [GOOD if line.startswith("a=crypto") else line for line in offer.splitlines()]
    return "".join(f"{'a=crypto:' if line == GOOD else ''}{line}\r\n" for line in lines)


def test_a_refusal_says_nothing_secret() -> None:
    lab = Lab()
    lab.call_in()
    lab.run(0.2)
    for line in (f"inline:{KEY} 1 x", f"1 {KEY.replace('+', '_')} inline:x"):
        offer = _with_key(lab.pbx.offer()).replace(GOOD, line)
        lab.session.offer(Side.SDES, offer, lab.now)
    said = [e.text for e in lab.of(Refused)] + [e.text for e in lab.of(Failed)]
    assert len(said) == 2
    assert not [part for part in _parts(KEY) for text in said if part in text]


async def test_a_worker_at_its_most_verbose_says_nothing_secret(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    async with running() as plane:
        call = Call(plane)
        await call.connect()
        call.session.offer(Side.SDES, _with_key(call.pbx.offer()).replace(GOOD, f"1 {KEY} x"))
        await call.until(Refused)
        secrets = _spelled(call.pbx.key.key) | {KEY, call.browser.end.credentials.pwd}
        for event in call.events:
            if isinstance(event, OfferReady):
                line = Sdp.parse(event.sdp).media[0].values("crypto")[0]
                secrets |= _spelled(Crypto.parse(line).key)
        await call.hang_up()
    said = caplog.text + capfd.readouterr().err
    assert not [secret for secret in secrets if secret in said]


def test_a_worker_leaves_no_core_and_lets_nobody_look_in() -> None:
    code = (
        "import ctypes, resource; from media.secrecy import keep_memory_private\n"
        "keep_memory_private()\n"
        "print(ctypes.CDLL(None).prctl(3), resource.getrlimit(resource.RLIMIT_CORE))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "0 (0, 0)\n"
