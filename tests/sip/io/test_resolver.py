import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest

from sip.io.resolver import MAX_TARGETS, DnsResolver, ResolveError, Target, system_addresses
from sip.trunk import Trunk
from tests.sip.io.name_server import ForgingServer, NameServer, serving

HOSTS = {
    "pbx.example": ["192.0.2.1"],
    "a.pbx.example": ["192.0.2.10", "2001:db8::10"],
    "b.pbx.example": ["192.0.2.20"],
    "c.pbx.example": ["192.0.2.30"],
    "pbx": ["192.0.2.2"],
}


async def lookup(host: str) -> list[str]:
    if host not in HOSTS:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return HOSTS[host]


def a_trunk(
    domain: str = "pbx.example",
    *,
    host: str | None = None,
    port: int | None = None,
    insecure_transport: str | None = None,
) -> Trunk:
    return Trunk(
        name="test",
        domain=domain,
        username="bridge",
        password="secret",
        host=host,
        port=port,
        insecure_transport=insecure_transport,
    )


async def resolved(
    zone: str,
    trunk: Trunk,
    *,
    server: NameServer | None = None,
    chance: float = 0.0,
    addresses: Callable[[str], Awaitable[list[str]]] = lookup,
    dns_limit: float = 5.0,
) -> list[str]:
    server = server or NameServer(zone)
    async with serving(server) as address:
        resolver = DnsResolver(
            nameservers=[address],
            addresses=addresses,
            chance=lambda: chance,
            dns_limit=dns_limit,
            address_limit=0.05,
        )
        return [str(target) for target in await resolver.resolve(trunk)]


# --- without DNS


@pytest.mark.parametrize(
    ("trunk", "address", "port", "family"),
    [
        (a_trunk("192.0.2.7"), "192.0.2.7", 5061, socket.AF_INET),
        (a_trunk("192.0.2.7", port=7), "192.0.2.7", 7, socket.AF_INET),
        (a_trunk(host="[2001:db8::7]"), "2001:db8::7", 5061, socket.AF_INET6),
        (a_trunk("192.0.2.7", insecure_transport="udp"), "192.0.2.7", 5060, socket.AF_INET),
        (a_trunk(host="192.0.2.8"), "192.0.2.8", 5061, socket.AF_INET),
    ],
)
async def test_address_is_taken_as_it_is(
    trunk: Trunk, address: str, port: int, family: socket.AddressFamily
) -> None:
    async def never(host: str) -> list[str]:
        raise AssertionError(host)

    resolver = DnsResolver(nameservers=[], addresses=never)
    assert await resolver.resolve(trunk) == [
        Target(host=address, port=port, address=address, family=family)
    ]


async def test_localhost_is_known_without_any_name_server() -> None:
    targets = await DnsResolver(nameservers=[]).resolve(a_trunk("localhost", port=5061))
    assert "127.0.0.1" in {target.address for target in targets}
    assert all(target.host == "localhost" for target in targets)


async def test_system_addresses_of_a_number_is_the_number() -> None:
    assert await system_addresses("127.0.0.1") == ["127.0.0.1"]


@pytest.mark.parametrize("name", ["pbx", "home.local", "x.localhost", "sip.internal"])
async def test_private_names_are_not_asked_of_dns(name: str) -> None:
    async def here(host: str) -> list[str]:
        return ["192.0.2.2"]

    server = NameServer("")
    assert await resolved("", a_trunk(name), server=server, addresses=here) == [
        f"{name} (192.0.2.2:5061)"
    ]
    assert server.asked == []


async def test_port_skips_srv() -> None:
    server = NameServer("_sips._tcp.pbx.example. SRV 1 0 5061 a.pbx.example.")
    assert await resolved("", a_trunk(port=5099), server=server) == ["pbx.example (192.0.2.1:5099)"]
    assert server.asked == []


# --- SRV


async def test_srv_names_hosts_and_ports_in_order_of_priority() -> None:
    zone = """
        _sips._tcp.pbx.example. SRV 20 0 5063 b.pbx.example.
        _sips._tcp.pbx.example. SRV 10 0 5062 a.pbx.example.
    """
    assert await resolved(zone, a_trunk()) == [
        "a.pbx.example (192.0.2.10:5062)",
        "a.pbx.example ([2001:db8::10]:5062)",
        "b.pbx.example (192.0.2.20:5063)",
    ]


@pytest.mark.parametrize(("chance", "first"), [(0.0, "b"), (0.2, "b"), (0.3, "c"), (0.99, "c")])
async def test_weight_decides_within_a_priority(chance: float, first: str) -> None:
    zone = """
        _sips._tcp.pbx.example. SRV 10 75 5061 c.pbx.example.
        _sips._tcp.pbx.example. SRV 10 25 5061 b.pbx.example.
    """
    targets = await resolved(zone, a_trunk(), chance=chance)
    assert targets[0].startswith(f"{first}.pbx.example")
    assert len(targets) == 2


async def test_host_of_the_trunk_is_resolved_instead_of_its_domain() -> None:
    zone = "_sips._tcp.proxy.example. SRV 1 0 5070 b.pbx.example."
    trunk = a_trunk(host="proxy.example")
    assert await resolved(zone, trunk) == ["b.pbx.example (192.0.2.20:5070)"]


@pytest.mark.parametrize(("transport", "record"), [("tcp", "_sip._tcp"), ("udp", "_sip._udp")])
async def test_insecure_transports_have_records_of_their_own(transport: str, record: str) -> None:
    zone = f"{record}.pbx.example. SRV 1 0 5080 b.pbx.example."
    trunk = a_trunk(insecure_transport=transport)
    assert await resolved(zone, trunk) == ["b.pbx.example (192.0.2.20:5080)"]


async def test_without_srv_the_domain_itself_is_the_host() -> None:
    assert await resolved("", a_trunk()) == ["pbx.example (192.0.2.1:5061)"]


@pytest.mark.parametrize("fault", ["silent", "broken"])
async def test_name_server_that_fails_on_srv_leaves_the_host(fault: str) -> None:
    kinds = frozenset({"SRV", "NAPTR"})
    server = NameServer("", **{fault: kinds})
    targets = await resolved("", a_trunk(), server=server, dns_limit=0.1)
    assert targets == ["pbx.example (192.0.2.1:5061)"]


async def test_root_as_srv_target_says_that_the_service_is_not_there() -> None:
    with pytest.raises(ResolveError, match="not offered"):
        await resolved("_sips._tcp.pbx.example. SRV 0 0 0 .", a_trunk())


async def test_srv_host_without_address_is_skipped() -> None:
    zone = """
        _sips._tcp.pbx.example. SRV 10 0 5061 gone.pbx.example.
        _sips._tcp.pbx.example. SRV 20 0 5061 b.pbx.example.
    """
    assert await resolved(zone, a_trunk()) == ["b.pbx.example (192.0.2.20:5061)"]


# --- NAPTR


async def test_naptr_replaces_the_srv_name() -> None:
    zone = """
        pbx.example. NAPTR 10 50 "s" "SIP+D2U" "" _sip._udp.other.example.
        pbx.example. NAPTR 20 50 "s" "SIPS+D2T" "" _sips._tcp.other.example.
        _sips._tcp.pbx.example. SRV 10 0 5061 a.pbx.example.
        _sips._tcp.other.example. SRV 10 0 5061 b.pbx.example.
    """
    assert await resolved(zone, a_trunk()) == ["b.pbx.example (192.0.2.20:5061)"]


async def test_silence_on_naptr_leaves_srv() -> None:
    server = NameServer(
        "_sips._tcp.pbx.example. SRV 10 0 5061 b.pbx.example.", broken=frozenset({"NAPTR"})
    )
    assert await resolved("", a_trunk(), server=server) == ["b.pbx.example (192.0.2.20:5061)"]


# --- what is believed


async def test_records_are_asked_for_anew_each_time_and_so_never_outlive_their_ttl() -> None:
    server = NameServer("_sips._tcp.pbx.example. SRV 1 0 5061 a.pbx.example.")
    assert (await resolved("", a_trunk(), server=server))[0].startswith("a.pbx.example")
    server.replace("_sips._tcp.pbx.example. SRV 1 0 5061 b.pbx.example.")
    assert (await resolved("", a_trunk(), server=server))[0].startswith("b.pbx.example")


@pytest.mark.parametrize("forgery", ["id", "source", "question"])
async def test_forged_answer_is_not_believed(forgery: str) -> None:
    server = ForgingServer("_sips._tcp.pbx.example. SRV 1 0 5061 b.pbx.example.", forgery)
    async with serving(server) as address:
        resolver = DnsResolver(nameservers=[address], addresses=lookup, dns_limit=0.5)
        targets = await resolver.resolve(a_trunk())
    assert server.forged > 0
    assert "a.pbx.example" not in {target.host for target in targets}


# --- failures and limits


async def test_unknown_name_is_said_in_plain_words() -> None:
    with pytest.raises(ResolveError, match=r"nowhere\.example has no address"):
        await resolved("", a_trunk("nowhere.example"))


async def test_resolver_that_hangs_is_given_up() -> None:
    async def hang(host: str) -> list[str]:
        await asyncio.Event().wait()
        return []

    with pytest.raises(ResolveError, match=r"nobody answered for the name pbx\.example"):
        await resolved("", a_trunk(port=5061), addresses=hang)


async def test_flood_of_addresses_is_cut() -> None:
    async def flood(host: str) -> list[str]:
        return [f"192.0.2.{number}" for number in range(200)]

    assert len(await resolved("", a_trunk(port=5061), addresses=flood)) == MAX_TARGETS


async def test_kinds_of_addresses_take_turns_so_that_a_broken_one_costs_one_attempt() -> None:
    async def many(host: str) -> list[str]:
        return ["2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.1", "192.0.2.2"]

    assert [t.split(" ")[1] for t in await resolved("", a_trunk(port=7), addresses=many)] == [
        "([2001:db8::1]:7)",
        "(192.0.2.1:7)",
        "([2001:db8::2]:7)",
        "(192.0.2.2:7)",
        "([2001:db8::3]:7)",
    ]


async def test_same_address_is_tried_once() -> None:
    async def twice(host: str) -> list[str]:
        return ["192.0.2.1", "192.0.2.1"]

    assert await resolved("", a_trunk(port=5061), addresses=twice) == [
        "pbx.example (192.0.2.1:5061)"
    ]
