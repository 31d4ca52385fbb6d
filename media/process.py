"""A worker process as the control process holds it: started, spoken to, watched, and replaced when
it dies.

It is a child with one end of a socketpair, and says first that it is ready. One that answers no
pings, or does not read, is killed. What it says of a session goes to whoever holds that one here.
"""

import asyncio
import base64
import logging
import socket
import sys
from collections import deque
from contextlib import ExitStack, suppress
from typing import Protocol

from media.control import ControlError, Message, Unframer, event_from_json, frame
from media.placing import Load
from media.plane import Closed, MediaEvent
from media.port import REST
from media.shelf import Shelf
from media.sound import unpack

log = logging.getLogger(__name__)

START_LIMIT = 10.0  # seconds for a worker to come up
STOP_LIMIT = 3.0  # seconds for sessions, then for workers, to end
LEAST_PORTS = 4  # of a worker: a session's begin with an even one
_PORTS_OF_SESSION = 3  # a pair toward the trunk, one toward the browser
_PING_INTERVAL = 1.0
_UNANSWERED_PINGS = 3
_MOST_UNWRITTEN = 4 * 1024 * 1024  # bytes that a worker may leave unread
_STEADY = 5.0  # a worker that lived so long is replaced without delay
_LONGEST_DELAY = 5.0


class Held(Protocol):
    """A session of a worker's, as its user holds it.

    Attributes:
        stands_on: our addresses toward the browser, and the one that the trunk is told.
    """

    stands_on: tuple[tuple[str, ...], str]

    def move(self, addresses: tuple[str, ...], trunk: str) -> None:
        """Our machine has these addresses now, and is to name `trunk` to the trunk."""

    def hear(self, event: MediaEvent) -> None:
        """The worker tells of it."""

    def capture(self, packets: list[bytes]) -> None:
        """The worker has more of its recording."""

    def fail(self, text: str) -> None:
        """The worker is gone."""

    def close(self) -> None:
        """The worker is about to end."""


class Slot:
    """A place for one worker at a time, and the task that keeps it filled."""

    def __init__(self, ports: tuple[int, int]) -> None:
        self.ports = ports
        self.worker: Worker | None = None
        self._count = 0
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = False

    async def start(self) -> None:
        self.worker = await self._start()
        self._task = asyncio.create_task(self._keep(self.worker))

    async def _start(self) -> "Worker":
        """Each begins in the half of the ports where the one before it did not: those that it left
        behind rest meanwhile."""
        first, last = self.ports
        begin = first + self._count % 2 * ((last - first + 1) // 2 & ~1)
        self._count += 1
        return await Worker.start(self.ports, begin)

    async def stop(self) -> None:
        self._is_stopping = True
        if self._task is None:
            return
        if self.worker is not None:
            await self.worker.stop()
            await asyncio.wait([self._task], timeout=2 * STOP_LIMIT)
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self.worker = None

    async def _keep(self, worker: "Worker") -> None:
        delay = 0.0
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            await worker.run()
            self.worker = None
            if self._is_stopping:
                return
            log.error("media worker %d died; starting another", worker.pid)
            steady = loop.time() - started > _STEADY
            delay = 0.0 if steady else min(_LONGEST_DELAY, max(0.25, 2 * delay))
            worker = self.worker = await self._replace(delay)

    async def _replace(self, delay: float) -> "Worker":
        while True:
            await asyncio.sleep(delay)
            try:
                return await self._start()
            except OSError as error:
                delay = min(_LONGEST_DELAY, max(0.25, 2 * delay))
                log.error("media worker cannot be started: %s", error)


class Worker:
    """The control process's end of one worker."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        ports: tuple[int, int],
    ) -> None:
        self.sessions: dict[int, Held] = {}
        self.is_alive = True
        self._process = process
        self._reader = reader
        self._writer = writer
        self._share = 0.0
        self._fresh = 0  # sessions since the worker told its share
        self._unframer = Unframer()
        self._emptied = asyncio.Event()
        self._most_sessions = (ports[1] - ports[0] + 1) // _PORTS_OF_SESSION
        self._ended: deque[float] = deque()  # when sessions did whose ports may rest still
        self.shelf = Shelf(tell=self.tell, drained=writer.drain)

    @property
    def pid(self) -> int:
        return self._process.pid

    def load(self) -> Load:
        """How much it has to do, and whether it has ports for one more session."""
        now = asyncio.get_running_loop().time()
        while self._ended and self._ended[0] + REST <= now:
            self._ended.popleft()
        has_ports = len(self.sessions) + len(self._ended) < self._most_sessions
        return Load(len(self.sessions), has_ports, self._share, self._fresh)

    def take(self, number: int, session: Held) -> None:
        self._fresh += 1
        self.sessions[number] = session

    @classmethod
    async def start(cls, ports: tuple[int, int], begin: int) -> "Worker":
        """Start a process and wait until it is ready; raises `OSError`."""
        ours, theirs = socket.socketpair()
        level = logging.getLevelName(log.getEffectiveLevel())
        with theirs, ExitStack() as undo:
            undo.callback(ours.close)
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # whatever lies in the current folder is not our code
                "-m",
                "media.worker",
                str(theirs.fileno()),
                level,
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
            )
            undo.pop_all()
        reader, writer = await asyncio.open_connection(sock=ours)
        worker = cls(process, reader, writer, ports)
        try:
            async with asyncio.timeout(START_LIMIT):
                message = await worker._read_first()
        except (TimeoutError, ControlError) as error:
            await worker._end()
            raise OSError(f"media worker did not come up: {str(error) or 'timeout'}") from None
        except asyncio.CancelledError:  # the plane stops
            writer.close()
            worker._kill()
            raise
        if message["op"] != "ready":
            await worker._end()
            raise OSError("media worker speaks another language")
        worker.tell({"op": "configure", "ports": ports, "begin": begin})
        return worker

    async def _read_first(self) -> Message:
        while data := await self._reader.read(65536):
            for message in self._unframer.feed(data):
                return message
        raise ControlError("it ended")

    def tell(self, message: Message) -> None:
        """Write a message; a worker that does not read is killed."""
        if not self.is_alive:
            return
        self._writer.write(frame(message))
        if self._writer.transport.get_write_buffer_size() > _MOST_UNWRITTEN:
            log.error("media worker %d does not read", self.pid)
            self._kill()

    async def run(self) -> None:
        """Take its events until it ends; then its sessions fail."""
        unanswered = 0
        try:
            while unanswered <= _UNANSWERED_PINGS:
                try:
                    async with asyncio.timeout(_PING_INTERVAL):
                        data = await self._reader.read(65536)
                except TimeoutError:
                    unanswered += 1
                    self.tell({"op": "ping"})
                    continue
                if not data:
                    break
                unanswered = 0
                for message in self._unframer.feed(data):
                    self._hear(message)
            else:
                log.error("media worker %d hangs", self.pid)
                self._kill()
        except OSError:
            pass  # it died with something of ours unread
        except Exception:  # whatever it says, its calls are told and another takes its place
            log.exception("media worker %d cannot be understood", self.pid)
        finally:
            await self._end()

    def _hear(self, message: Message) -> None:
        if message["op"] == "share":
            self._share, self._fresh = message["share"], 0
        if message["op"] not in ("event", "captured"):
            return
        session = self.sessions.get(message["session"])
        if session is None:
            return
        if message["op"] == "captured":
            session.capture(unpack(base64.b64decode(message["packets"])))
            return
        event = event_from_json(message)
        if isinstance(event, Closed):
            del self.sessions[message["session"]]
            self._ended.append(asyncio.get_running_loop().time())
            if not self.sessions:
                self._share, self._fresh = 0.0, 0  # without any it gives no account
                self._emptied.set()
        session.hear(event)

    async def stop(self) -> None:
        """Close the sessions and wait for their reports, then end the process."""
        if self.sessions:
            self._emptied.clear()
            for session in list(self.sessions.values()):
                session.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_LIMIT):
                    await self._emptied.wait()
        self.is_alive = False
        with suppress(OSError):
            self._writer.write_eof()  # the worker ends by this

    async def _end(self) -> None:
        self.is_alive = False
        await self.shelf.stop()
        self._writer.close()
        for session in self.sessions.values():
            session.fail("The media engine stopped.")
        self.sessions.clear()
        self._emptied.set()
        try:
            async with asyncio.timeout(STOP_LIMIT):
                await self._process.wait()
        except TimeoutError:
            self._kill()
            await self._process.wait()

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
