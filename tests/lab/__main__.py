"""A PBX of the lab by hand: `python -m tests.lab [FOLDER]` runs it until Ctrl-C and says how to
reach it.
"""

import asyncio
import contextlib
import signal
import sys
import tempfile
from pathlib import Path

from tests.lab.accounts import ACCOUNTS
from tests.lab.asterisk import Asterisk
from tests.lab.certificate import Authority
from tests.lab.ports import Ports


async def main(folder: Path) -> None:
    authority = Authority(folder / "ca")
    pbx = Asterisk(folder / "pbx", Ports(), authority, ACCOUNTS)
    await pbx.start()
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    names = " ".join(pbx.accounts)
    print(  # noqa: T201
        f"SIP over TLS   127.0.0.1:{pbx.tls_port}, realm and certificate pbx.test\n"
        f"               bad certificates: {pbx.expired_port} expired, {pbx.untrusted_port} another"
        f" CA's, {pbx.misnamed_port} another name\n"
        f"CA             {authority.certificate}\n"
        f"accounts       {names}; password NAME-secret\n"
        f"numbers        {pbx.folder}/etc/extensions.conf; +1555555NNNN is NNNN\n"
        f"log, SIP trace {pbx.folder}/log/full\n"
        f"console        {' '.join(map(str, pbx.console))} -rvvv",
        flush=True,
    )
    await ended.wait()
    await pbx.stop()


if __name__ == "__main__":
    with contextlib.ExitStack() as stack:
        given = sys.argv[1:]
        chosen = given[0] if given else stack.enter_context(tempfile.TemporaryDirectory())
        asyncio.run(main(Path(chosen).absolute()))
