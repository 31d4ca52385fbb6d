"""The composition root: builds every part of the bridge, starts and stops them in order. The only
place that knows all of them.

Start: database, homeserver (are we who we think we are), media plane, what earlier runs left,
listener, trunks. Only then can a call come from either side, and everything that it needs is there.
Stop, the other way round: no more from the homeserver, calls hung up on both sides, trunks
unregistered, media, texts (what is not done stays in the database), database.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_network
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from bridge import suspension, whereabouts, wording
from bridge.attachment import Attachments
from bridge.bot import Bot
from bridge.call.exchange import Exchange
from bridge.commands import Commands
from bridge.config import Config, LineSection
from bridge.db import database as databases
from bridge.db.claim import DatabaseTaken, claim_on
from bridge.db.ghosts import GhostTable
from bridge.db.handouts import HandoutTable
from bridge.db.inbox import Inbox
from bridge.db.interface import Database
from bridge.db.polls import PollTable
from bridge.db.portals import BotRoomTable, PortalTable
from bridge.db.senders import SenderTable
from bridge.db.texts import IncomingTexts, OutgoingTexts
from bridge.ghost import Ghosts
from bridge.handout import Handouts
from bridge.matrix.appservice import Appservice, Health
from bridge.matrix.client import MatrixClient
from bridge.matrix.homeserver import MatrixError, MatrixRefused
from bridge.matrix.repository import RoomFiles
from bridge.port import PortTaken, try_port
from bridge.portal import Portals
from bridge.reception import Reception
from bridge.reconcile import Reconciliation
from bridge.recovery import Recovery
from bridge.road.carrier import Carrier
from bridge.road.fetch import Fetcher
from bridge.road.hook import Entrance, Hooks
from bridge.road.poller import Poller
from bridge.road.road import GuardedMedia, PolledRoad
from bridge.road.way import RoadWay
from bridge.routing import Routing
from bridge.senders import Senders
from bridge.setting import Endpoint
from bridge.task import Tasks, first
from bridge.texting import Texting
from bridge.voicemail import Voicemail
from media.local import LocalPlane
from media.plane import MediaPlane
from sip.events import (
    DigitReceived,
    DigitsRefused,
    Event,
    IncomingSession,
    MessageNotified,
    MessageReceived,
    MessageSent,
    MessagesWaiting,
    SessionAnswered,
    SessionConfirmed,
    SessionEnded,
    SessionOffered,
    SessionProgressed,
    SessionReanswered,
    TransferEnded,
    TransferProgressed,
    TransferRequested,
)
from sip.io.backoff import Pace
from sip.io.client import TrunkClient, TrunkDown, TrunkUp
from sip.io.listener import Listener

log = logging.getLogger(__name__)

CALLS_LIMIT = 5.0  # seconds for all calls to end when we stop
PING_PAUSE = 30.0  # between two attempts to be pinged by a homeserver that cannot reach us


class Ringback:
    """The bridge.

    Args:
        plane: the media engine; the local one if None.
    """

    def __init__(self, config: Config, *, plane: MediaPlane | None = None) -> None:
        self._config = config
        self._plane = plane or local_plane(config)
        self._matrix = MatrixClient(
            url=config.homeserver.url,
            domain=config.homeserver.domain,
            as_token=config.appservice.as_token.get_secret_value(),
            bot=config.appservice.bot,
            appservice_id=config.appservice.id,
        )
        self._roads = {section.name: section.to_road() for section in config.roads}
        self._senders = Senders()
        self._routing = Routing(
            lines=config.lines,
            trunks={trunk.name: trunk for trunk in config.trunks},
            writings={name: road.limits.writing for name, road in self._roads.items()},
            senders=self._senders,
        )
        self._carrier = Carrier()
        self._fetcher = Fetcher()
        self._files = RoomFiles(
            url=config.homeserver.url,
            as_token=config.appservice.as_token.get_secret_value(),
            user_id=self._matrix.bot_id,
        )
        self._claim = claim_on(config.database.get_secret_value())
        self._hooks: Hooks | None = None
        self._pollers: dict[str, Poller] = {}
        self._trunks: dict[str, TrunkClient] = {}
        self._told_down: set[str] = set()
        self._voicemail = Voicemail()
        self._tasks = Tasks()
        # In the order of starting; stopped from the end.
        self._stops: list[tuple[str, Callable[[], Awaitable[Any]]]] = []
        self._appservice: Appservice | None = None
        self._is_up = False

    @property
    def port(self) -> int | None:
        """The port that we listen on; None before `start` is through."""
        return self._appservice.port if self._appservice and self._is_up else None

    async def run(self, stop: asyncio.Event) -> None:
        """Start, run until `stop` is set, and stop."""
        try:
            await self.start()
            await first(stop.wait(), self.displaced())
        finally:
            await self.stop()

    async def start(self) -> None:
        """Bring everything up.

        Raises:
            DatabaseError, MatrixError, TlsSettingsError, OSError: in words for a person; call
                `stop` then too.
        """
        _refuse_company(self._config.appservice.listen)
        self._stops.append(("homeserver", self._matrix.close))
        self._stops.append(("claim", self._claim.release))
        await self._claim.take()
        database = await databases.open(
            self._config.database.get_secret_value(), before_connecting=self._claim.hold
        )
        self._stops.append(("database", database.stop))
        await self._matrix.whoami()
        await self._plane.start()
        self._stops.append(("media", self._plane.stop))
        await self._start_people(database)
        pace = Pace()
        for trunk in self._config.trunks:
            client = TrunkClient(
                trunk.to_trunk(),
                listener=partial(self._hear, trunk.name),
                instance=self._instance(trunk.name),
                pace=pace,
            )
            self._trunks[trunk.name] = client
        await self._exchange.start()
        await self._texting.start()
        self._stops.append(("trunks", self._stop_trunks))
        self._stops.append(("calls", partial(self._exchange.stop, limit=CALLS_LIMIT)))
        for settings in self._config.listener.to_settings():
            listener = Listener(settings, clients=self._trunks.values())
            self._stops.append(("SIP listener", listener.stop))
            await listener.start()
        for client in self._trunks.values():
            await client.start()
        if self._hooks is not None:
            await self._hooks.start()
            self._stops.append(("hooks", self._hooks.stop))
        self._start_pollers(PollTable(database))
        assert self._appservice is not None, "made with the people"
        await self._appservice.start()
        self._stops.append(("listener", self._appservice.stop))
        self._stops.append(("tasks", self._tasks.stop))
        self._is_up = True
        self._tasks.start("homeserver", self._watch_homeserver())
        self._tasks.start("database", self._recovery.run())
        self._tasks.start("addresses", whereabouts.watch(self._readdress))
        self._tasks.start("sleep", suspension.watch(self._woke))
        log.info("Ringback is up: %d trunks, %d lines", len(self._trunks), len(self._config.lines))

    def _readdress(self) -> None:
        """The machine's addresses changed: lines come back from the new one, and calls follow."""
        log.info("this machine's addresses changed; calls and lines follow")
        for client in self._trunks.values():
            client.readdress()
        self._plane.readdress()

    def _woke(self, seconds: float) -> None:
        """The machine slept: what was connected is connected anew, and what was missed fetched."""
        log.warning("this machine slept for %.0f s; lines come up anew", seconds)
        for client in self._trunks.values():
            client.renew("the machine of the bridge slept")
        self._matrix.note_absence()
        self._tasks.start("wake the homeserver", self._wake_homeserver())

    async def displaced(self) -> None:
        """Wait until another bridge has our database, which ends us.

        Raises:
            DatabaseTaken: it has.
        """
        await self._claim.lost.wait()
        raise DatabaseTaken

    async def drain(self, limit: float) -> None:
        """Take no new calls, and let those that are go on for `limit` seconds at most. Everything
        else goes on as well. Nothing happens before `start` is through."""
        if not self._is_up or not self._exchange.live:
            return
        log.info("waiting for %d calls, for %g s at most", self._exchange.live, limit)
        left = await self._exchange.drain(limit)
        log.info("no call is left" if not left else f"{left} calls must end")

    async def stop(self) -> None:
        """End everything that was started, in the other order; a failure stops nothing else."""
        self._is_up = False
        while self._stops:
            name, stop = self._stops.pop()
            try:
                await stop()
            except Exception:  # the way down goes on
                log.exception("%s did not stop properly", name)
        log.info("Ringback is down")

    async def _start_people(self, database: Database) -> None:
        """Build what knows people, ghosts, portals, texts, calls, bot, and what hears of them."""
        matrix = self._matrix
        ghosts = Ghosts(
            matrix=matrix,
            table=GhostTable(database),
            prefix=self._config.appservice.ghost_prefix,
        )
        self._database = database
        portals = Portals(matrix=matrix, ghosts=ghosts, table=PortalTable(database))
        await portals.load()
        await portals.take_up()
        await self._senders.load(SenderTable(database))
        self._texting = self._make_texting(database, ghosts, portals)
        self._stops.append(("files", self._files.close))
        self._stops.append(("providers", self._carrier.close))
        self._stops.append(("attachments", self._fetcher.close))
        self._stops.append(("texts", self._texting.stop))
        self._exchange = Exchange(
            plane=self._plane,
            matrix=matrix,
            ghosts=ghosts,
            portals=portals,
            routing=self._routing,
            notices=self._texting,
            trunks=self._trunks,
            strangers=self._texting.strangers,
        )
        self._bot = Bot(matrix=matrix, table=BotRoomTable(database))
        await self._bot.start()
        inbox = Inbox(database)
        self._appservice = self._make_appservice(
            inbox, ghosts, self._make_reception(ghosts, portals)
        )
        self._reconciliation = Reconciliation(
            matrix=matrix,
            ghosts=ghosts,
            portals=portals,
            bot=self._bot,
            inbox=inbox,
            taker=self._appservice,
        )
        self._recovery = Recovery(
            database=database,
            resume=(portals.save, self._bot.save, self._texting.resume, self._appservice.resume),
            wake=self._wake_homeserver,
        )

    def _make_texting(self, database: Database, ghosts: Ghosts, portals: Portals) -> Texting:
        """Texts, and where providers reach us for them."""
        handouts = self._make_handouts(HandoutTable(database))
        self._hooks = self._make_hooks(handouts)
        attachments = Attachments(
            matrix=self._matrix, fetcher=self._fetcher, headers=self._media_headers
        )
        return Texting(
            matrix=self._matrix,
            ghosts=ghosts,
            portals=portals,
            routing=self._routing,
            outgoing=OutgoingTexts(database),
            incoming=IncomingTexts(database),
            trunks=self._trunks,
            roads=self._ways(handouts),
            attachments=attachments,
            senders=self._senders,
            handouts=handouts,
        )

    def _make_reception(self, ghosts: Ghosts, portals: Portals) -> Reception:
        commands = Commands(
            routing=self._routing,
            portals=portals,
            texting=self._texting,
            calls=self._exchange,
            trunks=self._trunks,
            server=self._config.homeserver.domain,
        )
        return Reception(
            matrix=self._matrix,
            ghosts=ghosts,
            portals=portals,
            routing=self._routing,
            bot=self._bot,
            commands=commands,
            texting=self._texting,
            exchange=self._exchange,
        )

    def _make_appservice(self, inbox: Inbox, ghosts: Ghosts, reception: Reception) -> Appservice:
        return Appservice(
            listen=self._config.appservice.listen,
            hs_token=self._config.appservice.hs_token.get_secret_value(),
            inbox=inbox,
            handler=reception.handle,
            settle=lambda room_id: self._reconciliation.settle(room_id),
            is_ours=ghosts.is_ours,
            user_exists=reception.user_exists,
            find_number=reception.find_number,
            on_read=self._texting.receive_read,
            on_cut=self._matrix.note_absence,
            health=self._health,
        )

    def _instance(self, trunk: str) -> str:
        """Name our end of a trunk the same after each restart, and as no other bridge's: registrars
        know a new connection of the same device by it (RFC 5626 §3.1)."""
        us = f"{self._config.homeserver.domain}/{self._config.appservice.id}/{trunk}"
        return uuid5(NAMESPACE_URL, f"ringback:{us}").urn

    def _make_handouts(self, table: HandoutTable) -> Handouts | None:
        """Where files are fetched from outside, if there is such an address."""
        settings = self._config.hooks
        if settings is None:
            return None
        return Handouts(
            files=self._files,
            table=table,
            public_url=settings.public_url,
            secret=self._config.appservice.as_token.get_secret_value(),
        )

    def _make_hooks(self, handouts: Handouts | None) -> Hooks | None:
        """The listener for providers, if the configuration has one."""
        settings = self._config.hooks
        if settings is None:
            return None
        return Hooks(
            listen=settings.listen,
            public_url=settings.public_url,
            entrances={
                section.name: Entrance(
                    self._roads[section.name], section.hook_secret.get_secret_value()
                )
                for section in self._config.roads
                if section.hook_secret is not None
            },
            receiver=lambda road, happenings: self._texting.receive_hook(road, happenings),
            proxies=[ip_network(proxy) for proxy in settings.proxies],
            media=None if handouts is None else handouts.serve,
        )

    def _ways(self, handouts: Handouts | None) -> dict[str, RoadWay]:
        """How texts leave besides SIP."""
        return {
            section.name: RoadWay(
                section.name,
                self._roads[section.name],
                self._carrier,
                receipts=None if self._hooks is None else self._hooks.url(section.name),
                parts=section.parts,
                warn_parts=section.warn_parts,
                files=self._files,
                handouts=handouts,
            )
            for section in self._config.roads
        }

    def _media_headers(self, road: str, url: str) -> Mapping[str, str]:
        """What a provider wants to hear before it hands out an attachment."""
        found = self._roads.get(road)
        return found.media_headers(url) if isinstance(found, GuardedMedia) else {}

    def _start_pollers(self, cursors: PollTable) -> None:
        """Ask the roads that are to be asked for texts."""
        tasks = Tasks()
        for section in self._config.roads:
            road = self._roads[section.name]
            if section.poll_seconds is None or not isinstance(road, PolledRoad):
                continue
            poller = self._pollers[section.name] = Poller(
                section.name,
                road,
                every=section.poll_seconds,
                carrier=self._carrier,
                cursors=cursors,
                receive=self._texting.receive_polled,
                tell=partial(self._announce_road, section.name),
                clock=time.time,
            )
            tasks.start(f"poll {section.name}", poller.run())
        self._stops.append(("pollers", tasks.stop))

    async def _stop_trunks(self) -> None:
        await asyncio.gather(*(client.stop() for client in self._trunks.values()))

    async def _watch_homeserver(self) -> None:
        if not await self._ping("start"):
            self._tasks.start("ping", self._ping_again())
        await self._reconciliation.run()  # by ourselves, whether it reaches us or not

    async def _ping(self, txn_id: str) -> bool:
        """Have the homeserver ping us: it then delivers at once what it holds, and if it cannot
        reach us the log says so before a user wonders.

        Returns:
            Whether there is no more to learn.
        """
        try:
            took_ms = await self._matrix.ping(txn_id)
        except MatrixError as error:
            if isinstance(error, MatrixRefused) and error.errcode == "M_UNRECOGNIZED":
                log.info("the homeserver knows no pings: whether it reaches us will show")
                return True
            log.warning("the homeserver cannot reach us: %s", error)
            return False
        log.info("the homeserver reaches us in %d ms", took_ms)
        return True

    async def _ping_again(self) -> None:
        attempt = 1
        while True:
            await asyncio.sleep(PING_PAUSE)
            attempt += 1
            if await self._ping(f"start-{attempt}"):
                return

    async def _wake_homeserver(self) -> None:
        """Have the homeserver deliver at once what it holds back because we refused it."""
        try:
            await self._matrix.ping("database-back")
        except MatrixError as error:
            log.info("the homeserver could not be woken: %s", error)

    # --- trunks

    def _hear(self, trunk: str, event: Event | TrunkUp | TrunkDown) -> None:
        match event:
            case (
                IncomingSession() | SessionProgressed() | SessionAnswered() | SessionConfirmed()
                | SessionOffered() | SessionReanswered() | SessionEnded() | DigitReceived()
                | DigitsRefused()
                | TransferProgressed() | TransferEnded() | TransferRequested()
            ):  # fmt: skip
                self._exchange.receive_sip(trunk, event)
            case MessageReceived() | MessageSent() | MessageNotified():
                self._texting.receive_sip(trunk, event)
            case MessagesWaiting():
                if (text := self._voicemail.news(trunk, event)) is not None:
                    key = f"voicemail {trunk} {datetime.now(UTC).isoformat()}"
                    self._announce(trunk, text, key)
            case TrunkDown(text):
                self._told_down.add(trunk)
                self._announce_line(trunk, wording.TRUNK_DOWN.format(trunk=trunk, text=text))
            case TrunkUp() if trunk in self._told_down:
                self._told_down.discard(trunk)
                self._announce_line(trunk, wording.TRUNK_UP.format(trunk=trunk))
            case _:
                pass  # registrations: the client says when the line is up or down

    def _announce_line(self, trunk: str, text: str) -> None:
        since = self._trunks[trunk].status.since.isoformat()
        self._announce(trunk, text, f"trunk {trunk} {since} {text}")

    def _announce(self, trunk: str, text: str, key: str) -> None:
        """Tell each user of the trunk's lines."""
        self._tell(self._routing.lines_on(trunk), text, key)

    def _announce_road(self, road: str, text: str) -> None:
        """Tell each user of the lines whose texts come by a road."""
        key = f"road {road} {datetime.now(UTC).isoformat()}"
        self._tell(self._routing.lines_texted(road), text, key)

    def _tell(self, lines: Sequence[LineSection], text: str, key: str) -> None:
        users = {user for line in lines for user in line.users}
        for user in sorted(users):
            self._tasks.start("announce", self._bot.say(user, text, key=key))

    def _health(self) -> Health:
        parts = {
            f"trunk {name}": f"{'up' if client.status.up else 'down'}: {client.status.text}"
            for name, client in self._trunks.items()
        }
        parts |= {f"road {name}": poller.status for name, poller in self._pollers.items()}
        parts["database"] = f"away: {self._database.trouble}" if self._database.trouble else "up"
        parts["calls"] = str(self._exchange.live)
        # A trunk that is down is the other side's matter, and restarting us would not mend it.
        return Health(True, parts)


def _refuse_company(listen: Endpoint) -> None:
    """End here if another bridge runs with the same configuration: before it would find that its
    port is taken, it would have sent the other's texts a second time.

    Raises:
        OSError: somebody listens there, or nobody can.
    """
    try:
        try_port(listen)
    except PortTaken as error:
        words = f"{error.strerror}: is another Ringback running?"
        raise PortTaken(error.errno, words) from error


def local_plane(config: Config) -> LocalPlane:
    """The engine beside us, as the configuration wants it."""
    media = config.media
    return LocalPlane(
        listen=(media.listen,),
        advertise=media.advertise,
        ports=(media.ports.first, media.ports.last),
        workers=media.workers,
    )
