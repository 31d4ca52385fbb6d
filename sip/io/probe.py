"""What `ringback check` asks of a trunk: found, reached, verified, accepted; in plain words.

The last step asks the registrar for our bindings instead of making one: a REGISTER without Contact
(RFC 3261 §10.2.3) needs the same password and changes nothing, so that a bridge which runs at the
same time keeps its line even where the PBX allows one contact. A trunk that does not register is
asked with OPTIONS (§11).
"""

import asyncio
import errno
import itertools
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from sip.core import Core
from sip.events import Send
from sip.framing import Malformed
from sip.io.certificate import Certificate
from sip.io.client import RandomIds, refusal
from sip.io.flow import CONNECT_LIMIT, Connection, connect
from sip.io.listener import ListenerSettings, bind
from sip.io.resolver import DnsResolver, ResolveError, Resolver, Target
from sip.io.tls import TlsSettingsError, UntrustedPeer, explain, peer_certificate, server_context
from sip.message import Message, Response
from sip.transaction import Failure, Outcome
from sip.trunk import TlsSettings, Trunk
from sip.uri import NameAddr, Uri


@dataclass(frozen=True, slots=True)
class ProbeStep:
    """One thing that works or does not.

    Attributes:
        name: "name", "connection", "certificate" or "registration", in this order; the first that
            fails is the last.
        ok: whether it works.
        text: what was found; after a failure also what to do about it.
    """

    name: str
    ok: bool
    text: str


async def probe(
    trunk: Trunk, *, limit: float = 10.0, resolver: Resolver | None = None
) -> AsyncIterator[ProbeStep]:
    """Try a trunk step by step, as the bridge would use it.

    Args:
        limit: seconds for each step.
        resolver: finds addresses.
    """
    if not trunk.connect:
        text = "not tried: this trunk connects to us"
        yield ProbeStep("connection", True, text)
        return
    try:
        async with asyncio.timeout(limit):
            targets = await (resolver or DnsResolver()).resolve(trunk)
    except (ResolveError, TimeoutError) as error:
        text = str(error) or "no answer in time"
        advice = "check domain, host and port of this trunk, and this machine's DNS"
        yield ProbeStep("name", False, f"{text}: {advice}")
        return
    yield ProbeStep("name", True, ", ".join(map(str, targets)))

    question = _Question(trunk)
    try:
        reached, secured, connection = await _reach(trunk, targets, question, limit)
        yield reached
        if secured is not None:
            yield secured
        if connection is not None:
            yield await _ask(trunk, question, limit)
    finally:
        await question.close()


def probe_listener(settings: ListenerSettings) -> list[ProbeStep]:
    """Look at our own certificate and port; the running bridge may hold the port already."""
    steps = []
    if settings.certificate_file is not None:
        try:
            server_context(settings.certificate_file, settings.key_file, ca_file=settings.ca_file)
            text = str(Certificate.of_file(settings.certificate_file))
            steps.append(ProbeStep("certificate", True, text))
        except (TlsSettingsError, ValueError, OSError) as error:
            steps.append(ProbeStep("certificate", False, str(error)))
    where = f"{settings.host}, port {settings.port}"
    try:
        bind(settings).close()
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        text = f"{where} is taken: by the running bridge?" if taken else str(error.strerror)
        steps.append(ProbeStep("port", taken, text))
    else:
        steps.append(ProbeStep("port", True, f"{where} is free"))
    return steps


async def _reach(
    trunk: Trunk, targets: list[Target], question: "_Question", limit: float
) -> tuple[ProbeStep, ProbeStep | None, Connection | None]:
    """Connect to the first address that takes us: the steps for network and TLS."""
    failures: list[str] = []
    refused: tuple[Target, str] | None = None
    for target in targets:
        try:
            connection = await connect(
                trunk, target, id=1, listener=question, limit=min(limit, CONNECT_LIMIT)
            )
        except TlsSettingsError as error:
            return ProbeStep("connection", False, str(error)), None, None
        except OSError as error:
            text = explain(error)
            if isinstance(error, ssl.SSLError) or (
                isinstance(error, ConnectionError) and error.errno is None
            ):
                if isinstance(error, ssl.SSLCertVerificationError | UntrustedPeer):
                    text += await _shown_certificate(trunk, target, limit)
                refused = refused or (target, text)
            failures.append(f"{target}: {text}")
            continue
        missed = f" (but not {'; '.join(failures)})" if failures else ""
        reached = ProbeStep("connection", True, f"{target}{missed}")
        return reached, _secured(trunk, connection), connection
    if refused is not None:
        target, text = refused
        return (
            ProbeStep("connection", True, str(target)),
            ProbeStep("certificate", False, text),
            None,
        )
    text = "; ".join(failures)
    advice = "is the other side running, and does a firewall stand between?"
    return ProbeStep("connection", False, f"{text} ({advice})"), None, None


def _secured(trunk: Trunk, connection: Connection) -> ProbeStep:
    secure = connection.extra("ssl_object")
    if not isinstance(secure, ssl.SSLObject):
        text = f"none: over {connection.transport_name} anybody on the way can listen and interfere"
        return ProbeStep("certificate", True, text)
    cipher = secure.cipher()
    shown = peer_certificate(secure) or "no certificate that can be read"
    text = f"{shown}; {secure.version()}, {cipher[0] if cipher else 'no cipher'}"
    if trunk.tls.pins:
        text = f"the pinned key; {text}"
    elif trunk.tls.insecure_skip_verification:
        text = f"NOT VERIFIED, as insecure_skip_verification says: {text}"
    return ProbeStep("certificate", True, text)


async def _shown_certificate(trunk: Trunk, target: Target, limit: float) -> str:
    """Look at a certificate that was refused, so that its owner can see why; nothing is sent."""
    watcher = _Question(trunk)
    unverified = replace(trunk, tls=TlsSettings(insecure_skip_verification=True))
    try:
        connection = await connect(
            unverified, target, id=1, listener=watcher, limit=min(limit, CONNECT_LIMIT)
        )
        secure = connection.extra("ssl_object")
        shown = peer_certificate(secure) if isinstance(secure, ssl.SSLObject) else None
        return f" (it is {shown})" if shown is not None else ""
    except OSError:
        return ""  # it is an extra; the failure itself has been explained
    finally:
        await watcher.close()


async def _ask(trunk: Trunk, question: "_Question", limit: float) -> ProbeStep:
    outcome = await question.ask("REGISTER" if trunk.register else "OPTIONS", limit)
    if isinstance(outcome, Failure):
        text = f"no answer ({outcome.reason}): is this port really SIP?"
        return ProbeStep("registration", False, text)
    if not trunk.register:
        text = f"not wanted; the other side answers ({outcome.status} {outcome.reason})"
        return ProbeStep("registration", True, text)
    if outcome.status >= 300:
        return ProbeStep("registration", False, refusal(outcome.status, outcome.reason))
    count = len(outcome.headers.contacts)
    known = {0: "no device is registered now", 1: "one device is registered now"}
    text = known.get(count, f"{count} devices are registered now")
    return ProbeStep("registration", True, f"accepted as {trunk.username}; {text}")


class _Question:
    """Asks one thing over one flow, challenges included, and hears nothing else."""

    def __init__(self, trunk: Trunk) -> None:
        self._trunk = trunk
        self._core = Core(trunk, ids=RandomIds(), product="Ringback")
        self._sequence = itertools.count(1)
        self._connection: Connection | None = None
        self._outcome: Outcome | None = None
        self._lost = ""
        self._moved = asyncio.Event()

    async def ask(self, method: str, limit: float) -> Outcome:
        """Send a request outside of any dialog and return its final outcome."""
        domain = Uri("sip", host=self._trunk.domain)
        us = NameAddr(self._core.address)
        request = self._core.request(
            method,
            domain,
            sender=us.with_tag(self._core.ids.tag()),
            to=us if method == "REGISTER" else NameAddr(domain),
            call_id=self._core.ids.call_id(),
            seq=next(self._sequence),
        )
        self._core.submit(
            request, self._receive, self._now(), next_seq=lambda: next(self._sequence)
        )
        end = self._now() + limit
        while self._outcome is None:
            self._flush()
            until = min(end, self._core.transactions.deadline or end)
            self._moved.clear()
            try:
                async with asyncio.timeout_at(until):
                    await self._moved.wait()
            except TimeoutError:
                if self._now() >= end:
                    return Failure(408, "within the time that we give it")
                self._core.transactions.handle_timer(max(self._now(), until))
        if self._lost and isinstance(self._outcome, Failure):
            return Failure(503, self._lost)
        return self._outcome

    async def close(self) -> None:
        """End the connection, if there is one."""
        if (connection := self._connection) is not None:
            connection.abort("done")
            await connection.wait_lost()

    # --- FlowListener

    def flow_made(self, connection: Connection) -> None:
        self._connection = connection
        self._core.open_flow(connection.flow())

    def flow_heard(self, connection: Connection, message: Message | Malformed) -> None:
        # Requests (OPTIONS, NOTIFY) are for those who are registered.
        if isinstance(message, Response):
            self._core.transactions.receive_response(message, self._now(), flow=connection.id)
            self._moved.set()

    def flow_ponged(self, connection: Connection) -> None:
        """Nobody was pinged."""

    def flow_lost(self, connection: Connection, reason: str) -> None:
        self._lost = reason
        self._core.close_flow(connection.id)
        self._core.transactions.flow_closed(connection.id, self._now())
        self._moved.set()

    # ---

    def _receive(self, outcome: Outcome, now: float) -> None:
        if isinstance(outcome, Failure) or outcome.status >= 200:
            self._outcome = outcome

    def _flush(self) -> None:
        for output in self._core.take_outputs():
            if self._connection is not None and isinstance(output, Send):
                self._connection.send(output.message)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
