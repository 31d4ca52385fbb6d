"""The sounds that one worker holds, as the control process keeps them there.

A file is read in a thread and handed over as it is read, so that a long one is heard at once; the
worker keeps its frames for the next time. What was not played for the longest time goes first when
a worker holds too much.
"""

import asyncio
import base64
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from media import file
from media.control import Message
from media.file import SoundFileError
from media.sound import pack

log = logging.getLogger(__name__)

MOST_BYTES = 32 * 1024 * 1024  # of frames in one worker
_AT_ONCE = 2  # files that are read for one worker at a time


class Shelf:
    """See the module's head.

    Args:
        tell: writes a message to the worker.
        drained: returns when the worker has read enough of what was written.
    """

    def __init__(
        self, *, tell: Callable[[Message], None], drained: Callable[[], Awaitable[None]]
    ) -> None:
        self._tell = tell
        self._drained = drained
        self._held: OrderedDict[str, int] = OrderedDict()  # bytes by name, the latest last
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def provide(self, path: str) -> str:
        """Let the worker have a file as it is now; returns the name that it has there.

        Raises:
            SoundFileError: there is no such file.
        """
        name = f"{path}@{file.version(path)}"
        if name not in self._held:
            self._held[name] = 0
            self._tell({"op": "sound", "name": name, "frames": "", "error": None})
            self._tasks[name] = task = asyncio.create_task(self._send(name, path))
            task.add_done_callback(lambda _: self._tasks.pop(name, None))
        self._held.move_to_end(name)
        return name

    async def stop(self) -> None:
        """The worker is gone."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, name: str, path: str) -> None:
        error = ""
        try:
            async with self._turns:
                await self._send_pieces(name, path)
        except SoundFileError as problem:
            error = str(problem)
            log.warning("not played: %s", problem)
        except ConnectionError:
            return  # the worker is gone, and so is whoever would have heard it
        except Exception:  # whoever wants to hear it would wait for its end in vain
            error = f"{path} cannot be read."
            log.exception("%s was not read", path)
        self._tell({"op": "sound", "name": name, "frames": "", "error": error})
        if error:
            self._forget(name)
        self._make_room()

    async def _send_pieces(self, name: str, path: str) -> None:
        loop, pieces = asyncio.get_running_loop(), file.read(path)
        while True:
            began = loop.time()
            frames = await asyncio.to_thread(next, pieces, None)
            if not frames:
                return
            packed = pack(frames)
            self._held[name] += len(packed)
            text = base64.b64encode(packed).decode()
            self._tell({"op": "sound", "name": name, "frames": text, "error": None})
            await self._drained()
            # As long as reading took: calls are to be made meanwhile by the same process.
            await asyncio.sleep(loop.time() - began)

    def _make_room(self) -> None:
        for name in list(self._held):
            if sum(self._held.values()) <= MOST_BYTES:
                return
            if name not in self._tasks:
                self._forget(name)

    def _forget(self, name: str) -> None:
        del self._held[name]
        self._tell({"op": "forget", "name": name})
