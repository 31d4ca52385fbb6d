"""URIs of STUN and TURN servers (RFC 7064, RFC 7065)."""

import pytest

from media.ice.server import Server


@pytest.mark.parametrize(
    ("uri", "server"),
    [
        ("stun:stun.example.org", Server(False, "stun.example.org", 3478, "udp")),
        ("turn:turn.example.org:3479", Server(True, "turn.example.org", 3479, "udp")),
        ("turn:t.example.org?transport=udp", Server(True, "t.example.org", 3478, "udp")),
        ("TURN:t.example.org?transport=TCP", Server(True, "t.example.org", 3478, "tcp")),
        ("turns:t.example.org", Server(True, "t.example.org", 5349, "tls")),
        ("turns:t.example.org:443?transport=tcp", Server(True, "t.example.org", 443, "tls")),
        ("turn:[2001:db8::1]:3478", Server(True, "2001:db8::1", 3478, "udp")),
        ("turn:[2001:db8::1]", Server(True, "2001:db8::1", 3478, "udp")),
        ("stun:192.0.2.1:3478?transport=udp", Server(False, "192.0.2.1", 3478, "udp")),
    ],
)
def test_uris(uri: str, server: Server) -> None:
    assert Server.parse(uri) == server


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "turn",
        "turn:",
        "http://example.org",
        "stuns:example.org",
        "turns:example.org?transport=udp",
        "turn:example.org?transport=sctp",
        "turn:example.org:0",
        "turn:example.org:65536",
        "turn:example.org:x",
        "turn:[2001:db8::1",
        "turn:[2001:db8::1]3478",
    ],
)
def test_what_cannot_be_used_is_refused(uri: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # the message is for people
        Server.parse(uri)


def test_credential_is_not_shown() -> None:
    server = Server.parse("turn:example.org", "user", "secret")
    assert server.credential == "secret"
    assert "secret" not in repr(server)
