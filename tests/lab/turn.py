"""The homeserver's TURN server: Debian's coturn with a shared secret, on loopback."""

import secrets
from pathlib import Path

from tests.lab.ports import HOST, Ports
from tests.lab.process import Process, port_open


class Turn:
    """One TURN server over UDP and TCP."""

    def __init__(self, folder: Path, ports: Ports) -> None:
        self.port = ports.pick()
        self.secret = secrets.token_hex(16)
        self._folder = folder
        self._relays = ports.pick_range(100)
        config = folder / "turnserver.conf"
        self._process = Process("coturn", ["turnserver", "-c", config], log=folder / "log")

    @property
    def uris(self) -> list[str]:
        return [f"turn:{HOST}:{self.port}?transport=udp"]

    async def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "listening-ip": HOST,
            "relay-ip": HOST,
            "listening-port": self.port,
            "min-port": self._relays[0],
            "max-port": self._relays[-1],
            "realm": "turn.lab.test",
            "use-auth-secret": "",
            "static-auth-secret": self.secret,
            "allow-loopback-peers": "",
            "no-tls": "",
            "no-dtls": "",
            "no-cli": "",
            "no-multicast-peers": "",
            "userdb": self._folder / "turn.sqlite",
            "pidfile": self._folder / "pid",
            "log-file": "stdout",
            "simple-log": "",
        }
        lines = [f"{key}={value}" if value else key for key, value in settings.items()]
        (self._folder / "turnserver.conf").write_text("\n".join(map(str, lines)) + "\n")
        await self._process.start(lambda: port_open(HOST, self.port))

    async def stop(self) -> None:
        await self._process.stop()
