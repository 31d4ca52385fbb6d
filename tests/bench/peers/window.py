"""What the programs of this package have in common: windows of calls, on demand.

For each line `N` on standard input a program sets up and ends N calls between two user agents of
its own, over UDP on loopback and `TOGETHER` at a time, and prints how much CPU the process took for
both ends with all that is below them: `{"calls": N, "cpu": seconds}`.
"""

import asyncio
import json
import socket
import sys
import time
from collections.abc import Awaitable, Callable

# Calls under way at once: enough that nobody waits for the loop, few enough for socket buffers.
TOGETHER = 20

OFFER = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=audio 40000 RTP/SAVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n"
    "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=sendrecv\r\n"
    "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n"
)


def serve(run: Callable[[int], object]) -> None:
    """Run windows until standard input ends."""
    for line in sys.stdin:
        count = int(line)
        started = time.process_time()
        run(count)
        cpu = time.process_time() - started
        sys.stdout.write(json.dumps({"calls": count, "cpu": cpu}) + "\n")
        sys.stdout.flush()


async def keep_busy(count: int, call: Callable[[], Awaitable[object]]) -> None:
    """Make `count` calls, `TOGETHER` at a time."""
    left = count

    async def one_after_another() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await call()

    await asyncio.gather(*(one_after_another() for _ in range(TOGETHER)))


def free_port() -> int:
    """A UDP port on loopback that was free a moment ago."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
