"""SRTP once more, slow and plain, from the text of RFC 3711 and RFC 7714: the measure for the fast
one.

Each step is a function, so that the intermediate values of the RFCs can be checked: a wrong IV
agrees with itself and passes every round trip.
"""

import hmac
from hashlib import sha1

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HEADER = 12
RTCP_HEADER = 8


def keystream(key: bytes, iv: bytes, length: int) -> bytes:
    """AES in counter mode (RFC 3711 §4.1.1)."""
    return Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor().update(bytes(length))


def xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


def derive(master_key: bytes, master_salt: bytes, label: int, length: int) -> bytes:
    """A session key (RFC 3711 §4.3.1; RFC 7714 §11: a salt of 96 bits is filled up with zeros)."""
    salt = master_salt.ljust(14, b"\0")
    key_id = bytes(7) + bytes((label,)) + bytes(6)
    return keystream(master_key, xor(salt, key_id) + b"\0\0", length)


def counter_iv(salt: bytes, ssrc: bytes, index: int) -> bytes:
    """RFC 3711 §4.1.1."""
    block = xor(salt, bytes(4) + ssrc + index.to_bytes(6, "big"))
    return block + b"\0\0"


def gcm_iv(salt: bytes, ssrc: bytes, index: int) -> bytes:
    """RFC 7714 §8.1 and §9.1: both come to the same layout."""
    return xor(salt, b"\0\0" + ssrc + index.to_bytes(6, "big"))


def gcm_protect(key: bytes, salt: bytes, packet: bytes, index: int) -> bytes:
    """SRTP under session keys (RFC 7714 §8)."""
    header, payload = packet[:HEADER], packet[HEADER:]
    return header + AESGCM(key).encrypt(gcm_iv(salt, packet[8:12], index), payload, header)


def gcm_protect_rtcp(key: bytes, salt: bytes, packet: bytes, index: int) -> bytes:
    """SRTCP under session keys (RFC 7714 §9)."""
    header, payload = packet[:RTCP_HEADER], packet[RTCP_HEADER:]
    word = (0x8000_0000 | index).to_bytes(4, "big")
    iv = gcm_iv(salt, packet[4:8], index)
    return header + AESGCM(key).encrypt(iv, payload, header + word) + word


class ReferenceSrtp:
    """Protects packets under a master key.

    Args:
        key_length: of the master key that `master` begins with; the rest is the salt.
        tag_length: 10 or 4 for AES-CM with HMAC-SHA1; None: AES-GCM.
    """

    def __init__(self, master: bytes, key_length: int, tag_length: int | None) -> None:
        self._tag_length = tag_length
        key, salt = master[:key_length], master[key_length:]
        self._keys = [
            (
                derive(key, salt, first, key_length),
                derive(key, salt, first + 1, 20),
                derive(key, salt, first + 2, len(salt)),
            )
            for first in (0, 3)
        ]

    def protect(self, packet: bytes, roll_over: int = 0) -> bytes:
        key, authentication, salt = self._keys[0]
        index = roll_over << 16 | int.from_bytes(packet[2:4], "big")
        if self._tag_length is None:
            return gcm_protect(key, salt, packet, index)
        iv = counter_iv(salt, packet[8:12], index)
        payload = packet[HEADER:]
        secret = packet[:HEADER] + xor(payload, keystream(key, iv, len(payload)))
        tag = hmac.digest(authentication, secret + roll_over.to_bytes(4, "big"), sha1)
        return secret + tag[: self._tag_length]

    def protect_rtcp(self, packet: bytes, index: int) -> bytes:
        key, authentication, salt = self._keys[1]
        if self._tag_length is None:
            return gcm_protect_rtcp(key, salt, packet, index)
        iv = counter_iv(salt, packet[4:8], index)
        payload = packet[RTCP_HEADER:]
        secret = packet[:RTCP_HEADER] + xor(payload, keystream(key, iv, len(payload)))
        secret += (0x8000_0000 | index).to_bytes(4, "big")
        return secret + hmac.digest(authentication, secret, sha1)[:10]  # 80 bits always
