"""A registrar over TLS in a process of its own, which can be frozen or cut off.

python -m tests.outage.peer CERTIFICATE HOST PORT
"""

import asyncio
import sys
from pathlib import Path

from tests.sip.io.registrar import Registrar, TlsPeer
from tests.sip.io.tls_server import server_context


async def main(certificate: Path, host: str, port: int) -> None:
    peer = TlsPeer(Registrar())
    server = await asyncio.start_server(peer.serve, host, port, ssl=server_context(certificate))
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201  # whoever started us reads it
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
