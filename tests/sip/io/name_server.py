"""A small DNS server on loopback: a zone given as text, answers over UDP, questions remembered."""

import asyncio
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
        for line in zone.strip().splitlines():
            name, kind, data = line.split(None, 2)
            self._records.setdefault((name, kind), []).append(data)
        self._transport: asyncio.DatagramTransport | None = None

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
