"""`ringback check`: goes through everything that must work, one plain line for each.

Nothing is repaired here except that the database is migrated, as it would be by `run`. When the
bridge is not running, a listener of ours answers the homeserver's ping for the time of the check;
it refuses transactions, so that what the homeserver holds for us stays with it.
"""

import errno
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from bridge.config import Config, TrunkSection, load
from bridge.db import database
from bridge.db.inbox import InboxEvent
from bridge.document import ConfigError
from bridge.matrix.appservice import Appservice
from bridge.matrix.client import MatrixClient
from bridge.matrix.events import RoomEvent
from bridge.matrix.homeserver import MatrixError, MatrixRefused
from bridge.port import PortTaken, try_port
from sip.io.probe import probe, probe_listener

# Nobody waits for minutes to learn that an address was mistyped.
_LIMIT = 6.0
# A call takes a handful; with fewer the next one may fail.
_FEWEST_FREE_PORTS = 10

Say = Callable[["Step"], None]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was looked at."""

    ok: bool
    text: str


async def check(path: Path, environ: Mapping[str, str], say: Say) -> bool:
    """Look at everything; whether all of it is well."""
    good = True

    def tell(step: Step) -> None:
        nonlocal good
        good = good and step.ok
        say(step)

    try:
        config = load(path, environ)
    except ConfigError as error:
        for mistake in error.mistakes:
            tell(Step(False, f"configuration: {path}:{mistake}"))
        return False
    tell(Step(True, f"configuration: {path} is valid"))
    tell(await check_database(config))
    for step in await check_homeserver(config):
        tell(step)
    tell(check_ports(config))
    for settings in config.listener.to_settings():
        for found in probe_listener(settings):
            kind = settings.insecure_transport or "TLS"
            tell(Step(found.ok, f"listener for {kind}, {found.name}: {found.text}"))
    for step in check_hooks(config):
        tell(step)
    for trunk in config.trunks:
        async for step in check_trunk(trunk):
            tell(step)
    return good


def health_url(config: Config) -> str:
    """Where the running bridge tells its health, as seen from this machine."""
    listen = config.appservice.listen
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen.host, listen.host)
    return (
        f"http://[{host}]:{listen.port}/health"
        if ":" in host
        else (f"http://{host}:{listen.port}/health")
    )


def check_hooks(config: Config) -> list[Step]:
    """Where providers push texts to, and what is to be entered there."""
    if config.hooks is None:
        return []
    listen = config.hooks.listen
    try:
        try_port(listen)
    except PortTaken as error:
        steps = [Step(True, f"hooks: {error.strerror}, by the running bridge?")]
    except OSError as error:
        steps = [Step(False, f"hooks: {error.strerror}")]
    else:
        steps = [Step(True, f"hooks: {listen} is free")]
    for road in config.roads:
        if road.hook_secret is not None:
            secret = road.hook_secret.get_secret_value()
            text = f"{config.hooks.public_url}/road/{road.name}/{secret}"
            steps.append(Step(True, f"road {road.name}: enter at the provider: {text}"))
    return steps


async def check_database(config: Config) -> Step:
    """Open and migrate."""
    url = config.database.get_secret_value()
    kind = "SQLite" if url.startswith("sqlite:") else "PostgreSQL"
    try:
        opened = await database.open(url)
    except database.DatabaseError as error:
        return Step(False, f"database: {kind} cannot be opened: {error}")
    try:
        number = await opened.fetchval("SELECT version FROM version")
    finally:
        await opened.stop()
    return Step(True, f"database: {kind} opened, tables are at version {number}")


async def check_homeserver(config: Config) -> list[Step]:
    """Reachable, knows our token, reaches us; stops at the first that fails."""
    client = MatrixClient(
        url=config.homeserver.url,
        domain=config.homeserver.domain,
        as_token=config.appservice.as_token.get_secret_value(),
        bot=config.appservice.bot,
        appservice_id=config.appservice.id,
        call_limit=_LIMIT,
    )
    steps: list[Step] = []
    try:
        try:
            versions = await client.versions()
        except MatrixRefused as error:
            # Synapse looks at the token even where none is needed.
            return [*steps, Step(False, f"token: {_explain_token(config, error)}")]
        except MatrixError as error:
            text = f"homeserver: {config.homeserver.url} does not answer: {error}"
            return [*steps, Step(False, text)]
        newest = max(versions, key=_version_order, default="none")
        steps.append(Step(True, f"homeserver: {config.homeserver.url} speaks Matrix {newest}"))
        try:
            user_id = await client.whoami()
        except MatrixError as error:
            return [*steps, Step(False, f"token: {_explain_token(config, error)}")]
        steps.append(Step(True, f"token: the homeserver knows us as {user_id}"))
        steps += await _check_users(client, config)
        async with _listener(config) as running:
            if isinstance(running, Step):
                return [*steps, running]
            try:
                duration_ms = await client.ping(f"check-{secrets.token_hex(8)}")
            except MatrixError as error:
                if isinstance(error, MatrixRefused) and error.errcode == "M_UNRECOGNIZED":
                    text = "ping: this homeserver knows none, so that nobody can tell whether it"
                    return [*steps, Step(True, f"{text} reaches {config.appservice.url}")]
                words = error.text if isinstance(error, MatrixRefused) else str(error)
                text = f"ping: the homeserver does not reach {config.appservice.url}: {words}"
                return [*steps, Step(False, text)]
            who = "the running bridge" if running else "us"
            text = f"ping: the homeserver reached {who} and back in {duration_ms} ms"
            steps.append(Step(True, text))
    finally:
        await client.close()
    return steps


async def _check_users(client: MatrixClient, config: Config) -> list[Step]:
    """Complain of users that the homeserver does not know: a line of theirs rings nobody."""
    ours = f":{config.homeserver.domain}"
    users = dict.fromkeys(user for line in config.lines for user in line.users)
    steps: list[Step] = []
    for user in (user for user in users if user.endswith(ours)):
        try:
            is_known = await client.has_profile(user)
        except MatrixError as error:
            return [*steps, Step(False, f"users: {user} could not be looked for: {error}")]
        if not is_known:
            text = f"users: the homeserver knows no {user}. Is that spelt right? If it is, give it"
            steps.append(Step(False, f"{text} a display name, by which it can be found"))
    return steps


def _version_order(text: str) -> tuple[int, ...]:
    """Of "v1.17"; the old "r0.6.1" come before."""
    numbers = tuple(int(part) for part in text[1:].split(".") if part.isdecimal())
    return (text.startswith("v"), *numbers)


def _explain_token(config: Config, error: MatrixError) -> str:
    if isinstance(error, MatrixRefused) and error.errcode == "M_UNKNOWN_TOKEN":
        return (
            "the homeserver does not know our as_token. Has it the registration file of this "
            "configuration, and was it restarted since?"
        )
    if isinstance(error, MatrixRefused) and error.errcode in ("M_FORBIDDEN", "M_EXCLUSIVE"):
        return (
            f"the homeserver does not let us be {config.bot_id} ({error.text}). Do `bot` and "
            "`domain` match the registration file?"
        )
    return str(error)


@asynccontextmanager
async def _listener(config: Config) -> AsyncIterator[bool | Step]:
    """Someone who answers pings: True if it is the running bridge, or why there is nobody."""
    listener = Appservice(
        listen=config.appservice.listen,
        hs_token=config.appservice.hs_token.get_secret_value(),
        inbox=ClosedInbox(),
        handler=handle_nothing,
    )
    try:
        await listener.start()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            yield True
        else:
            where = config.appservice.listen
            yield Step(False, f"listener: {where} cannot be bound: {error.strerror}")
        return
    try:
        yield False
    finally:
        await listener.stop()


class ClosedInbox:
    """Takes nothing, so that the homeserver keeps it."""

    async def store(
        self, txn_id: str, events: Sequence[object], *, now_ms: int
    ) -> list[InboxEvent]:
        raise RuntimeError("the bridge is not running; this is only a check")

    async def pending_rooms(self) -> list[str]:
        return []

    async def pending(self, room_id: str, *, after: int = 0, limit: int = 100) -> list[InboxEvent]:
        return []

    async def done(self, event_id: str) -> None:
        return None

    async def failed(self, event_id: str) -> bool:
        return False

    async def prune(self, *, now_ms: int) -> None:
        return None


async def handle_nothing(event: RoomEvent) -> None:
    return None


def check_ports(config: Config) -> Step:
    """Which of the media ports can be bound now."""
    ports, host = config.media.ports, config.media.listen
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    free, trouble = 0, ""
    for port in range(ports.first, ports.last + 1):
        with socket.socket(family, socket.SOCK_DGRAM) as tried:
            try:
                tried.bind((host, port))
            except OSError as error:
                trouble = error.strerror or str(error)
            else:
                free += 1
    where = f"media: {free} of {len(ports)} UDP ports {ports} are free on {host}"
    if free < _FEWEST_FREE_PORTS:
        return Step(False, f"{where}: {trouble}")
    return Step(True, where)


async def check_trunk(trunk: TrunkSection) -> AsyncIterator[Step]:
    """What the trunk says to us: name, certificate, registration; each as soon as it is known."""
    async for step in probe(trunk.to_trunk()):
        yield Step(step.ok, f"trunk {trunk.name}, {step.name}: {step.text}")
