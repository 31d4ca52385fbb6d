"""What starts its parts, stops what it has started, and tells what they said when one failed."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from types import TracebackType
from typing import Protocol, Self

from tests.lab.process import Process


class Part(Protocol):
    """What is started and stopped; it may be stopped without having been started."""

    async def start(self) -> None: ...

    async def stop(self) -> object: ...


class Assembly(ABC):
    """`async with` it: everything is up."""

    def __init__(self) -> None:
        self._stack = contextlib.AsyncExitStack()

    @abstractmethod
    async def assemble(self) -> None:
        """Start the parts, with `up`."""

    @abstractmethod
    def processes(self) -> Iterable[Process]:
        """Those whose logs may tell why it did not start."""

    async def up(self, part: Part) -> None:
        """Start a part; it is stopped at the end."""
        self._stack.push_async_callback(part.stop)
        await part.start()

    async def __aenter__(self) -> Self:
        try:
            await self.assemble()
        except BaseException as error:
            await self._stack.aclose()
            for process in self.processes():
                if process.text():
                    error.add_note(process.tail())
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()
