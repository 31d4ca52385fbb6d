"""`ringback check`, `init`, `health` and a wrong configuration: what a new user is told."""

import re
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab.lab import Lab
from tests.lab.ringback import Ringback


@pytest.fixture
def changed(bridge: Ringback, tmp_path: Path) -> "Changed":
    return Changed(bridge, tmp_path)


class Changed:
    """The running bridge's configuration with one thing changed, for `ringback check`."""

    def __init__(self, bridge: Ringback, folder: Path) -> None:
        self._bridge = bridge
        self._folder = folder
        self.config = bridge.read()
        self.config["trunks"] = self.config["trunks"][:1]
        self.config["lines"] = self.config["lines"][:1]
        self.trunk: dict[str, Any] = self.config["trunks"][0]

    def write(self) -> Path:
        path = self._folder / "changed.yaml"
        path.write_text(yaml.safe_dump(self.config))
        return path

    async def check(self, *, good: bool) -> str:
        return await self._bridge.run("check", "-c", self.write(), status=0 if good else 1)


async def test_check_says_what_works(changed: Changed, bridge: Ringback) -> None:
    said = await changed.check(good=True)
    for words in ("configuration", "database", "homeserver", "token", "ping", "media", "trunk"):
        assert re.search(rf"(?m)^ok\s+{words}", said), f"nothing said of {words}:\n{said}"
    assert "failed" not in said
    assert re.search(r"(?i)certificate", said)
    assert re.search(r"(?i)regist", said)


async def test_check_says_that_the_homeserver_is_away(changed: Changed, lab: Lab) -> None:
    changed.config["homeserver"]["url"] = f"http://127.0.0.1:{lab.ports.pick()}"
    assert re.search(r"(?m)^failed\s+homeserver", await changed.check(good=False))


async def test_check_says_that_the_token_is_unknown(changed: Changed) -> None:
    changed.config["appservice"]["as_token"] = "of-some-other-registration-long-enough"
    said = await changed.check(good=False)
    assert re.search(r"(?m)^failed\s+token", said), said


async def test_check_says_that_the_password_is_wrong(changed: Changed) -> None:
    changed.trunk["password"] = "wrong"
    said = await changed.check(good=False)
    assert re.search(r"(?m)^failed\s+trunk ringback.*", said)
    assert "password" in said.lower()


@pytest.mark.parametrize("which", ["expired", "untrusted", "misnamed"])
async def test_check_says_what_is_wrong_with_a_certificate(
    which: str, changed: Changed, lab: Lab
) -> None:
    changed.trunk["port"] = getattr(lab.pbx, f"{which}_port")
    said = await changed.check(good=False)
    failed = re.search(r"(?m)^failed\s+trunk ringback.*", said)
    assert failed
    assert "certificate" in failed[0].lower()


async def test_check_says_that_nobody_is_there(changed: Changed, lab: Lab) -> None:
    changed.trunk["port"] = lab.ports.pick()
    assert re.search(r"(?m)^failed\s+trunk ringback", await changed.check(good=False))


async def test_check_says_that_a_name_does_not_exist(changed: Changed) -> None:
    del changed.trunk["host"]
    changed.trunk["domain"] = "no-such-name.invalid"
    assert re.search(r"(?m)^failed\s+trunk ringback", await changed.check(good=False))


async def test_check_says_that_the_media_ports_are_taken(changed: Changed, lab: Lab) -> None:
    ports = lab.ports.pick_range(20)
    changed.config["media"]["ports"] = f"{ports[0]}-{ports[-1]}"
    taken = []
    try:
        for port in ports:
            taken.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            taken[-1].bind(("127.0.0.1", port))
        assert re.search(r"(?m)^failed\s+media", await changed.check(good=False))
    finally:
        for one in taken:
            one.close()


async def test_every_mistake_is_told_at_once_with_its_place(changed: Changed) -> None:
    changed.config["lines"][0]["trunk"] = "nowhere"
    changed.config["lines"][0]["ring_seconds"] = "soon"
    changed.config["media"]["ports"] = "7"
    changed.config["colour"] = "green"
    said = await changed.check(good=False)
    for words in ("nowhere", "ring_seconds", "ports", "colour"):
        assert words in said
    assert len(re.findall(r"(?m)^failed\s.*:\d+:", said)) >= 4, said


async def test_run_refuses_a_wrong_configuration(bridge: Ringback, tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("homeserver: {}\n")
    said = await bridge.run("run", "-c", path, status=1)
    assert "Traceback" not in said
    assert "trunks" in said


async def test_health_says_that_the_bridge_is_well(bridge: Ringback) -> None:
    assert await bridge.run("health", "-c", bridge.config)


async def test_health_says_that_no_bridge_runs(
    changed: Changed, bridge: Ringback, lab: Lab
) -> None:
    changed.config["appservice"]["listen"] = f"127.0.0.1:{lab.ports.pick()}"
    await bridge.run("health", "-c", changed.write(), status=1)


async def test_init_writes_what_only_we_may_read_and_never_overwrites(bridge: Ringback) -> None:
    for path in (bridge.config, bridge.registration):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 or path == bridge.registration
    flags = [
        "--homeserver-url",
        "http://h.test",
        "--user",
        "@a:b.test",
        "--trunk-domain",
        "b.test",
        "--username",
        "a",
    ]
    before = bridge.config.read_bytes()
    said = await bridge.run("init", *flags, "--password", "x", "--number", "", status=1)
    assert "there already" in said
    assert bridge.config.read_bytes() == before


async def test_no_secret_is_in_the_log(bridge: Ringback, lab: Lab) -> None:
    """After everything that the tests before this one did, at level debug."""
    config = bridge.read()
    secrets = [config["appservice"]["as_token"], config["appservice"]["hs_token"]]
    secrets += [trunk["password"] for trunk in config["trunks"] if trunk["password"] != "secret"]
    said = bridge.log()
    assert said
    for secret in secrets:
        assert secret not in said
    assert "inline:" not in said
    assert "ice-pwd:" not in said
    assert lab
