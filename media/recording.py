"""The file of one recording, as the control process writes it.

The worker hands over packets and never waits for a disk; here each write is done by a thread, one
after the other. The file bears a hidden name until it is whole, synced and closed: what a crash
leaves behind does not look like a recording.
"""

import asyncio
import logging
import os
import secrets
from contextlib import suppress
from pathlib import Path

from media.ogg import OggOpus

log = logging.getLogger(__name__)

LIMIT = 5.0  # seconds for the end of a recording to be on the disk
_TOO_SLOW = "The disk is too slow."
_MOST_UNWRITTEN = 1024 * 1024  # bytes: minutes of speech; a disk so slow has failed


class Recording:
    """One file; made within the loop."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._part = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}.part")
        self._ogg = OggOpus(int.from_bytes(secrets.token_bytes(4)))
        self._file: int | None = None
        self._unwritten = 0
        self._error = ""
        self._last = asyncio.create_task(asyncio.to_thread(self._open))

    @property
    def seconds(self) -> float:
        """Of sound so far."""
        return self._ogg.seconds

    @property
    def path(self) -> str:
        return str(self._path)

    def add(self, packets: list[bytes]) -> None:
        """Write more; returns at once."""
        data = b"".join(self._ogg.add(packet) for packet in packets)
        if data:
            self._write_later(data)

    async def finish(self, *, keep: bool = True, limit: float = LIMIT) -> tuple[int, str]:
        """Make the file whole, or throw it away; returns its size, and in words what went wrong.

        A disk that does not answer within `limit` seconds has failed: when it does, the file goes.
        """
        if keep:
            self._write_later(self._ogg.end())
        else:
            self._error = self._error or "it was not wanted"
        closing = asyncio.create_task(self._close_later())
        done, _ = await asyncio.wait([closing], timeout=limit)
        if done:
            return closing.result(), self._error
        self._error = self._error or _TOO_SLOW
        return 0, self._error

    async def _close_later(self) -> int:
        await self._last
        return await asyncio.to_thread(self._close)

    def _write_later(self, data: bytes) -> None:
        if self._unwritten + len(data) > _MOST_UNWRITTEN:
            self._error = self._error or _TOO_SLOW
            return
        self._unwritten += len(data)
        before = self._last

        async def write() -> None:
            await before
            await asyncio.to_thread(self._write, data)
            self._unwritten -= len(data)

        self._last = asyncio.create_task(write())

    # --- in a thread

    def _open(self) -> None:
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file = os.open(self._part, flags, 0o600)
        except OSError as error:
            self._error = f"{self._path}: {error.strerror or error}"
        else:
            self._write(self._ogg.begin())

    def _write(self, data: bytes) -> None:
        if self._file is None or self._error:
            return
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError as error:
            self._error = f"{self._path}: {error.strerror or error}"

    def _close(self) -> int:
        """Sync and name the file, or throw it away; returns its size."""
        if self._file is None:
            return 0
        size = 0
        try:
            if not self._error:
                os.fsync(self._file)
            if not self._error:  # still: it may have been given up meanwhile
                size = os.fstat(self._file).st_size
                os.replace(self._part, self._path)
                _sync_folder(self._path.parent)
        except OSError as error:
            self._error = f"{self._path}: {error.strerror or error}"
        finally:
            os.close(self._file)
            self._file = None
            if self._error:
                size = 0
                with suppress(OSError):
                    self._part.unlink(missing_ok=True)
        return size


def _sync_folder(folder: Path) -> None:
    """So that the name is on the disk too."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
