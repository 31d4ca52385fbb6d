"""The line kept up, on virtual time: an hour of outage takes a moment, and no socket is opened."""

import asyncio
import random
import socket
from dataclasses import replace
from itertools import pairwise

import pytest

from sip.events import Body, Registered, RegistrationFailed, SessionEnded
from sip.io.client import GRACE, SHUN_TIME, TrunkClient, TrunkDown, _is_ours, refusal
from sip.io.tls import TlsSettingsError
from sip.message import response_to
from sip.trunk import Trunk
from sip.uri import Uri
from tests.sip.io.network import TRUNK, Network, after, is_up, played
from tests.sip.io.registrar import Registrar, answer_with
from tests.sip.io.wiring import run_virtually


def test_line_comes_up_and_is_said_once() -> None:
    network = Network()

    async def play(client: TrunkClient) -> None:
        assert not is_up(client)
        await asyncio.sleep(1)
        assert is_up(client)
        assert client.status.text == "registered"
        await asyncio.sleep(1000)

    played(network, play)
    assert network.line == [(0.0, "TrunkUp")]
    assert network.attempts == [(0.0, "a")]
    assert sum(isinstance(event, Registered) for _, event in network.said) > 3


def test_trunk_without_registration_is_up_with_its_flow() -> None:
    registrar = Registrar()
    trunk = Trunk(name="t", domain="d", username="u", password="p", register=False)
    network = Network({"a": registrar}, trunk)
    played(network, after(20))
    assert network.line == [(0.0, "TrunkUp")]
    assert registrar.requests == []


def test_reset_is_repaired_within_three_seconds_and_nobody_is_told() -> None:
    registrar = Registrar()
    network = Network({"a": registrar}, chance=lambda: 0.99)

    async def play(client: TrunkClient) -> None:
        await asyncio.sleep(100)
        registrar.bindings.clear()
        network.cut()
        await asyncio.sleep(0.5)
        assert not is_up(client)
        assert client.status.text == "the connection was reset by the other side"
        await asyncio.sleep(2.5)
        assert is_up(client)
        assert len(registrar.bindings) == 1
        await asyncio.sleep(60)

    played(network, play)
    assert network.line == [(0.0, "TrunkUp")]


def test_an_hour_of_sleep_is_over_within_seconds() -> None:
    """The registrar has forgotten us, and the connection says nothing."""
    registrar = Registrar()
    network = Network({"a": registrar}, chance=lambda: 0.99)

    async def play(client: TrunkClient) -> None:
        await asyncio.sleep(100)
        registrar.bindings.clear()
        client.renew("the machine slept")
        await asyncio.sleep(0)
        assert client.status.text == "the machine slept"
        await asyncio.sleep(3)
        assert is_up(client)
        assert len(registrar.bindings) == 1
        await asyncio.sleep(60)

    played(network, play)
    assert network.line == [(0.0, "TrunkUp")]


def test_long_outage_is_told_once_and_so_is_its_end() -> None:
    network = Network()
    registrar = network.hosts["a"]

    async def play(client: TrunkClient) -> None:
        await asyncio.sleep(100)
        network.hosts["a"] = ConnectionRefusedError(111, "refused")
        network.cut()
        await asyncio.sleep(3600)
        network.hosts["a"] = registrar
        await asyncio.sleep(60)
        assert is_up(client)

    played(network, play)
    assert [name for _, name in network.line] == ["TrunkUp", "TrunkDown", "TrunkUp"]
    assert network.line[1][0] == 100 + GRACE
    down = next(event for _, event in network.said if isinstance(event, TrunkDown))
    assert "nothing listens" in down.text
    assert network.line[2][0] - 3700 <= 60


def test_retries_follow_the_back_off() -> None:
    network = Network({"a": ConnectionRefusedError(111, "x")}, chance=lambda: 1.0)
    played(network, after(200))
    times = [at for at, _ in network.attempts]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps == [1, 2, 4, 8, 16, 32, 60, 60]
    assert network.line == [(GRACE, "TrunkDown")]


def test_name_that_is_not_found_is_said() -> None:
    network = Network(unresolvable="the name pbx.example has no address")
    played(network, after(10))
    assert [event for _, event in network.said] == [TrunkDown(network.unresolvable)]


def test_file_that_cannot_be_used_is_said() -> None:
    network = Network({"a": TlsSettingsError("ca.pem cannot be read")})
    played(network, after(10))
    assert [event for _, event in network.said] == [TrunkDown("ca.pem cannot be read")]


def test_bug_in_an_attempt_does_not_end_the_attempts(caplog: pytest.LogCaptureFixture) -> None:
    network = Network({"a": KeyError("a bug")})

    async def play(client: TrunkClient) -> None:
        await asyncio.sleep(1)
        network.hosts["a"] = Registrar()
        await asyncio.sleep(10)
        assert is_up(client)

    played(network, play)
    assert "an attempt to connect failed" in caplog.text


def test_start_twice_is_start_once() -> None:
    network = Network()

    async def play(client: TrunkClient) -> None:
        await client.start()
        await asyncio.sleep(1)

    played(network, play)
    assert len(network.attempts) == 1


def test_next_address_is_tried_at_once() -> None:
    network = Network({"dead": TimeoutError(), "b": Registrar()})

    async def play(client: TrunkClient) -> None:
        await asyncio.sleep(1)
        assert is_up(client)

    played(network, play)
    assert network.attempts == [(0.0, "dead"), (0.0, "b")]


def test_503_sends_to_the_next_address() -> None:
    network = Network({"full": Registrar(refusals=[503] * 9), "b": Registrar()})

    async def play(client: TrunkClient) -> None:
        await asyncio.sleep(5)
        assert is_up(client)

    played(network, play)
    assert [host for _, host in network.attempts] == ["full", "b"]


STATIC = replace(TRUNK, register=False)
NUMBER = Uri.parse("sip:1@pbx.example")
SDP = Body("application/sdp", b"v=0")


@pytest.mark.parametrize("trunk", [TRUNK, STATIC])
def test_server_that_refuses_a_call_with_503_is_left_for_the_next(trunk: Trunk) -> None:
    full = Registrar(answers={"INVITE": answer_with(503)})
    good = Registrar(answers={"INVITE": answer_with(486)})
    network = Network({"full": full, "b": good}, trunk)

    async def play(client: TrunkClient) -> None:
        for _ in range(2):
            await asyncio.sleep(100)
            client.agent.invite(NUMBER, SDP, now=client.now())
            client.pump()
            await asyncio.sleep(5)
            assert is_up(client)

    played(network, play)
    assert [host for _, host in network.attempts] == ["full", "b"]
    ends = [event.status for _, event in network.said if isinstance(event, SessionEnded)]
    assert ends == [503, 486]
    assert network.line == [(0.0, "TrunkUp")]


def test_server_that_refuses_is_not_left_while_another_call_goes_on() -> None:
    answers = iter((180, 503))
    full = Registrar(answers={"INVITE": lambda r: answer_with(next(answers))(r)})
    network = Network({"full": full, "b": Registrar()}, STATIC)

    async def play(client: TrunkClient) -> None:
        await asyncio.sleep(1)
        first = client.agent.invite(NUMBER, SDP, now=client.now())
        client.agent.invite(NUMBER, SDP, now=client.now())
        client.pump()
        await asyncio.sleep(20)
        assert len(network.attempts) == 1
        full.answers["CANCEL"] = lambda request: [
            response_to(request, 200),
            response_to(full.of("INVITE")[0], 487, to_tag="peer"),
        ]
        first.hang_up(now=client.now())
        client.pump()
        await asyncio.sleep(60)
        assert is_up(client)

    played(network, play)
    assert [host for _, host in network.attempts] == ["full", "b"]


def test_server_that_falls_silent_is_tried_last_for_a_while() -> None:
    silent = Registrar()
    network = Network({"silent": silent, "b": Registrar()}, STATIC)

    async def play(client: TrunkClient) -> None:
        await asyncio.sleep(10)
        silent.silent.add("OPTIONS")
        await asyncio.sleep(60)
        assert is_up(client)
        network.cut()
        await asyncio.sleep(5)
        silent.silent.clear()
        await asyncio.sleep(SHUN_TIME)
        network.cut()
        await asyncio.sleep(5)

    played(network, play)
    assert [host for _, host in network.attempts] == ["silent", "b", "b", "silent"]


def test_only_server_is_kept_whatever_it_says() -> None:
    network = Network({"a": Registrar(answers={"INVITE": answer_with(503)})}, STATIC)

    async def play(client: TrunkClient) -> None:
        await asyncio.sleep(1)
        client.agent.invite(NUMBER, SDP, now=client.now())
        client.pump()
        await asyncio.sleep(60)

    played(network, play)
    assert len(network.attempts) == 1


def test_refused_registration_is_told_with_what_to_do() -> None:
    registrar = Registrar(refusals=[403] * 99)
    network = Network({"a": registrar, "b": Registrar()})

    async def play(client: TrunkClient) -> None:
        await asyncio.sleep(60)
        assert not is_up(client)

    played(network, play)
    told = [event for _, event in network.said if isinstance(event, TrunkDown)]
    assert len(told) == 1
    assert "403" in told[0].text
    assert "check username" in told[0].text
    assert any(isinstance(event, RegistrationFailed) for _, event in network.said)
    assert [host for _, host in network.attempts] == ["a"]


def test_refusal_followed_by_a_close_does_not_bypass_the_back_off() -> None:
    registrar = Registrar(refusals=[606] * 999)
    network = Network({"a": registrar}, chance=lambda: 1.0, close_on=606)
    played(network, after(600))
    authenticated = [r for r in registrar.of("REGISTER") if "Authorization" in r.headers]
    assert len(authenticated) == len(network.attempts)
    times = [at for at, _ in network.attempts]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps[:8] == [1, 2, 4, 8, 16, 32, 60, 60]


def test_refused_password_followed_by_a_close_is_not_repeated_for_ten_minutes() -> None:
    registrar = Registrar(refusals=[403] * 999)
    network = Network({"a": registrar}, close_on=403)
    played(network, after(500))
    assert len(network.attempts) == 1


def test_line_that_falls_as_soon_as_it_stands_backs_off_too() -> None:
    registrar = Registrar()
    network = Network({"a": registrar}, chance=lambda: 1.0)

    async def play(client: TrunkClient) -> None:
        for _ in range(3000):
            await asyncio.sleep(0.1)
            if is_up(client):
                network.cut()

    played(network, play)
    assert len(network.attempts) <= 12


def test_silent_peer_is_found_out_by_options() -> None:
    registrar = Registrar()
    network = Network({"a": registrar})

    async def play(client: TrunkClient) -> None:
        await asyncio.sleep(100)
        assert len(registrar.of("OPTIONS")) >= 2
        registrar.silent |= {"OPTIONS", "REGISTER", "INVITE"}
        await asyncio.sleep(45)
        assert not is_up(client)
        registrar.silent.clear()
        await asyncio.sleep(60)
        assert is_up(client)

    played(network, play)
    assert len(network.attempts) >= 2


def test_chatty_peer_is_not_asked() -> None:
    registrar = Registrar()
    network = Network({"a": registrar})

    async def play(client: TrunkClient) -> None:
        for _ in range(60):
            await asyncio.sleep(2)
            network.transports[-1].deliver(b"\r\n\r\n")

    played(network, play)
    assert registrar.of("OPTIONS") == []


def test_stop_unregisters_and_closes() -> None:
    registrar = Registrar()
    network = Network({"a": registrar})

    async def play(client: TrunkClient) -> None:
        await asyncio.sleep(10)
        assert len(registrar.bindings) == 1
        await client.stop()
        assert registrar.bindings == []
        assert network.transports[-1].is_closing()
        assert client.status.text == "stopped"
        await asyncio.sleep(1000)

    played(network, play)
    assert network.line == [(0.0, "TrunkUp")]
    assert len(network.attempts) == 1


def test_stop_does_not_wait_for_ever() -> None:
    registrar = Registrar()
    network = Network({"a": registrar})

    async def play(client: TrunkClient) -> None:
        await asyncio.sleep(10)
        registrar.silent.add("REGISTER")
        before = network.now()
        await client.stop(grace_seconds=2)
        assert network.now() - before <= 2.1
        assert network.transports[-1].is_closing()

    played(network, play)


def test_stop_while_connecting_leaves_nothing() -> None:
    network = Network({"a": ConnectionRefusedError(111, "x")})
    played(network, after(3))
    assert network.line == []


def test_stop_without_start_is_nothing() -> None:
    async def main() -> None:
        await Network().client().stop()

    run_virtually(main())


def test_listener_that_fails_costs_nobody_the_line(caplog: pytest.LogCaptureFixture) -> None:
    network = Network()

    def fail(event: object) -> None:
        raise RuntimeError("no")

    async def main() -> None:
        client = TrunkClient(TRUNK, listener=fail, resolver=network, connector=network.connect)
        await client.start()
        await asyncio.sleep(1)
        assert is_up(client)
        await client.stop()

    run_virtually(main())
    assert "the listener failed on Registered" in caplog.text
    assert "the listener failed on TrunkUp" in caplog.text


def test_thousand_lines_do_not_come_back_in_the_same_moment() -> None:
    chance = random.Random(3).random
    network = Network({"a": ConnectionRefusedError(111, "x")}, chance=chance)

    async def main() -> None:
        clients = [network.client() for _ in range(50)]
        for client in clients:
            await client.start()
        await asyncio.sleep(500)
        for client in clients:
            await client.stop()

    run_virtually(main())
    late = sorted(at for at, _ in network.attempts if at > 400)
    assert late[-1] - late[0] > 60
    assert len(set(late)) > 50


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "password"), (404, "no such account"), (408, "does not answer"), (423, "tried again")],
)
def test_refusals_have_words(status: int, words: str) -> None:
    assert words in refusal(status, "x")


@pytest.mark.parametrize(("address", "stays"), [("192.0.2.1", False), ("127.0.0.1", True)])
def test_line_from_an_address_that_is_gone_comes_back_from_another(
    address: str, stays: bool
) -> None:
    """No packet says that a connection is dead whose own address is gone."""
    network = Network()

    async def play(client: TrunkClient) -> None:
        await asyncio.sleep(100)
        network.transports[-1]._extra["sockname"] = (address, 40001)  # type: ignore[attr-defined]
        client.readdress()
        await asyncio.sleep(0.1)
        assert is_up(client) is stays
        await asyncio.sleep(2)
        assert is_up(client)

    played(network, play)
    assert len(network.attempts) == (1 if stays else 2)
    assert network.line == [(0.0, "TrunkUp")]


async def test_a_line_stands_on_an_address_as_long_as_the_machine_has_it() -> None:
    assert _is_ours(("127.0.0.1", 5061))
    assert _is_ours(("::1", 5061, 0, 0)) or not socket.has_ipv6
    assert not _is_ours(("192.0.2.1", 5061))  # RFC 5737: nobody's
    assert _is_ours(None)  # a transport that does not say
