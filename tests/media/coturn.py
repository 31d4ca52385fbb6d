"""A real TURN server, coturn, over UDP, TCP and TLS on loopback."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.certificate import Authority
from tests.lab.ports import HOST, Ports, free


@dataclass(frozen=True)
class Coturn:
    port: int
    tls_port: int
    authority: Path


@contextmanager
def serving(folder: Path) -> Iterator[Coturn]:
    """One that runs, for the user `lab` with the password `lab-turn`."""
    ports = Ports()
    port, tls_port, relays = ports.pick(), ports.pick(), ports.pick_range(50)
    authority = Authority(folder)
    certificate = authority.issue("turn", ("turn.lab.test", "localhost"))
    settings = [
        f"listening-ip={HOST}",
        f"relay-ip={HOST}",
        f"listening-port={port}",
        f"tls-listening-port={tls_port}",
        f"min-port={relays[0]}",
        f"max-port={relays[-1]}",
        "realm=lab.test",
        "lt-cred-mech",
        "user=lab:lab-turn",
        f"cert={certificate.certificate}",
        f"pkey={certificate.key}",
        "fingerprint",
        "allow-loopback-peers",
        "no-cli",
        f"userdb={folder / 'turn.sqlite'}",
        f"pidfile={folder / 'pid'}",
        "log-file=stdout",
    ]
    config = folder / "turnserver.conf"
    config.write_text("\n".join(settings) + "\n")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["turnserver", "-c", config], stdout=log, stderr=log)
    limit = time.monotonic() + 10
    while free(port) or free(tls_port):
        assert process.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < limit, (folder / "log").read_text()
        time.sleep(0.05)
    try:
        yield Coturn(port, tls_port, authority.certificate)
    finally:
        process.terminate()
        process.wait(10)
