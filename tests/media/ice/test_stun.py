"""STUN against the vectors of RFC 5769, and against rubbish."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.ice import stun
from media.ice.stun import Kind, Message, Method, StunError, long_term_key

PASSWORD = b"VOkJxbRl1RmTxUk/WvJxBt"

REQUEST = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae"
    "802200105354554e207465737420636c69656e74"
    "002400046e0001ff80290008932ff9b151263b36"
    "00060009 6576746a3a68367659202020".replace(" ", "")
    + "000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf"
)
RESPONSE_IPV4 = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220"
    "002000080001a147e112a643"
    "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96"
)
RESPONSE_IPV6 = bytes.fromhex(
    "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220"
    "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"
    "00080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c"
)
LONG_TERM = bytes.fromhex(
    "000100602112a44278ad3433c6ad72c029da412e"
    "00060012e3839ee38388e383aae38383e382afe382b90000"
    "0015001c662f2f3439396b39353464364f4c33346f4c39465354767936347341"
    "0014000b6578616d706c652e6f726700"
    "00080014f67024656dd64a3e02b8e0712e85c9a28ca89666"
)


def test_rfc5769_request() -> None:
    message = Message.parse(REQUEST)
    assert (message.method, message.kind) == (Method.BINDING, Kind.REQUEST)
    assert message.get(stun.SOFTWARE) == b"STUN test client"
    assert message.get(stun.PRIORITY) == 0x6E0001FF
    assert message.get(stun.ICE_CONTROLLED) == 0x932FF9B151263B36
    assert message.get(stun.USERNAME) == "evtj:h6vY"
    assert message.verify(PASSWORD)
    assert not message.verify(b"VOkJxbRl1RmTxUk/WvJxBu")


@pytest.mark.parametrize(
    ("vector", "address"),
    [
        (RESPONSE_IPV4, "192.0.2.1"),
        (RESPONSE_IPV6, "2001:db8:1234:5678:11:2233:4455:6677"),
    ],
)
def test_rfc5769_responses(vector: bytes, address: str) -> None:
    message = Message.parse(vector)
    assert message.kind is Kind.SUCCESS
    assert message.get(stun.XOR_MAPPED_ADDRESS) == (address, 32853)
    assert message.verify(PASSWORD)


def test_rfc5769_long_term_credentials() -> None:
    message = Message.parse(LONG_TERM)
    username = message.get(stun.USERNAME)
    assert username == "マトリックス"
    assert message.get(stun.NONCE) == b"f//499k954d6OL34oL9FSTvy64sA"
    assert message.get(stun.REALM) == "example.org"
    assert message.verify(long_term_key(username, "example.org", "TheMatrIX"))


def test_rfc5769_long_term_request_is_encoded_bit_by_bit() -> None:
    parsed = Message.parse(LONG_TERM)
    key = long_term_key("マトリックス", "example.org", "TheMatrIX")
    rebuilt = Message(parsed.method, parsed.kind, parsed.transaction_id, parsed.attributes)
    assert rebuilt.encode(key, fingerprint=False) == LONG_TERM


@pytest.mark.parametrize(
    "vector",
    [REQUEST, RESPONSE_IPV4, RESPONSE_IPV6, LONG_TERM],
    ids=["request", "ipv4", "ipv6", "long-term"],
)
def test_every_changed_byte_is_noticed(vector: bytes) -> None:
    key = long_term_key("マトリックス", "example.org", "TheMatrIX")
    key = key if vector is LONG_TERM else PASSWORD
    # The head of FINGERPRINT is covered by nothing: whoever changes it has taken it off.
    covered = len(vector) if vector is LONG_TERM else len(vector) - 8
    for at in range(covered):
        broken = bytearray(vector)
        broken[at] ^= 1
        try:
            message = Message.parse(bytes(broken))
        except StunError:
            continue
        assert not message.verify(key)


@pytest.mark.parametrize(
    "vector",
    [REQUEST, RESPONSE_IPV4, RESPONSE_IPV6, LONG_TERM],
    ids=["request", "ipv4", "ipv6", "long-term"],
)
def test_every_truncation_is_an_error(vector: bytes) -> None:
    for size in range(len(vector)):
        with pytest.raises(StunError):
            Message.parse(vector[:size])


@pytest.mark.parametrize("size", [5, 8, 0xFFFF])
def test_an_attribute_that_claims_more_than_there_is_is_an_error(size: int) -> None:
    body = b"\x00\x06" + size.to_bytes(2, "big") + b"abcd"
    head = b"\x00\x01" + len(body).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + bytes(12)
    with pytest.raises(StunError):
        Message.parse(head + body)


def test_attributes_behind_the_integrity_do_not_count() -> None:
    message = Message(Method.BINDING, Kind.REQUEST, bytes(12), ((stun.USERNAME, "a:b"),))
    signed = message.encode(b"key", fingerprint=False)
    extra = b"\x00\x25\x00\x00"
    length = len(signed) - 20 + len(extra)
    parsed = Message.parse(signed[:2] + length.to_bytes(2, "big") + signed[4:] + extra)
    assert not parsed.has(stun.USE_CANDIDATE)
    assert parsed.verify(b"key")


def test_unknown_attributes_are_listed_only_if_they_must_be_understood() -> None:
    body = b"\x7f\x00\x00\x00" + b"\xff\x00\x00\x01abcd"
    head = b"\x00\x01" + len(body).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + bytes(12)
    parsed = Message.parse(head + body)
    assert parsed.unknown == (0x7F00,)
    assert parsed.attributes == ()


def test_message_without_integrity_is_verified_by_no_key() -> None:
    message = Message(Method.BINDING, Kind.REQUEST, bytes(12))
    assert not Message.parse(message.encode()).verify(b"")


_addresses = st.tuples(st.ip_addresses().map(str), st.integers(0, 65535))
_attributes = st.one_of(
    st.tuples(st.just(stun.USERNAME), st.text(max_size=40)),
    st.tuples(st.just(stun.XOR_MAPPED_ADDRESS), _addresses),
    st.tuples(st.just(stun.XOR_PEER_ADDRESS), _addresses),
    st.tuples(st.just(stun.MAPPED_ADDRESS), _addresses),
    st.tuples(st.just(stun.PRIORITY), st.integers(0, 2**32 - 1)),
    st.tuples(st.just(stun.CHANNEL_NUMBER), st.integers(0, 2**16 - 1)),
    st.tuples(st.just(stun.REQUESTED_TRANSPORT), st.integers(0, 255)),
    st.tuples(st.just(stun.ICE_CONTROLLING), st.integers(0, 2**64 - 1)),
    st.tuples(st.just(stun.USE_CANDIDATE), st.none()),
    st.tuples(st.just(stun.DATA), st.binary(max_size=60)),
    st.tuples(st.just(stun.ERROR_CODE), st.tuples(st.integers(300, 699), st.text(max_size=20))),
    st.tuples(
        st.just(stun.UNKNOWN_ATTRIBUTES),
        st.lists(st.integers(0, 65535), max_size=5).map(tuple),
    ),
)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(Method),
    st.sampled_from(Kind),
    st.binary(min_size=12, max_size=12),
    st.lists(_attributes, max_size=6).map(tuple),
    st.one_of(st.none(), st.binary(max_size=30)),
    st.booleans(),
)
def test_what_is_encoded_is_parsed(
    method: Method,
    kind: Kind,
    transaction_id: bytes,
    attributes: tuple[tuple[stun.Attribute[object], object], ...],
    key: bytes | None,
    fingerprint: bool,
) -> None:
    message = Message(method, kind, transaction_id, attributes)
    parsed = Message.parse(message.encode(key, fingerprint=fingerprint))
    assert parsed == message
    if key is not None:
        assert parsed.verify(key)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_a_message_or_an_error(data: bytes, dressed: bool) -> None:
    if dressed:  # past the header's checks, into the attributes
        data = data[: len(data) // 4 * 4]
        data = b"\x01\x01" + len(data).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + bytes(12) + data
    try:
        message = Message.parse(data)
    except StunError:
        return
    message.verify(b"key")
    assert message.attributes is not None


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([REQUEST, RESPONSE_IPV4, RESPONSE_IPV6, LONG_TERM]),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=6),
)
def test_damaged_messages_are_messages_or_errors(
    vector: bytes, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(vector)
    for at, value in changes:
        data[at % len(data)] = value
    with suppress(StunError):
        Message.parse(bytes(data)).verify(PASSWORD)
