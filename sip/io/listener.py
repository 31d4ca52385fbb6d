"""Where trunks connect to us: a port, and the door-keeper before it.

Nothing listens unless it is wanted. Who connects is a stranger until he has proven to be the peer
of one trunk, by all that this trunk's `Inbound` names: the address that he comes from, the name in
a client certificate that we verified within the handshake (mutual TLS, RFC 5922 §7.4), a digest of
his password under his first request (RFC 3261 §22.1). Then the connection becomes a flow of that
trunk's agent (RFC 5923: our requests may go back over it), and of no other: a connection has one
owner, found by what was verified and never by its address alone where more was asked for.

A stranger costs little and learns nothing: an address that no trunk names is hung up on before a
byte of TLS, everybody else has a few seconds and a few places, and nobody is sent a byte of SIP
before he has proven himself, but for the challenge where a password is wanted, which is the same
for everybody and everything.
"""

import asyncio
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sip.io.client import TrunkClient
from sip.io.datagram import DatagramPort
from sip.io.door import Door, Stranger
from sip.io.flow import Connection, plain
from sip.io.tls import (
    Renewed,
    TlsSettingsError,
    UntrustedPeer,
    peer_certificate,
    server_context,
    system_authorities,
)

logger = logging.getLogger(__name__)

HANDSHAKE_LIMIT = 5.0  # to become somebody: some round trips across the world, and a slow PBX
MAX_STRANGERS = 64  # handshakes at once: a third of a megabyte each at their worst
MAX_STRANGERS_PER_ADDRESS = 8  # a cluster behind one address that restarts
BACKLOG = 64
PAUSE = 1.0  # after a failure to accept, such as no descriptors left


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """What to listen on, and as whom.

    Attributes:
        host: numeric address; "::" is every address, of IPv4 as well.
        port: 0 for any that is free.
        certificate_file: our certificate chain, for TLS.
        key_file: its private key; None if that is in the same file.
        ca_file: whose client certificates to believe, instead of the system's authorities.
        insecure_transport: "tcp" or "udp" to listen without TLS; None is TLS.
        advertise: the host that peers are to come back to, where that is not our address.
    """

    host: str
    port: int
    certificate_file: Path | None = None
    key_file: Path | None = None
    ca_file: Path | None = None
    insecure_transport: str | None = None
    advertise: str | None = None


class Listener:
    """One port, from `start` to `stop`.

    Args:
        settings: what to listen on.
        clients: reached from here are those whose trunks have `inbound`, and the same transport.
        handshake_limit: seconds for a stranger to become somebody.
    """

    def __init__(
        self,
        settings: ListenerSettings,
        *,
        clients: Iterable[TrunkClient],
        handshake_limit: float = HANDSHAKE_LIMIT,
    ) -> None:
        self._settings = settings
        # What a trunk's settings say of its transport goes for both directions.
        self._doors = [
            Door(client, client.trunk.inbound)
            for client in clients
            if client.trunk.inbound is not None
            and client.trunk.insecure_transport == settings.insecure_transport
        ]
        self._limit = handshake_limit
        self._renewed: Renewed | None = None
        self._strangers: Counter[str] = Counter()
        self._socket: socket.socket | None = None
        self._datagrams: DatagramPort | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._handshakes: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """Where it listens; 0 while it does not."""
        return 0 if self._socket is None else int(self._socket.getsockname()[1])

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port cannot be had.
            TlsSettingsError: a file of the settings cannot be used.
        """
        if self._settings.insecure_transport is None:
            wants_certificates = any(door.inbound.certificate for door in self._doors)
            self._renewed = _renewed(self._settings, ask=wants_certificates)
            self._renewed.context()
        self._socket = bind(self._settings)
        for door in self._doors:
            door.client.listens_at(self._settings.advertise, self.port)
        if self._settings.insecure_transport == "udp":
            _, self._datagrams = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: DatagramPort(self._doors), sock=self._socket
            )
        else:
            self._accepting = asyncio.create_task(self._accept(self._socket), name="sip listener")
        logger.info("listening for trunks on %s, port %d", self._settings.host, self.port)

    async def stop(self) -> None:
        """Listen no more; connections that belong to a trunk are its client's to close."""
        tasks = [task for task in (self._accepting, *self._handshakes) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._accepting = None
        if self._datagrams is not None:
            self._datagrams.close()
            self._datagrams = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    # ---

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, name = await loop.sock_accept(listening)
            except OSError as error:
                logger.warning("a connection could not be accepted: %s", error)
                await asyncio.sleep(PAUSE)
                continue
            address = plain(name[0])
            if not self._may_try(address):
                logger.info("hung up on %s before a word", address)
                accepted.close()
                continue
            self._strangers[address] += 1
            task = asyncio.create_task(self._shake_hands(accepted, address))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    def _may_try(self, address: str) -> bool:
        return (
            self._strangers.total() < MAX_STRANGERS
            and self._strangers[address] < MAX_STRANGERS_PER_ADDRESS
            and any(door.is_open_to(address) for door in self._doors)
        )

    async def _shake_hands(self, accepted: socket.socket, address: str) -> None:
        loop = asyncio.get_running_loop()
        insecure = self._settings.insecure_transport
        stranger = Stranger()

        def make() -> Connection:
            return Connection(
                id=0,
                trunk=None,
                listener=stranger,
                transport=(insecure or "tls").upper(),
                inbound=True,
                check=partial(self._admit, stranger, address),
            )

        try:
            async with asyncio.timeout(self._limit):
                _, connection = await loop.connect_accepted_socket(
                    make, accepted, ssl=None if self._renewed is None else self._renewed.context()
                )
                if connection.refused is None:
                    await stranger.settled.wait()
        except (OSError, TimeoutError) as error:
            logger.info("%s was not let in: %s", address, str(error) or "too slow")
            stranger.turn_away("too slow")
            accepted.close()
        else:
            if connection.refused is not None:
                logger.warning("%s was not let in: %s", address, connection.refused)
        finally:
            stranger.turn_away("nobody waits for him any more")
            self._strangers[address] -= 1
            self._strangers += Counter()  # forget who has no connection

    def _admit(self, stranger: "Stranger", address: str, secure: ssl.SSLObject | None) -> None:
        certificate = None if secure is None else peer_certificate(secure)
        found = [door for door in self._doors if door.opens_to(address, certificate)]
        if not found:
            shown = certificate or "no certificate"
            raise UntrustedPeer(f"nobody that we wait for ({shown})")
        # Who needs no password to be known has been found; a certificate says more than an address.
        door = min(found, key=lambda door: (door.inbound.digest, not door.inbound.certificate))
        stranger.meets(door)


def _renewed(settings: ListenerSettings, *, ask: bool) -> Renewed:
    authorities = (
        () if not ask else system_authorities() if not settings.ca_file else (settings.ca_file,)
    )

    certificate_file = settings.certificate_file
    if certificate_file is None:
        raise TlsSettingsError("a listener for TLS needs a certificate_file")

    def make() -> ssl.SSLContext:
        return server_context(
            certificate_file, settings.key_file, ca_file=settings.ca_file, ask=ask
        )

    return Renewed(make, (*authorities, settings.certificate_file, settings.key_file))


def bind(settings: ListenerSettings) -> socket.socket:
    """Open the port.

    Raises:
        OSError: in words that name it.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    both = settings.host == "::" and socket.has_dualstack_ipv6()
    where = (settings.host, settings.port)
    try:
        if settings.insecure_transport == "udp":
            listening = socket.socket(family, socket.SOCK_DGRAM)
            try:
                if family == socket.AF_INET6:
                    listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)
                listening.bind(where)
            except OSError:
                listening.close()
                raise
        else:
            listening = socket.create_server(
                where, family=family, backlog=BACKLOG, dualstack_ipv6=both
            )
    except OSError as error:
        text = f"cannot listen on {settings.host}, port {settings.port}: {error.strerror}"
        raise OSError(error.errno, text) from error
    listening.setblocking(False)
    return listening
