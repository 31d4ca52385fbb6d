"""A second, independent telephone: Debian's baresip with an account of a PBX or proxy, without a
sound card.

It plays a tone and records what it hears through its sndfile filter; commands go over its ctrl_tcp
module (JSON in netstrings). It is old and lenient: it never checks certificates and answers suites
that nobody offered.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from tests.lab import audio
from tests.lab.certificate import Authority
from tests.lab.ports import HOST, Ports
from tests.lab.process import PATIENCE, Process, eventually, port_open

TONE = 1000.0
MODULES = (
    ["stdio", "opus", "g722", "g711", "sndfile", "aufile", "ausine", "aubridge", "srtp"],
    ["uuid", "account"],
    ["contact", "menu", "debug_cmd", "ctrl_tcp"],
)


class Registrar(Protocol):
    """Where it registers."""

    tls_port: int

    def password(self, name: str, /) -> str: ...

    async def registered(self, name: str, /) -> object:
        """Wait until this account is registered."""
        ...


class Baresip:
    """One telephone, registered when `start` returns."""

    def __init__(
        self,
        folder: Path,
        ports: Ports,
        authority: Authority,
        registrar: Registrar,
        account: str,
        *,
        answer: str = "manual",
    ) -> None:
        self.folder = folder
        self._account = account
        self._registrar = registrar
        self._answer = answer
        self._certificate = authority.issue(f"baresip-{account}")
        self._trusted = authority.certificate
        self._sip_port = ports.pick_range(2)[0]
        self._control_port = ports.pick()
        self._rtp = ports.pick_range(40)
        self.events: list[Mapping[str, object]] = []
        self._answers: dict[str, asyncio.Future[Mapping[str, object]]] = {}
        self._number = 0
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        # -s traces SIP; without -t it runs until it is stopped.
        self._process = Process(
            f"baresip {account}", ["baresip", "-4", "-s", "-f", folder], log=folder / "log"
        )

    async def start(self) -> None:
        self._configure()
        await self._process.start(lambda: port_open(HOST, self._control_port))
        reader, self._writer = await asyncio.open_connection(HOST, self._control_port)
        self._reading = asyncio.create_task(self._read(reader))
        try:
            await self._registrar.registered(self._account)
        except AssertionError as error:
            raise RuntimeError(f"{error}\n{self._process.tail()}") from None

    async def stop(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        if self._writer is not None:
            self._writer.close()
        await self._process.stop()

    async def command(self, name: str, parameters: str = "") -> str:
        """A command of baresip (dial, accept, hangup, …); what it printed."""
        assert self._writer is not None, "not started"
        self._number += 1
        token = f"lab-{self._number}"
        answer = self._answers[token] = asyncio.get_running_loop().create_future()
        text = json.dumps({"command": name, "params": parameters, "token": token}).encode()
        self._writer.write(b"%d:%s," % (len(text), text))
        async with asyncio.timeout(PATIENCE):
            return str((await answer).get("data", ""))

    async def dial(self, number: str) -> None:
        await self.command("dial", self._uri(number))

    async def transfer(self, number: str) -> None:
        await self.command("transfer", self._uri(number))

    async def accept(self) -> None:
        await self.command("accept")

    async def hang_up(self) -> None:
        await self.command("hangup")

    async def expect(
        self,
        kind: str,
        where: Callable[[Mapping[str, object]], bool] = lambda event: True,
        *,
        since: int = 0,
        within: float = PATIENCE,
    ) -> Mapping[str, object]:
        """The first event of this type: CALL_INCOMING, CALL_ESTABLISHED, CALL_CLOSED, …"""

        def found() -> Mapping[str, object] | None:
            for event in self.events[since:]:
                if event.get("type") == kind and where(event):
                    return event
            return None

        event = await eventually(found, within=within, what=f"{kind} at {self._process.name}")
        assert event is not None
        return event

    def heard(self) -> audio.Sound:
        """What it heard in its last call."""
        dumps = sorted(self.folder.glob("dump-*-dec.wav"), key=lambda path: path.stat().st_mtime)
        assert dumps, f"{self._process.name} recorded nothing"
        return audio.load(dumps[-1])

    def _uri(self, number: str) -> str:
        return f"sip:{number}@{HOST}:{self._registrar.tls_port};transport=tls"

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while True:
            try:
                size = int((await reader.readuntil(b":"))[:-1])
                message = json.loads((await reader.readexactly(size + 1))[:-1])
            except asyncio.IncompleteReadError:
                return
            if message.get("event"):
                self.events.append({**message, "at": time.monotonic()})
            elif (answer := self._answers.pop(message.get("token", ""), None)) is not None:
                answer.set_result(message)

    def _configure(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        both = self.folder / "own.pem"
        both.write_bytes(
            self._certificate.key.read_bytes() + self._certificate.certificate.read_bytes()
        )
        modules = next(Path("/usr/lib").glob("**/baresip/modules"))
        loads = [
            f"{kind} {name}.so"
            for kind, names in zip(("module", "module_tmp", "module_app"), MODULES, strict=True)
            for name in names
        ]
        settings = {
            "poll_method": "epoll",
            "sip_listen": f"{HOST}:{self._sip_port}",
            "sip_certificate": both,
            "sip_cafile": self._trusted,
            "audio_source": f"ausine,{TONE:g}",
            "audio_player": f"aubridge,{self._account}",
            "audio_alert": f"aubridge,{self._account}-alert",
            "ausrc_srate": 48000,
            "auplay_srate": 48000,
            "ausrc_channels": 2,
            "auplay_channels": 2,
            "rtp_ports": f"{self._rtp[0]}-{self._rtp[-1]}",
            "jitter_buffer_delay": "5-10",
            "net_interface": HOST,
            "ctrl_tcp_listen": f"{HOST}:{self._control_port}",
            "menu_bell": "no",
            "snd_path": self.folder,
            "module_path": modules,
        }
        lines = [f"{key} {value}" for key, value in settings.items()] + loads
        (self.folder / "config").write_text("\n".join(lines) + "\n")
        name, password = self._account, self._registrar.password(self._account)
        (self.folder / "accounts").write_text(
            f"<{self._uri(name)}>;auth_user={name};auth_pass={password};mediaenc=srtp-mand;answermode={self._answer};regint=60"
            f";audio_codecs=opus/48000/2,G722/16000/1,PCMA/8000/1,PCMU/8000/1;ptime=20\n"
        )
        (self.folder / "contacts").write_text("")
