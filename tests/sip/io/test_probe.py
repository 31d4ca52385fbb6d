import socket
import ssl
from dataclasses import replace

import pytest

from sip.io.listener import ListenerSettings
from sip.io.probe import ProbeStep, probe, probe_listener
from sip.io.resolver import ResolveError, Target
from sip.trunk import TlsSettings, Trunk
from tests.sip.io.authority import Authority, pin_of
from tests.sip.io.registrar import Registrar, answer_with, peering
from tests.sip.io.tls_server import listening, server_context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def good(authority: Authority) -> ssl.SSLContext:
    return server_context(authority.issue("pbx.example", "127.0.0.1"))


def a_trunk(authority: Authority, port: int) -> Trunk:
    return Trunk(
        name="test",
        domain="pbx.example",
        host="127.0.0.1",
        port=port,
        username="bridge",
        password="secret",
        tls=TlsSettings(ca_file=authority.file),
    )


async def steps(trunk: Trunk, *, limit: float = 5.0) -> dict[str, ProbeStep]:
    return {step.name: step async for step in probe(trunk, limit=limit)}


async def test_good_trunk_passes_every_step(authority: Authority, good: ssl.SSLContext) -> None:
    async with peering(good) as peer:
        found = await steps(a_trunk(authority, peer.port))
    assert list(found) == ["name", "connection", "certificate", "registration"]
    assert all(step.ok for step in found.values())
    assert "for pbx.example, 127.0.0.1; valid until" in found["certificate"].text
    assert "issued by CN=Test CA; TLSv1.3, TLS_" in found["certificate"].text
    assert found["registration"].text == "accepted as bridge; no device is registered now"


async def test_registration_of_a_running_bridge_is_not_touched(
    authority: Authority, good: ssl.SSLContext
) -> None:
    registrar = Registrar(bindings=["sip:bridge@192.0.2.1:40000"])
    async with peering(good, registrar) as peer:
        found = await steps(a_trunk(authority, peer.port))
        assert registrar.bindings == ["sip:bridge@192.0.2.1:40000"]
    assert found["registration"].text.endswith("one device is registered now")
    assert all("Contact" not in request.headers for request in registrar.of("REGISTER"))


async def test_certificate_near_its_end_is_mentioned(authority: Authority) -> None:
    context = server_context(authority.issue("pbx.example", days=(-9, 3.5)))
    async with peering(context) as peer:
        found = await steps(a_trunk(authority, peer.port))
    assert found["certificate"].ok
    assert "which is in 3 days: renew it" in found["certificate"].text


async def test_wrong_password_says_what_to_check(
    authority: Authority, good: ssl.SSLContext
) -> None:
    async with peering(good) as peer:
        found = await steps(replace(a_trunk(authority, peer.port), password="wrong"))
    assert not found["registration"].ok
    assert "401" in found["registration"].text
    assert "check username, auth_username and password" in found["registration"].text
    assert "wrong" not in found["registration"].text


@pytest.mark.parametrize(("status", "words"), [(404, "no such account"), (500, "log")])
async def test_refusal_is_explained(
    authority: Authority, good: ssl.SSLContext, status: int, words: str
) -> None:
    async with peering(good, Registrar(refusals=[status])) as peer:
        found = await steps(a_trunk(authority, peer.port))
    assert not found["registration"].ok
    assert words in found["registration"].text


async def test_wrong_name_shows_the_names_that_are_there(authority: Authority) -> None:
    context = server_context(authority.issue("other.example"))
    async with peering(context) as peer:
        found = await steps(a_trunk(authority, peer.port))
        assert peer.received == []
    assert list(found) == ["name", "connection", "certificate"]
    assert found["connection"].ok
    assert not found["certificate"].ok
    assert "does not carry the name pbx.example" in found["certificate"].text
    assert "(it is for other.example; valid until" in found["certificate"].text


async def test_expired_certificate_says_since_when(authority: Authority) -> None:
    context = server_context(authority.issue("pbx.example", days=(-9, -2)))
    async with peering(context) as peer:
        found = await steps(a_trunk(authority, peer.port))
    assert "has expired" in found["certificate"].text
    assert "; ended on " in found["certificate"].text


async def test_skipped_verification_is_said_aloud(authority: Authority) -> None:
    context = server_context(authority.issue("other.example"))
    async with peering(context) as peer:
        trunk = a_trunk(authority, peer.port)
        found = await steps(replace(trunk, tls=TlsSettings(insecure_skip_verification=True)))
    assert found["certificate"].text.startswith("NOT VERIFIED")
    assert found["registration"].ok


async def test_pin_is_named_whether_it_fits_or_not(authority: Authority) -> None:
    issued = authority.issue("other.example", self_signed=True)
    async with peering(server_context(issued)) as peer:
        trunk = a_trunk(authority, peer.port)
        found = await steps(replace(trunk, tls=TlsSettings(pins=(pin_of(issued),))))
        assert found["certificate"].text.startswith("the pinned key; for other.example")
        found = await steps(replace(trunk, tls=TlsSettings(pins=("A" * 43 + "=",))))
    assert not found["certificate"].ok
    assert f"its pin is {pin_of(issued)}" in found["certificate"].text


async def test_insecure_transport_is_said_aloud(authority: Authority) -> None:
    async with peering(None) as peer:
        trunk = replace(a_trunk(authority, peer.port), insecure_transport="tcp")
        found = await steps(trunk)
    assert "anybody on the way" in found["certificate"].text
    assert found["registration"].ok


async def test_trunk_that_does_not_register_is_asked_with_options(
    authority: Authority, good: ssl.SSLContext
) -> None:
    registrar = Registrar(answers={"OPTIONS": answer_with(405)})
    async with peering(good, registrar) as peer:
        found = await steps(replace(a_trunk(authority, peer.port), register=False))
    assert found["registration"].ok
    assert registrar.of("REGISTER") == []
    assert len(registrar.of("OPTIONS")) == 1


async def test_silent_registrar_is_given_up(authority: Authority, good: ssl.SSLContext) -> None:
    async with peering(good, Registrar(silent={"REGISTER"})) as peer:
        found = await steps(a_trunk(authority, peer.port), limit=0.5)
    assert not found["registration"].ok
    assert "no answer" in found["registration"].text


async def test_port_that_speaks_no_tls_is_recognised(authority: Authority) -> None:
    async with listening(None) as seen:
        found = await steps(a_trunk(authority, seen.port), limit=0.1)
    assert list(found) == ["name", "connection"]
    assert "no answer in time" in found["connection"].text


async def test_closed_port_is_named(authority: Authority) -> None:
    async with listening(None) as seen:
        port = seen.port
    found = await steps(a_trunk(authority, port))
    assert list(found) == ["name", "connection"]
    assert not found["connection"].ok
    assert f"127.0.0.1:{port}: connection refused" in found["connection"].text


async def test_missing_file_is_named(authority: Authority, good: ssl.SSLContext) -> None:
    async with peering(good) as peer:
        trunk = a_trunk(authority, peer.port)
        tls = TlsSettings(ca_file=authority.folder / "none.pem")
        found = await steps(replace(trunk, tls=tls))
    assert not found["connection"].ok
    assert "none.pem" in found["connection"].text


class NoNames:
    async def resolve(self, trunk: Trunk) -> list[Target]:
        raise ResolveError("the name pbx.example has no address")


async def test_unknown_name_is_the_first_and_last_step(authority: Authority) -> None:
    found = [step async for step in probe(a_trunk(authority, 5061), resolver=NoNames())]
    assert [(step.name, step.ok) for step in found] == [("name", False)]
    assert "check domain, host and port" in found[0].text


async def test_second_address_is_tried_when_the_first_refuses(
    authority: Authority, good: ssl.SSLContext
) -> None:
    async with listening(None) as seen:
        closed = seen.port
    async with peering(good) as peer:

        class Two:
            async def resolve(self, trunk: Trunk) -> list[Target]:
                ports = (closed, peer.port)
                return [Target("pbx.example", port, "127.0.0.1", socket.AF_INET) for port in ports]

        trunk = a_trunk(authority, 1)
        found = {step.name: step async for step in probe(trunk, resolver=Two())}
    assert all(step.ok for step in found.values())
    assert "(but not" in found["connection"].text


async def test_trunk_that_connects_to_us_is_not_tried(authority: Authority) -> None:
    found = await steps(replace(a_trunk(authority, 1), register=False, connect=False))
    assert [(step.name, step.ok) for step in found.values()] == [("connection", True)]


# --- the listener


def test_free_port_and_good_certificate_are_said(authority: Authority) -> None:
    ours = authority.issue("us.example")
    found = probe_listener(ListenerSettings("127.0.0.1", 0, ours, ca_file=authority.file))
    assert [(step.name, step.ok) for step in found] == [("certificate", True), ("port", True)]
    assert found[0].text.startswith("for us.example; valid until")


def test_taken_port_may_be_our_own() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (found,) = probe_listener(ListenerSettings("127.0.0.1", port, insecure_transport="tcp"))
    assert found.ok
    assert "is taken: by the running bridge?" in found.text


def test_address_that_is_not_ours_and_missing_certificate_are_named(authority: Authority) -> None:
    settings = ListenerSettings("192.0.2.1", 5061, authority.folder / "none.pem")
    found = probe_listener(settings)
    assert [(step.name, step.ok) for step in found] == [("certificate", False), ("port", False)]
    assert "none.pem" in found[0].text
    assert "cannot listen on 192.0.2.1, port 5061" in found[1].text
