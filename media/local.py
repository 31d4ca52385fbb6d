"""The local engine: worker processes beside the control process, started and watched over by us.

A session lives in one worker (`media.placing`). Verbs are written to the worker and come back as
events over a socketpair; no packet ever passes here. A worker that dies, or says nothing any more,
costs its own sessions `Failed(ENGINE)` and is replaced at once (`media.process`).

Each worker has its own share of the port range, so that none needs to ask another. Names of ICE
servers are resolved here, where one may wait, and sent after the session was opened.
"""

import asyncio
import itertools
import logging
import os
import socket
from collections import deque
from collections.abc import Coroutine, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import partial

from media.address import is_loopback, is_wildcard, local_addresses, trunk_address
from media.control import (
    Message,
    order_to_json,
    settings_to_json,
)
from media.file import SoundFileError
from media.ice.server import Server
from media.order import (
    Order,
    Play,
    Played,
    PlayEnd,
    Record,
    Recorded,
    RecordEnd,
    SoundFile,
)
from media.placing import choose
from media.plane import (
    Closed,
    Failed,
    Failure,
    IceCandidate,
    IceServer,
    Listener,
    MediaEvent,
    Report,
    SessionSettings,
    Side,
)
from media.process import LEAST_PORTS, Slot, Worker
from media.recording import LIMIT as FILE_LIMIT
from media.recording import Recording
from media.sdp import MAX_LENGTH

log = logging.getLogger(__name__)

PORTS = (40000, 40999)
_RESOLVE_LIMIT = 0.8  # seconds; descriptions wait for a second in all
_MOST_SERVERS = 4
_RESOLVERS = 4  # threads: a name that nobody answers for holds one up for half a minute


class LocalPlane:
    """See the module's head; obeys `media.plane.MediaPlane`.

    Args:
        listen: addresses of ours; a wildcard stands for all that others can reach. The first is
            where trunks send to.
        advertise: the public address that stands for ours behind 1:1 NAT.
        ports: first and last UDP port, both included.
        workers: how many processes; None: one for each core.
    """

    def __init__(
        self,
        *,
        listen: Sequence[str] = ("0.0.0.0",),
        advertise: str | None = None,
        ports: tuple[int, int] = PORTS,
        workers: int | None = None,
    ) -> None:
        self._listen = tuple(listen)
        self._advertise = advertise
        self._ports = ports
        self._slots: list[Slot] = []
        self._count = workers or os.cpu_count() or 1
        self._numbers = itertools.count(1)
        self._resolving: set[asyncio.Task[None]] = set()
        self._resolvers = ThreadPoolExecutor(_RESOLVERS, "resolve")  # files have other threads
        self._writing: set[asyncio.Task[None]] = set()  # files of sessions that have ended

    async def start(self) -> None:
        """Bring the workers up; raises `OSError` with words for a person."""
        first, last = self._ports
        share = (last - first + 1) // self._count & ~1
        if share < LEAST_PORTS:
            raise OSError(f"{self._count} workers need more media ports than {first} to {last}")
        first += first % 2
        slots = [Slot((first + i * share, first + (i + 1) * share - 1)) for i in range(self._count)]
        if slots[-1].ports[1] > last:
            slots[-1].ports = (slots[-1].ports[0], last)
        self._slots = slots
        # All have started or failed before any is stopped: none is left behind.
        started = await asyncio.gather(*(slot.start() for slot in slots), return_exceptions=True)
        for error in started:
            if error is not None:
                await self.stop()
                raise error

    async def stop(self) -> None:
        """Close every session, then the workers. Nothing hangs: what takes too long is killed."""
        for task in self._resolving:
            task.cancel()
        self._resolvers.shutdown(wait=False, cancel_futures=True)
        await asyncio.gather(*(slot.stop() for slot in self._slots))
        if self._writing:
            await asyncio.wait(self._writing, timeout=FILE_LIMIT)

    @property
    def pids(self) -> tuple[int, ...]:
        """The worker processes that run now."""
        return tuple(slot.worker.pid for slot in self._slots if slot.worker is not None)

    def open(self, settings: SessionSettings, listener: Listener) -> "LocalSession":
        """Open a session on the worker that `media.placing` chooses; see `MediaPlane.open`."""
        number = next(self._numbers)
        living = [s.worker for s in self._slots if s.worker is not None and s.worker.is_alive]
        if not living:
            return self._refuse(number, listener, "The media engine is not running.")
        try:
            place = local_addresses(self._listen), self._trunk_address()
        except OSError as error:
            log.error("the machine's addresses cannot be told: %s", error)
            return self._refuse(number, listener, "This machine's addresses cannot be told.")
        worker = living[choose([w.load() for w in living])]
        session = LocalSession(number, worker, listener, self._writing)
        session.stands_on = place
        worker.take(number, session)
        worker.tell(
            {
                "op": "open",
                "session": number,
                "settings": settings_to_json(settings),
                "servers_follow": bool(settings.ice_servers),
                "addresses": session.stands_on[0],
                "trunk_listen": self._listen[0],
                "trunk_address": session.stands_on[1],
                "advertise": self._advertise,
            }
        )
        if settings.ice_servers:
            task = asyncio.create_task(self._send_servers(session, settings.ice_servers))
            self._resolving.add(task)
            task.add_done_callback(self._resolving.discard)
        return session

    def _refuse(self, number: int, listener: Listener, text: str) -> "LocalSession":
        session = LocalSession(number, None, listener, self._writing)
        session.fail(text)
        return session

    def readdress(self) -> None:
        """See `MediaPlane.readdress`. A machine without any network moves when it has one again."""
        addresses = local_addresses(self._listen)
        if all(map(is_loopback, addresses)):
            return
        for slot in self._slots:
            for session in slot.worker.sessions.values() if slot.worker is not None else ():
                told = session.stands_on[1]
                stays = told in addresses or told == self._advertise
                session.move(addresses, told if stays else self._trunk_address())

    def _trunk_address(self) -> str:
        if self._advertise is not None and ":" not in self._advertise:
            return self._advertise
        if not is_wildcard(self._listen[0]):
            return self._listen[0]
        return trunk_address(self._listen)

    async def _send_servers(
        self, session: "LocalSession", ice_servers: Sequence[IceServer]
    ) -> None:
        servers = _parse_servers(ice_servers)
        resolved = await asyncio.gather(*(_resolve(s, self._resolvers) for s in servers))
        session.tell("servers", servers=[r for r in resolved if r is not None])


def _parse_servers(ice_servers: Sequence[IceServer]) -> list[Server]:
    servers = []
    for one in ice_servers:
        for url in one.urls:
            try:
                servers.append(Server.parse(url, one.username, one.credential))
            except ValueError as error:
                log.info("ICE server left out: %s", error)
    return servers[:_MOST_SERVERS]


async def _resolve(server: Server, threads: Executor) -> Message | None:
    kind = socket.SOCK_DGRAM if server.transport == "udp" else socket.SOCK_STREAM
    look_up = partial(socket.getaddrinfo, server.host, server.port, type=kind)
    try:
        async with asyncio.timeout(_RESOLVE_LIMIT):
            found = await asyncio.get_running_loop().run_in_executor(threads, look_up)
    except (OSError, TimeoutError, UnicodeError) as error:
        log.warning("ICE server %s cannot be resolved: %s", server.host, str(error) or "timeout")
        return None
    # IPv4 first: where there is a relay at all, it is there.
    address = sorted(found, key=lambda info: info[0] != socket.AF_INET)[0][4][0]
    return {"server": asdict(server), "address": address}


def _bounded(sdp: str) -> str:
    """What is too long to be read need not be carried; the worker refuses it in words."""
    return sdp[: MAX_LENGTH + 1]


class LocalSession:
    """One session as the user holds it; obeys `media.plane.MediaSession`.

    Attributes:
        stands_on: our addresses toward the browser, and the one that the trunk is told.
    """

    def __init__(
        self,
        number: int,
        worker: "Worker | None",
        listener: Listener,
        tasks: set[asyncio.Task[None]],
    ) -> None:
        self._number = number
        self._worker = worker
        self._listener = listener
        self.stands_on: tuple[tuple[str, ...], str] = ((), "")
        self._tasks = tasks  # the plane's, which waits for them when it stops
        self._recordings: deque[Recording] = deque()  # the worker ends them in this order
        self._finishing: set[asyncio.Task[None]] = set()
        self._is_closing = False
        self._is_closed = False

    def offer(self, side: Side, sdp: str) -> None:
        self.tell("offer", side=side.value, sdp=_bounded(sdp))

    def answer(self, side: Side, sdp: str) -> None:
        self.tell("answer", side=side.value, sdp=_bounded(sdp))

    def ask(self, side: Side) -> None:
        self.tell("ask", side=side.value)

    def add_candidates(self, side: Side, candidates: Sequence[IceCandidate]) -> None:
        texts = [c.candidate for c in candidates]
        self.tell("candidates", side=side.value, candidates=texts)

    def move(self, addresses: tuple[str, ...], trunk: str) -> None:
        """Our machine has these addresses now, and is to name `trunk` to the trunk."""
        if (set(addresses), trunk) != (set(self.stands_on[0]), self.stands_on[1]):
            self.stands_on = addresses, trunk
            self.tell("move", addresses=addresses, trunk_address=trunk)

    def perform(self, order: Order) -> None:
        if self._worker is None or self._is_closing:
            return  # which was said already
        if isinstance(order, Play) and isinstance(order.prompt, SoundFile):
            try:
                name = self._worker.shelf.provide(order.prompt.path)
            except SoundFileError as error:
                failed = Played(order.side, PlayEnd.FAILED, 0.0, str(error))
                asyncio.get_running_loop().call_soon(self.hear, failed)
                return
            order = replace(order, prompt=SoundFile(name))
        elif isinstance(order, Record):
            self._recordings.append(Recording(order.path))
        self.tell("perform", **order_to_json(order))

    def close(self) -> None:
        if self._is_closing:
            return
        self._is_closing = True
        if self._worker is not None:
            self._worker.tell({"op": "close", "session": self._number})
        else:
            asyncio.get_running_loop().call_soon(self.hear, Closed(Report()))

    def tell(self, verb: str, **fields: object) -> None:
        """Hand a verb to the worker; one that is gone has said so already."""
        if self._worker is not None and not self._is_closing:
            self._worker.tell({"op": verb, "session": self._number, **fields})

    def capture(self, packets: list[bytes]) -> None:
        """More of the recording that is under way."""
        if self._recordings:
            self._recordings[0].add(packets)

    def hear(self, event: MediaEvent) -> None:
        """Take an event of the worker; the end of a recording waits for its file, and the
        session's for that."""
        if isinstance(event, Recorded):
            self._finish_later(event)
        elif isinstance(event, Closed):
            self._lose_recordings()
            if self._finishing:
                self._start(self._say_later(event, set(self._finishing)))
            else:
                self._say(event)
        else:
            self._say(event)

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _say_later(self, event: Closed, before: set[asyncio.Task[None]]) -> None:
        await asyncio.wait(before)
        self._say(event)

    def _finish_later(self, event: Recorded) -> None:
        if not self._recordings:
            return
        task = self._start(self._finish(self._recordings.popleft(), event))
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)

    async def _finish(self, recording: Recording, event: Recorded) -> None:
        size, error = await recording.finish(keep=event.path is not None)
        if event.path is None:
            self._say(event)
        elif error:
            self._say(Recorded(None, RecordEnd.FAILED, text=error))
        else:
            self._say(replace(event, size=size))

    def _lose_recordings(self) -> None:
        """What the engine will not end any more is kept as far as it came."""
        for recording in list(self._recordings):
            path = recording.path if recording.seconds else None
            text = "The media engine stopped."
            lost = Recorded(path, RecordEnd.FAILED, recording.seconds, text=text)
            self._finish_later(lost)

    def _say(self, event: MediaEvent) -> None:
        if self._is_closed:
            return
        self._is_closed = isinstance(event, Closed)
        try:
            self._listener(event)
        except Exception:  # the other sessions' events must go on
            log.exception("session %d: %s was not taken", self._number, type(event).__name__)

    def fail(self, text: str) -> None:
        """The worker is gone. From the loop, so that verbs never call back."""
        self._worker = None
        self._lose_recordings()
        event: MediaEvent = Failed(Failure.ENGINE, text)
        if self._is_closing:
            event = Closed(Report())
        asyncio.get_running_loop().call_soon(self.hear, event)

    @property
    def is_closed(self) -> bool:
        return self._is_closed
