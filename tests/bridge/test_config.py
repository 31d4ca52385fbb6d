import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from bridge.config import Config, load, parse, secret_fields
from bridge.document import ConfigError
from bridge.setting import CODECS, SUITES, Endpoint, PortRange, Section
from media.plane import (
    Encryption,
    SessionSettings,
)
from sip.digest import Account
from sip.io.listener import ListenerSettings
from sip.trunk import CallerId, Inbound, TlsSettings
from sip.uri import Uri

ROOT = Path(__file__).parents[2]

GOOD = """\
homeserver: {url: "http://127.0.0.1:8008", domain: example.org}
appservice:
  as_token: secret-a
  hs_token: secret-h
trunks:
  - name: home
    domain: pbx.example.org
    username: ringback
    password: secret-p
lines:
  - name: house
    trunk: home
    number: +493012345678
    users: ["@alice:example.org"]
"""


def read(text: str, tmp_path: Path, **environ: str) -> Config:
    return parse(text, tmp_path / "ringback.yaml", environ)


def mistakes(text: str, tmp_path: Path, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text, tmp_path, **environ)
    return [str(mistake) for mistake in caught.value.mistakes]


def test_a_small_file_has_defaults_for_the_rest(tmp_path: Path) -> None:
    config = read(GOOD, tmp_path)
    assert config.appservice.listen == Endpoint("127.0.0.1", 29330)
    assert config.bot_id == "@ringback:example.org"
    assert config.media.ports == PortRange(40000, 40999)
    assert config.trunks[0].codecs == CODECS
    assert config.lines[0].called == ("+493012345678", "ringback")
    assert config.lines[0].region == "DE"
    assert config.database.get_secret_value() == f"sqlite:{tmp_path / 'ringback.db'}"


def test_the_lists_of_codecs_and_suites_are_those_of_the_media_plane() -> None:
    assert SessionSettings().codecs == CODECS
    assert SessionSettings().suites == SUITES


def test_a_configuration_cannot_be_changed(tmp_path: Path) -> None:
    config = read(GOOD, tmp_path)
    with pytest.raises(ValueError, match="frozen"):
        config.homeserver.url = "http://elsewhere"  # type: ignore[misc] # that is the point


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    config = read(GOOD, tmp_path)
    assert "secret-" not in repr(config)
    assert set(config.secrets()) == {"secret-a", "secret-h", "secret-p"}
    text = GOOD + "database: postgres://me:p%40ss@db/ringback\n"
    assert "p@ss" in read(text, tmp_path).secrets()


def test_plain_words_stay_what_they_were_written_as(tmp_path: Path) -> None:
    text = GOOD.replace("number: +493012345678", "number: +4722334455\n    region: NO")
    text = text.replace("secret-p", "0042")
    config = read(text, tmp_path)
    assert config.lines[0].number == "+4722334455"
    assert config.lines[0].region == "NO"
    assert config.trunks[0].password.get_secret_value() == "0042"


PIN = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


@pytest.mark.parametrize(
    ("setting", "encryption"),
    [
        ("", Encryption.REQUIRED),
        ("insecure_rtp: fallback", Encryption.PREFERRED),
        ("insecure_rtp: only", Encryption.OFF),
    ],
)
def test_audio_is_encrypted_unless_a_trunk_says_otherwise(
    setting: str, encryption: Encryption, tmp_path: Path
) -> None:
    config = read(GOOD.replace("name: home", f"name: home\n    {setting}"), tmp_path)
    assert config.trunks[0].encryption is encryption


def test_a_trunk_becomes_what_sip_needs(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("x")
    more = (
        "password: secret-p\n    auth_username: auth\n    host: 192.0.2.1\n    port: 5071\n"
        "    register: false\n    expires: 120\n    display_name: Us\n"
        "    mailbox: sip:1000@pbx\n"
        "    insecure_transport: tcp\n    trust_identity: true\n    caller_id: asserted\n"
        "    follow_redirects: true\n"
        "    allow_md5: false\n    realms: [pbx, proxy]\n"
        "    authenticate_peer: {username: them, password: secret-t}\n"
        "    tls: {ca_file: ca.pem, insecure_skip_verification: true}"
    )
    pinned = read(GOOD.replace("name: home", f"name: home\n    tls: {{pins: [{PIN}]}}"), tmp_path)
    assert pinned.trunks[0].to_trunk().tls == TlsSettings(pins=(PIN,))
    trunk = read(GOOD.replace("password: secret-p", more), tmp_path).trunks[0].to_trunk()
    assert (trunk.name, trunk.domain, trunk.username) == ("home", "pbx.example.org", "ringback")
    assert (trunk.password, trunk.auth_username) == ("secret-p", "auth")
    assert (trunk.host, trunk.port, trunk.register) == ("192.0.2.1", 5071, False)
    assert (trunk.expires, trunk.display_name) == (120, "Us")
    assert trunk.caller_id is CallerId.ASSERTED
    assert trunk.mailbox == Uri("sip", "1000", "pbx")
    assert (trunk.insecure_transport, trunk.trust_identity) == ("tcp", True)
    assert trunk.follow_redirects
    assert (trunk.allow_md5, trunk.realms) == (False, ("pbx", "proxy"))
    assert trunk.authenticate_peer == Account("them", "secret-t")
    assert trunk.tls == TlsSettings(tmp_path / "ca.pem", insecure_skip_verification=True)


@pytest.mark.parametrize("text", ["1000", "tel:+493012345678", "sip:", "sip:1000@"])
def test_a_mailbox_is_a_sip_address(tmp_path: Path, text: str) -> None:
    more = f"password: secret-p\n    mailbox: '{text}'"
    assert "trunks[0].mailbox: not a SIP address" in " ".join(
        mistakes(GOOD.replace("password: secret-p", more), tmp_path)
    )


def test_half_an_account_of_the_peer_is_a_mistake(tmp_path: Path) -> None:
    more = "password: secret-p\n    authenticate_peer: {username: them}"
    assert "trunks[0].authenticate_peer: a name and its password belong together" in " ".join(
        mistakes(GOOD.replace("password: secret-p", more), tmp_path)
    )


def test_a_listener_becomes_what_sip_needs(tmp_path: Path) -> None:
    (tmp_path / "us.pem").write_text("x")
    text = GOOD.replace(
        "name: home",
        "name: home\n    register: false\n    connect: false\n"
        "    inbound: {certificate: pbx.example.org, networks: [192.0.2.0/24, 2001:db8::1]}",
    )
    text += (
        "listener:\n  tls: 0.0.0.0:5061\n  insecure_udp: '[::]:5060'\n"
        "  certificate_file: us.pem\n  advertise: us.example.org\n"
    )
    config = read(text, tmp_path)
    trunk = config.trunks[0].to_trunk()
    assert not trunk.connect
    assert trunk.inbound == Inbound("pbx.example.org", ("192.0.2.0/24", "2001:db8::1"))
    tls, udp = config.listener.to_settings()
    assert tls == ListenerSettings(
        "0.0.0.0", 5061, certificate_file=tmp_path / "us.pem", advertise="us.example.org"
    )
    assert (udp.host, udp.port, udp.insecure_transport) == ("::", 5060, "udp")
    assert read(GOOD, tmp_path).listener.to_settings() == []
    assert read(GOOD, tmp_path).trunks[0].to_trunk().inbound is None


DIGEST = "digest: true"
INBOUND = "inbound: {networks: [192.0.2.0/24]}"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (INBOUND, "inbound: nothing listens for this trunk; allowed: listener.tls"),
        (f"insecure_transport: udp\n    {INBOUND}", "allowed: listener.insecure_udp"),
        ("connect: false\n    register: false", "connect: neither side would connect"),
        ("inbound: {networks: []}", "networks: empty"),
        ("inbound: {digest: false}\n    connect: false\n    register: false", "neither side"),
    ],
)
def test_a_trunk_that_could_not_connect_is_a_mistake(
    settings: str, words: str, tmp_path: Path
) -> None:
    said = mistakes(GOOD.replace("name: home", f"name: home\n    {settings}"), tmp_path)
    assert len(said) == 1
    assert words in said[0]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("certificate: a.example", "certificate: A.example", True),
        ("certificate: a.example", "certificate: b.example", False),
        ("certificate: a.example", "networks: [192.0.2.1]", True),
        ("networks: [192.0.2.0/24]", "networks: [198.51.100.1, 192.0.2.7]", True),
        ("networks: [192.0.2.0/24]", "networks: [198.51.100.1]", False),
        ("networks: [192.0.2.0/24]", "networks: ['2001:db8::/32']", False),
        ("networks: [192.0.2.0/24]", f"{DIGEST}", False),
        (f"{DIGEST}", f"{DIGEST}", True),
        (
            "certificate: a.example, networks: [192.0.2.1]",
            "certificate: a.example, networks: [192.0.2.2]",
            False,
        ),
    ],
)
def test_one_peer_cannot_be_two_trunks(one: str, other: str, same: bool, tmp_path: Path) -> None:
    (tmp_path / "us.pem").write_text("x")
    trunk = GOOD[GOOD.index("  - name: home") : GOOD.index("lines:")]
    trunk += "    authenticate_peer: {username: pbx, password: secret-q}\n"
    first = trunk.replace("name: home", f"name: home\n    inbound: {{{one}}}")
    second = trunk.replace("name: home", f"name: other\n    inbound: {{{other}}}")
    text = GOOD[: GOOD.index("  - name: home")] + first + second + GOOD[GOOD.index("lines:") :]
    text += "listener: {tls: 0.0.0.0:5061, certificate_file: us.pem}\n"
    if same:
        (said,) = mistakes(text, tmp_path)
        assert "trunks[1].inbound: what trunks[0] shows would do here too" in said
    else:
        assert len(read(text, tmp_path).trunks) == 2


@pytest.mark.parametrize(
    ("network", "words"), [("192.0.2.1/24", "not a network"), ("0.0.0.0/0", "names everybody")]
)
def test_a_network_is_one(network: str, words: str, tmp_path: Path) -> None:
    inbound = f"inbound: {{networks: [{network}]}}"
    said = mistakes(GOOD.replace("name: home", f"name: home\n    {inbound}"), tmp_path)
    assert any(f"networks[0]: {words}" in text for text in said)


@pytest.mark.parametrize(
    ("transport", "inbound", "words"),
    [
        ("tcp", "certificate: a.example", "there are no certificates without TLS"),
        ("udp", "digest: true", "a datagram proves nothing about the next"),
    ],
)
def test_what_an_insecure_transport_cannot_show_is_a_mistake(
    transport: str, inbound: str, words: str, tmp_path: Path
) -> None:
    more = f"name: home\n    insecure_transport: {transport}\n    inbound: {{{inbound}}}"
    assert any(words in text for text in mistakes(GOOD.replace("name: home", more), tmp_path))


def test_a_digest_needs_a_password(tmp_path: Path) -> None:
    said = mistakes(GOOD.replace("name: home", f"name: home\n    inbound: {{{DIGEST}}}"), tmp_path)
    assert any("there is no password that it could prove" in text for text in said)


def test_a_trunk_that_registers_must_connect(tmp_path: Path) -> None:
    said = mistakes(GOOD.replace("name: home", "name: home\n    connect: false"), tmp_path)
    assert any("we cannot register without connecting" in text for text in said)


def test_an_address_of_ipv6_is_taken_with_and_without_brackets(tmp_path: Path) -> None:
    for written in ('"[2001:db8::1]"', "2001:db8::1"):
        text = GOOD.replace("domain: pbx.example.org", f"domain: {written}\n    host: {written}")
        trunk = read(text, tmp_path).trunks[0].to_trunk()
        assert (trunk.domain, trunk.host) == ("2001:db8::1", "2001:db8::1")


# --- secrets


def test_the_peers_password_is_a_secret_too(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("secret-t\n")
    more = "password: secret-p\n    authenticate_peer: {username: them, password_file: theirs}"
    config = read(GOOD.replace("password: secret-p", more), tmp_path)
    assert config.trunks[0].to_trunk().authenticate_peer == Account("them", "secret-t")
    assert "secret-t" in config.secrets()


def test_secrets_come_from_files_and_the_environment_too(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("from file\n")
    text = GOOD.replace("password: secret-p", "password_file: password")
    text = text.replace("hs_token: secret-h", "hs_token_env: HS_TOKEN")
    text += "database_env: DATABASE\n"
    config = read(text, tmp_path, HS_TOKEN="from environment", DATABASE="postgres://h/d")
    assert config.trunks[0].password.get_secret_value() == "from file"
    assert config.appservice.hs_token.get_secret_value() == "from environment"
    assert config.database.get_secret_value() == "postgres://h/d"


def test_a_secret_in_two_forms_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("p")
    text = GOOD.replace("password: secret-p", "password: p\n    password_file: password")
    assert mistakes(text, tmp_path) == [
        "10: trunks[0].password_file: stands beside password; allowed: one of the two"
    ]


def test_a_secret_that_cannot_be_had_is_told_once(tmp_path: Path) -> None:
    text = GOOD.replace("password: secret-p", "password_file: nowhere")
    text = text.replace("hs_token: secret-h", "hs_token_env: NOT_SET")
    said = mistakes(text, tmp_path)
    assert len(said) == 2
    assert said[0] == "4: appservice.hs_token_env: the environment has no NOT_SET"
    assert said[1].startswith("9: trunks[0].password_file: ")
    assert "No such file" in said[1]


def test_a_secret_that_is_missing_says_in_which_forms_it_may_come(tmp_path: Path) -> None:
    text = GOOD.replace("    password: secret-p\n", "")
    assert mistakes(text, tmp_path) == [
        "6: trunks[0].password: is missing; allowed: password, password_file or password_env"
    ]


# --- mistakes


def test_every_mistake_is_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """\
homeserver: {url: "ftp://x", domain: example.org}
appservice:
  as_token: a
  hs_token: h
  colour: red
media: {workers: many}
trunks:
  - name: home
    domain: pbx.example.org
    username: ringback
    password: p
    port: 99999
    codecs: [opus, g729]
  - name: home
    domain: pbx.example.org
    username: other
lines:
  - name: house
    trunk: hom
    number: 030 12345678
    users: [alice]
log: {level: loud}
log: {}
"""
    said = mistakes(text, tmp_path)
    assert [line.partition(": is")[0].partition(": not")[0] for line in said] == [
        "1: homeserver.url",
        "5: appservice.colour",
        "6: media.workers",
        "12: trunks[0].port",
        "13: trunks[0].codecs[1]",
        "14: trunks[1].password",
        "14: trunks[1].name: home is the name of trunks[0] too",
        "19: lines[0].trunk: there is no trunk hom; allowed: home",
        "20: lines[0].number",
        "21: lines[0].users[0]",
        "22: log.level",
        "23: log",
    ]


@pytest.mark.parametrize(
    ("after", "setting", "expected"),
    [
        ("name: home", "port: 0", "7: trunks[0].port: is out of range; allowed: 1 to 65535"),
        ("name: home", "expires: 5", "7: trunks[0].expires: is out of range; allowed: 60 to 86400"),
        ("name: home", "register: perhaps", "7: trunks[0].register: is neither true nor false;"),
        ("name: home", "tls: yes", "7: trunks[0].tls: is not a section; allowed: settings"),
        ("name: home", "codecs: []", "7: trunks[0].codecs: empty"),
        ("name: home", "codecs: opus", "7: trunks[0].codecs: is not a list; allowed: a list"),
        ("name: home", "codecs: [opus, opus]", "7: trunks[0].codecs: names something twice"),
        ("name: home", "host: a b", "7: trunks[0].host: not a host; allowed: a name such as"),
        ("name: home", "tls: {pins: [abc]}", "7: trunks[0].tls.pins[0]: not a pin; allowed: the"),
        (
            "name: home",
            f"tls: {{pins: [{PIN}], insecure_skip_verification: true}}",
            "7: trunks[0].tls.pins: verification is skipped and asked for at once; allowed: pins",
        ),
        ("trunk: home", "region: Germany", "13: lines[0].region: not a country that has"),
        ("trunk: home", "ring_seconds: soon", "13: lines[0].ring_seconds: is not a whole number;"),
        ("trunk: home", "called: [a b]", "13: lines[0].called[0]: not the user part of a SIP"),
    ],
)
def test_a_mistake_says_where_what_and_what_is_allowed(
    after: str, setting: str, expected: str, tmp_path: Path
) -> None:
    said = mistakes(GOOD.replace(after, f"{after}\n    {setting}", 1), tmp_path)
    assert len(said) == 1
    assert said[0].startswith(expected)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("+493012345678", "+49", "13: lines[0].number: not an international phone number;"),
        ("+493012345678", "+49 30 12345678", "13: lines[0].number: not in E.164, which writes it"),
        ("+493012345678", "+1555123", "13: lines[0].number: too short or too long for a number"),
        ("@alice:example.org", "alice", "14: lines[0].users[0]: not a Matrix user id; allowed: @"),
        ("username: ringback", "username: a b", "8: trunks[0].username: not the user part of a"),
        ("domain: pbx.", "domain: -pbx.", "7: trunks[0].domain: not a domain; allowed: a name"),
    ],
)
def test_a_wrong_value_says_what_would_be_right(
    old: str, new: str, expected: str, tmp_path: Path
) -> None:
    said = mistakes(GOOD.replace(old, new, 1), tmp_path)
    assert len(said) == 1
    assert said[0].startswith(expected)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("media: {ports: 80-90}", "outside of the ports"),
        ("media: {ports: 40000-40005}", "fewer than 20"),
        ("media: {ports: 40100-40000}", "fewer than 20"),
        ("media: {ports: many}", "not a range"),
        ("media: {ports: 65000-70000}", "outside of the ports"),
        ("media: {listen: localhost}", "not an IP address"),
        ("media: {advertise: me.example.org}", "not an IP address"),
        ("media: {workers: 0}", "out of range; allowed: 1 to 256"),
        ("database: mysql://x/y", "not a database that we know"),
        ("log: {level: loud}", "allowed: 'debug', 'info' or 'warning'"),
        ("log: info", "not a section"),
        (
            "colour: red",
            "homeserver, appservice, database, media, listener, trunks, lines, hooks, roads, "
            "drain_seconds, log",
        ),
        ("listener: {insecure_udp: 5061}", "not a host and a port"),
        ("listener: {tls: 0.0.0.0:5061}", "listener.tls: cannot be without a certificate"),
        ("listener: {key_file: /etc/passwd}", "a certificate and its key belong together"),
    ],
)
def test_a_mistake_at_the_top_level(setting: str, words: str, tmp_path: Path) -> None:
    said = mistakes(GOOD + setting + "\n", tmp_path)
    assert len(said) == 1
    assert words in said[0]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("listen: 127.0.0.1", "not a host and a port"),
        ("listen: 127.0.0.1:99999", "not a host and a port"),
        ("bot: Ring Back", "not the local part"),
        ("ghost_prefix: Tel", "not a prefix"),
        ("ghost_prefix: tel1", "not a prefix"),
        ("bot: tel_bot", "would be a ghost"),
        ("ghost_prefix: ring", "would be a ghost"),
        ("url: nowhere", "not a web address"),
        ("url: http://127.0.0.1:99999", "out of range"),
    ],
)
def test_a_mistake_in_the_appservice_section(setting: str, words: str, tmp_path: Path) -> None:
    said = mistakes(GOOD.replace("appservice:", f"appservice:\n  {setting}"), tmp_path)
    assert len(said) == 1
    assert words in said[0]


LINE = """\
  - name: {name}
    trunk: home
    number: {number}
    called: [{called}]
    users: ["@bob:example.org"]
"""


def test_two_lines_of_one_name_are_a_mistake(tmp_path: Path) -> None:
    text = GOOD + LINE.format(name="house", number="null", called="other")
    assert mistakes(text, tmp_path) == ["15: lines[1].name: house is the name of lines[0] too"]


def test_two_lines_for_one_called_address_are_a_mistake(tmp_path: Path) -> None:
    text = GOOD + LINE.format(name="second", number="null", called='"+493012345678"')
    said = mistakes(text, tmp_path)
    assert said[0].startswith("15: lines[1]: +493012345678 on trunk home means lines[0] already")


def test_two_lines_on_one_account_share_it_by_what_was_called(tmp_path: Path) -> None:
    text = GOOD + LINE.format(name="second", number="+493012345679", called="")
    config = read(text.replace("    called: []\n", ""), tmp_path)
    assert "+493012345678" in config.lines[0].called
    assert "+493012345679" in config.lines[1].called


def test_what_a_line_of_another_trunk_is_called_by_says_nothing_of_this_one(tmp_path: Path) -> None:
    office = """\
  - {name: office, domain: office.example.org, username: "1000", password: secret-q}
lines:
  - {name: desk, trunk: office, users: ["@alice:example.org"]}
"""
    text = GOOD.replace("lines:\n", office) + '    called: [ringback, "1000"]\n'
    config = read(text, tmp_path)
    assert [line.called for line in config.lines] == [("1000",), ("ringback", "1000")]


def test_a_certificate_without_its_key_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "c.pem").write_text("x")
    text = GOOD.replace("name: home", "name: home\n    tls: {certificate_file: c.pem}", 1)
    said = mistakes(text, tmp_path)
    assert len(said) == 1
    assert "belong together" in said[0]


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "text", "homeserver:", "- a\n- b", "{a: {b: {c: 1}}}", "lines: 5"]
)
def test_a_file_of_another_shape_is_told_in_words(text: str, tmp_path: Path) -> None:
    assert mistakes(text, tmp_path)


@pytest.mark.parametrize("text", ["a: [", "a: b: c", "\t", "a: *b", "%", "a: \x00"])
def test_what_is_not_yaml_is_told_with_its_line(text: str, tmp_path: Path) -> None:
    said = mistakes(text, tmp_path)
    assert len(said) == 1
    assert "is not YAML" in said[0]


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "nothing.yaml", {})
    (tmp_path / "latin.yaml").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="UTF-8"):
        load(tmp_path / "latin.yaml", {})


def test_the_path_of_the_file_is_in_front_of_every_mistake(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("colour: red\n")
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    lines = str(caught.value).splitlines()
    assert len(lines) >= 4
    assert all(line.startswith(f"{path}:1: ") for line in lines)


# --- the example


def settings(model: type[Section], place: str = "") -> set[str]:
    """All settings that there are, as dotted names."""
    found = set()
    for name, info in model.model_fields.items():
        here = f"{place}{info.alias or name}"
        kinds = [info.annotation, *get_args(info.annotation)]
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)]
        found |= settings(inner[0], f"{here}.") if inner else {here}
    return found


def written(value: Any, place: str = "") -> set[str]:
    if isinstance(value, dict) and place.removeprefix(".") not in settings(Config):
        return set().union(*(written(item, f"{place}.{key}") for key, item in value.items()))
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return set().union(*(written(item, place) for item in value))
    return {place.removeprefix(".")}


ROADS = """\
hooks: {public_url: "https://phone.example.org"}
roads:
  - name: sms
    hook_secret: 0123456789abcdef
    voipms: {username: me, password: secret-v}
"""


@pytest.mark.parametrize(
    ("old", "new", "mistake"),
    [
        ("", "", ""),
        ("  - name: sms", "  - name: sip", "sip is the trunk's own road"),
        ("  - name: sms", "  - name: other", "there is no road sms; allowed: sip, other"),
        ('hooks: {public_url: "https://phone.example.org"}', "", "needs the section hooks"),
        ("    hook_secret: 0123456789abcdef\n", "", "but it has no hook_secret"),
        ("0123456789abcdef", "short", "shorter than 16 characters"),
        ("0123456789abcdef", "0123456789abcdef/", "cannot stand in a web address"),
        ("    number: +493012345678\n", "", "has no number, which a road needs"),
        ("voipms: {username", "telnyx: {username", "is no setting that we know"),
        ("    voipms: {username: me, password: secret-v}", "", "exactly one provider"),
        (
            "voipms: {username: me, password: secret-v}",
            "telnyx: {api_key: k, public_key: nonsense}",
            "roads[0]",
        ),
        (
            "voipms: {username: me, password: secret-v}",
            "generic: {receive: {id: 'a[', from: a, to: b, text: c}}",
            "no JMESPath expression",
        ),
        (
            "voipms: {username: me, password: secret-v}",
            "vonage_sms: {api_key: k, api_secret: s}",
            "needs either signature_secret or insecure_unsigned_hooks",
        ),
        (
            "voipms: {username: me, password: secret-v}",
            "vonage_sms: {api_key: k, api_secret: s, signature_secret: s,"
            " insecure_unsigned_hooks: true}",
            "needs either signature_secret or insecure_unsigned_hooks",
        ),
        (
            "voipms: {username: me, password: secret-v}",
            "elks: {username: u, password: p, sources: [0.0.0.0/0]}",
            "names everybody",
        ),
        (
            "voipms: {username: me, password: secret-v}",
            "sipgate: {token_id: t, token: s}",
            "but it has no poll_seconds",
        ),
        (
            "voipms: {username: me, password: secret-v}",
            "poll_seconds: 60\n    plivo: {account: a, token: t}",
            "this provider has no list of texts to ask for",
        ),
        ("voipms: {", "poll_seconds: 1\n    voipms: {", "poll_seconds"),
    ],
)
def test_roads_fit_to_lines_and_hooks(tmp_path: Path, old: str, new: str, mistake: str) -> None:
    text = GOOD.replace("    users:", "    texts_in: sms\n    users:") + ROADS
    changed = text.replace(old, new)
    if not mistake:
        assert read(changed, tmp_path).lines[0].texts_in == "sms"
        return
    assert changed != text
    assert any(mistake in said for said in mistakes(changed, tmp_path))


def test_a_road_that_is_polled_needs_no_hooks(tmp_path: Path) -> None:
    roads = ROADS.partition("\n")[2].replace("hook_secret: 0123456789abcdef", "poll_seconds: 60")
    text = GOOD.replace("    users:", "    texts_in: sms\n    users:") + roads
    assert "hook" not in roads
    assert read(text, tmp_path).roads[0].poll_seconds == 60


def test_links_to_files_need_an_address(tmp_path: Path) -> None:
    text = GOOD.replace("    users:", "    media_links: true\n    users:")
    assert any("needs the section hooks" in said for said in mistakes(text, tmp_path))
    assert read(text + ROADS, tmp_path).lines[0].media_links


@pytest.mark.parametrize(
    ("fields", "media"), [("text: '{text}'", 0), ("text: '{text}', picture: '{media}'", 1)]
)
def test_a_described_road_carries_files_where_it_says_how(
    tmp_path: Path, fields: str, media: int
) -> None:
    send = f"{{url: 'https://acme.example', fields: {{{fields}}}}}"
    generic = f"generic: {{media_types: [image/webp], media_octets: 5000, send: {send}}}"
    roads = ROADS.replace("voipms: {username: me, password: secret-v}", generic)
    limits = read(GOOD + roads, tmp_path).roads[0].to_road().limits
    assert (limits.media, limits.media_types, limits.media_octets) == (media, ("image/webp",), 5000)


def test_the_secrets_of_roads_are_known_to_the_log(tmp_path: Path) -> None:
    text = GOOD + ROADS
    assert {"secret-v", "0123456789abcdef"} <= set(read(text, tmp_path).secrets())


def make_secrets(folder: Path) -> None:
    """The files that the example names."""
    (folder / "secrets").mkdir()
    for name in set(re.findall("secrets/([a-z_-]+)", (ROOT / "config.example.yaml").read_text())):
        (folder / "secrets" / name).write_text("0123456789abcdef")


def test_the_example_has_every_setting_and_is_valid(tmp_path: Path) -> None:
    text = (ROOT / "config.example.yaml").read_text()
    said = {
        name if name in settings(Config) else name.removesuffix("_file").removesuffix("_env")
        for name in written(yaml.safe_load(text))
    }
    assert said == settings(Config)
    make_secrets(tmp_path)
    assert read(text, tmp_path, RINGBACK_HS_TOKEN="h").trunks[0].name == "home"


def test_the_example_says_the_defaults(tmp_path: Path) -> None:
    text = (ROOT / "config.example.yaml").read_text()
    make_secrets(tmp_path)
    example = read(text, tmp_path, RINGBACK_HS_TOKEN="h")
    small = read(GOOD, tmp_path)
    assert example.media == small.media
    assert example.log == small.log
    assert example.listener == small.listener
    assert example.database == small.database
    secret = {"as_token", "hs_token", "password"}
    for one, other in (
        (example.appservice, small.appservice),
        (example.trunks[0], small.trunks[0]),
        (example.lines[0], small.lines[0]),
    ):
        left, right = one.model_dump(exclude=secret), other.model_dump(exclude=secret)
        left["called"] = right["called"] = None
        assert left == right


def test_the_secrets_are_those_that_we_think() -> None:
    assert secret_fields(Config) == ["database"]
