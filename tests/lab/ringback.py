"""The bridge as its user runs it: `ringback init`, a configuration file, `ringback run`."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.lab.asterisk import Account, Asterisk
from tests.lab.certificate import Authority
from tests.lab.peer import REALM, Peer
from tests.lab.ports import HOST, Ports
from tests.lab.process import PATIENCE, START, Process, eventually, port_open

COMMAND = (Path(sys.executable).parent / "ringback",)


class Ringback:
    """One bridge with its folder: configuration, registration, database, log."""

    def __init__(
        self,
        folder: Path,
        ports: Ports,
        *,
        name: str,
        homeserver: str,
        domain: str,
        trunks: Sequence[Mapping[str, Any]],
        lines: Sequence[Mapping[str, Any]],
        database: str = "sqlite:ringback.db",
        more: Mapping[str, Any] | None = None,
        media: str = HOST,
    ) -> None:
        self.folder = folder
        self._media = media
        self.name = name
        self.domain = domain
        self.port = ports.pick()
        # Three a call, and a freed one rests for half a minute: tests call more than people.
        self.media_ports = ports.pick_range(600)
        self.config = folder / "ringback.yaml"
        self.registration = folder / "registration.yaml"
        self._homeserver = homeserver
        self._settings: dict[str, Any] = {
            "trunks": list(trunks),
            "lines": list(lines),
            "database": database,
            **(more or {}),
        }
        self.process = self._process()

    # --- names

    @property
    def bot(self) -> str:
        return f"@{self.name}:{self.domain}"

    @property
    def prefix(self) -> str:
        """Of the ghosts' local parts: the default for the default name, else its own."""
        return "tel_" if self.name == "ringback" else f"{self.name}_"

    def ghost(self, number: str) -> str:
        """The Matrix user that stands for a number."""
        return f"@{self.prefix}{number.removeprefix('+')}:{self.domain}"

    # --- life

    async def init(self) -> None:
        """Let `ringback init` write its two files, then put the lab's ports, names and lines into
        them.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        trunk, first_line = self._settings["trunks"][0], self._settings["lines"][0]
        flags = {
            "--homeserver-url": self._homeserver,
            "--user": first_line["users"][0],
            "--trunk-domain": trunk["domain"],
            "--username": trunk["username"],
            "--password": trunk["password"],
            "--number": first_line.get("number", ""),
            "--ca-file": trunk["tls"]["ca_file"],
            "--trunk-host": trunk["host"],
            "--trunk-port": str(trunk["port"]),
        }
        await self.run("init", *(part for flag in flags.items() for part in flag))
        config = self.read()
        config["appservice"] |= {
            "id": self.name,
            "url": f"http://{HOST}:{self.port}",
            "listen": f"{HOST}:{self.port}",
            "bot": self.name,
            "ghost_prefix": self.prefix,
        }
        first, last = self.media_ports[0], self.media_ports[-1]
        media = {"listen": self._media, "ports": f"{first}-{last}", "workers": 1}
        drain = {"drain_seconds": 0, **self._settings}
        self.write({**config, **drain, "media": media, "log": {"level": "debug"}})
        registration = yaml.safe_load(self.registration.read_text())
        assert registration["url"], "init made a registration without an address"
        registration |= {
            "id": self.name,
            "url": config["appservice"]["url"],
            "sender_localpart": self.name,
            "receive_ephemeral": True,
        }
        for space, local in zip(
            registration["namespaces"]["users"], (f"{self.prefix}.+", self.name), strict=True
        ):
            space["regex"] = f"@{local}:{self.domain.replace('.', '[.]')}"
        self.registration.write_text(yaml.safe_dump(registration))

    def write(self, config: Mapping[str, Any]) -> None:
        self.config.write_text(yaml.safe_dump(dict(config), sort_keys=False))

    def read(self) -> dict[str, Any]:
        return dict(yaml.safe_load(self.config.read_text()))

    async def start(self) -> None:
        await self.process.start(lambda: port_open(HOST, self.port))

    async def stop(self) -> int:
        """SIGTERM; its exit status."""
        return await self.process.stop()

    async def again(
        self,
        *,
        before: Sequence[str | Path] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Stop it, and start it in other circumstances.

        Args:
            before: a program that runs it, with its arguments.
        """
        await self.stop()
        self.process = self._process(before, environment)
        await self.start()

    def _process(
        self, before: Sequence[str | Path] = (), environment: Mapping[str, str] | None = None
    ) -> Process:
        return Process(
            f"ringback {self.name}",
            [*before, *COMMAND, "run", "-c", self.config],
            log=self.folder / "log",
            cwd=self.folder,
            environment=environment,
        )

    async def run(self, *arguments: str | Path, status: int | None = 0) -> str:
        """Another of its commands; what it said. `status` None takes any."""
        process = await asyncio.create_subprocess_exec(
            *map(str, (*COMMAND, *arguments)),
            cwd=self.folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(START):
            output, _ = await process.communicate()
        text = output.decode(errors="replace")
        if status is not None and process.returncode != status:
            raise AssertionError(f"{arguments} exited {process.returncode}, not {status}:\n{text}")
        return text

    # --- its log

    @property
    def mark(self) -> int:
        return len(self.process.text())

    def log(self, since: int = 0) -> str:
        return self.process.text()[since:]

    async def logged(self, *words: str, since: int = 0, within: float = PATIENCE) -> str:
        """The first line of the log with all of these words."""

        def found() -> str | None:
            for line in self.log(since).splitlines():
                if all(word in line for word in words):
                    return line
            return None

        line = await eventually(found, within=within, what=f"{words} in the log of {self.name}")
        assert line is not None
        return line


def pbx_trunk(
    pbx: Asterisk, authority: Authority, account: Account, **settings: object
) -> dict[str, Any]:
    """The trunk for an account of the PBX, as our documentation says to write it."""
    return {
        "name": account.name,
        "domain": "pbx.test",
        "host": HOST,
        "port": pbx.tls_port,
        "username": account.name,
        "password": account.password,
        "tls": {"ca_file": str(authority.certificate)},
        **settings,
    }


def peer_trunk(peer: Peer, authority: Authority, **settings: object) -> dict[str, Any]:
    """The trunk for the scripted peer."""
    return {
        "name": peer.username,
        "domain": REALM,
        "host": HOST,
        "port": peer.port,
        "username": peer.username,
        "password": peer.password,
        "tls": {"ca_file": str(authority.certificate)},
        **settings,
    }


def line(name: str, trunk: str, users: Sequence[str], **settings: object) -> dict[str, Any]:
    # In the labs many strangers write within a minute, and much.
    floods = {"shown_per_minute": 1000, "strangers_per_minute": 1000}
    return {"name": name, "trunk": trunk, "users": list(users), **floods, **settings}
