"""A small DNS server on loopback: a zone given as text, answers over UDP, questions remembered."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset


class NameServer(asyncio.DatagramProtocol):
    """Answers from `zone`, lines such as `pbx.example. SRV 10 0 5061 sip.pbx.example.`.

    Attributes:
        asked: (name, type) of each question.
        silent: types that are never answered.
        broken: types that are answered with SERVFAIL.
    """

    def __init__(
        self,
        zone: str,
        *,
        silent: frozenset[str] = frozenset(),
        broken: frozenset[str] = frozenset(),
    ) -> None:
        self.asked: list[tuple[str, str]] = []
        self.silent = silent
        self.broken = broken
        self._records: dict[tuple[str, str], list[str]] = {}
        self.replace(zone)
        self._transport: asyncio.DatagramTransport | None = None

    def replace(self, zone: str) -> None:
        """Serve another zone from now on."""
        self._records.clear()
        for line in zone.strip().splitlines():
            name, kind, data = line.split(None, 2)
            self._records.setdefault((name, kind), []).append(data)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Python 3.11's datagram transport is none by class.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        question = query.question[0]
        key = (question.name.to_text(), dns.rdatatype.to_text(question.rdtype))
        self.asked.append(key)
        if key[1] in self.silent or self._transport is None:
            return
        self.answer(query, key, addr)

    def answer(
        self, query: dns.message.Message, key: tuple[str, str], addr: tuple[str, int]
    ) -> None:
        """Send what the zone says."""
        assert self._transport is not None
        question = query.question[0]
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if key[1] in self.broken:
            response.set_rcode(dns.rcode.SERVFAIL)
        elif key in self._records:
            response.answer.append(
                dns.rrset.from_text_list(question.name, 60, "IN", key[1], self._records[key])
            )
        elif not any(name == key[0] for name, _ in self._records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        self._transport.sendto(response.to_wire(), addr)


class ForgingServer(NameServer):
    """Before each true answer about SRV a false one arrives, wrong in one way.

    Attributes:
        forged: how many were sent.
    """

    def __init__(self, zone: str, forgery: str) -> None:
        super().__init__(zone)
        self.forged = 0
        self._forgery = forgery

    def answer(
        self, query: dns.message.Message, key: tuple[str, str], addr: tuple[str, int]
    ) -> None:
        if key[1] == "SRV":
            self._forge(query, addr)
        super().answer(query, key, addr)

    def _forge(self, query: dns.message.Message, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        false = dns.message.make_response(query)
        name = query.question[0].name
        if self._forgery == "id":
            false.id ^= 1
        elif self._forgery == "question":
            name = dns.name.from_text("_sips._tcp.other.example.")
            false.question[0] = dns.rrset.from_text_list(name, 0, "IN", "SRV", [])
        false.answer.append(
            dns.rrset.from_text_list(name, 60, "IN", "SRV", ["1 0 5061 a.pbx.example."])
        )
        self.forged += 1
        if self._forgery == "source":
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as elsewhere:
                elsewhere.sendto(false.to_wire(), addr)
        else:
            self._transport.sendto(false.to_wire(), addr)


@asynccontextmanager
async def serving(server: NameServer) -> AsyncIterator[tuple[str, int]]:
    """Run `server` on a free port of loopback; yields its address."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: server, local_addr=("127.0.0.1", 0))
    try:
        host, port = transport.get_extra_info("sockname")
        yield host, port
    finally:
        transport.close()
