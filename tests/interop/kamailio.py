"""Kamailio, of Debian stable: a registrar, and a proxy in the path of every call.

What it heard on the wire is read back from its log with `sip()`.
"""

import re
from pathlib import Path

from tests.lab.certificate import Authority
from tests.lab.ports import HOST, Ports
from tests.lab.process import PATIENCE, Process, eventually, port_open

HERE = Path(__file__).parent

TLS_CONFIG = """
[server:default]
method = TLSv1.2+
certificate = {certificate}
private_key = {key}
ca_list = {ca}
verify_certificate = no
require_certificate = no

[client:default]
method = TLSv1.2+
ca_list = {ca}
verify_certificate = yes
require_certificate = yes
"""


class Kamailio:
    """One proxy. `algorithm` is the digest that it asks for."""

    def __init__(
        self,
        folder: Path,
        ports: Ports,
        authority: Authority,
        *,
        pbx_port: int,
        algorithm: str = "MD5",
    ) -> None:
        self.domain = "proxy.test"
        self.folder = folder
        self.tls_port = ports.pick()
        issued = authority.issue("proxy", (self.domain, "localhost", HOST))
        self._tls_config = TLS_CONFIG.format(
            certificate=issued.certificate, key=issued.key, ca=authority.certificate
        )
        self._values = {
            "TLS": self.tls_port,
            "TLS_CONFIG": folder / "tls.cfg",
            "PBX": pbx_port,
            "ALGORITHM": algorithm,
        }
        config = folder / "kamailio.cfg"
        command: list[str | Path] = [
            "kamailio",
            "-DD",
            "-E",
            "-m",
            "32",
            "-M",
            "4",
            "-Y",
            folder,
            "-f",
            config,
        ]
        self._process = Process("Kamailio", command, log=folder / "log")

    async def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "tls.cfg").write_text(self._tls_config)
        template = (HERE / "kamailio.cfg").read_text()
        filled = re.sub(r"@([A-Z_]+)@", lambda m: str(self._values[m[1]]), template)
        (self.folder / "kamailio.cfg").write_text(filled)
        await self._process.start(lambda: port_open(HOST, self.tls_port))

    async def stop(self) -> None:
        await self._process.stop()

    def password(self, name: str) -> str:
        return f"{name}-secret"

    async def registered(self, name: str) -> None:
        """Wait for the REGISTER with the proof, and a moment for it to be stored."""
        await self.seen("REGISTER sip:", f'username="{name}"')

    def mark(self) -> int:
        return len(self._process.text())

    def heard(self, since: int = 0) -> list[str]:
        """Every SIP message that came, from whomever, in order."""
        text = self._process.text()[since:]
        return [m.replace("\r\n", "\n") for m in re.findall(r"(?s)--> [\d.:]+\n(.*?)\n<--", text)]

    async def seen(self, *words: str, since: int = 0, within: float = PATIENCE) -> str:
        """The first message that came with all of these words in it."""
        found = await eventually(
            lambda: [m for m in self.heard(since) if all(word in m for word in words)],
            within=within,
            what=f"{words} at the proxy",
        )
        return found[0]
