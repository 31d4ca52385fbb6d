from array import array

import numpy as np
import pytest

from media.codec.g711 import G711Decoder, G711Encoder
from tests.media.sound import frames, samples


def pcm(*values: int) -> bytes:
    return array("h", values).tobytes()


# ITU-T G.711 tables 1a and 2a: decision values in 16 bits, and the code words on the wire
@pytest.mark.parametrize(
    ("a_law", "sample", "code", "decoded"),
    [
        (False, 0, 0xFF, 0),
        (False, 32767, 0x80, 32124),
        (False, -32768, 0x00, -32124),
        (False, 1000, 0xCE, 988),
        (False, -1000, 0x4E, -988),
        (True, 0, 0xD5, 8),
        (True, 32767, 0xAA, 32256),
        (True, -32768, 0x2A, -32256),
        (True, 1000, 0xFA, 1008),
        (True, -1000, 0x7A, -1008),
    ],
)
def test_code_words_are_those_of_the_standard(
    a_law: bool, sample: int, code: int, decoded: int
) -> None:
    assert G711Encoder(a_law=a_law).encode(pcm(sample)) == bytes((code,))
    assert G711Decoder(a_law=a_law).decode(bytes((code,))) == pcm(decoded)


@pytest.mark.parametrize("a_law", [False, True])
def test_every_code_word_survives(a_law: bool) -> None:
    codes = bytes(range(256))
    again = G711Encoder(a_law=a_law).encode(G711Decoder(a_law=a_law).decode(codes))
    expected = bytearray(codes)
    if not a_law:
        expected[0x7F] = 0xFF  # µ-law has two zeros
    assert again == bytes(expected)


def test_a_gap_is_filled_from_both_of_its_ends() -> None:
    """The voice rises over the gap: the end of what fills it is in step with what follows."""
    t = np.arange(8000) / 8000
    phase = 2 * np.pi * np.cumsum(110 + 60 * t) / 8000
    voice = 5000 * (np.sin(phase) + np.sin(2 * phase) / 2 + np.sin(3 * phase) / 3)
    payloads = [
        G711Encoder(a_law=False).encode(frame)
        for frame in frames(voice.astype(np.int16).tobytes(), 8000)
    ]
    errors = []
    for following in (None, payloads[21]):
        decoder = G711Decoder(a_law=False)
        for payload in payloads[:20]:
            decoder.decode(payload)
        filled = samples(decoder.conceal(160, following) + decoder.decode(payloads[21]))
        errors.append(float(np.std(filled[80:200] - voice[20 * 160 + 80 : 20 * 160 + 200])))
    assert errors[1] < 0.5 * errors[0]
    assert errors[1] < 0.2 * float(np.std(voice))
