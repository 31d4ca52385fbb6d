"""The commands as a person meets them; `check` against a homeserver that a test plays."""

import stat
from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer
from click.testing import CliRunner, Result

from bridge import check
from bridge.cli import main
from bridge.config import load
from bridge.matrix.appservice import Appservice, Health
from bridge.matrix.registration import build_registration
from bridge.setting import Endpoint

ROOT = Path(__file__).parents[2]
FLAGS = {
    "--homeserver-url": "http://127.0.0.1:8008",
    "--user": "@alice:example.org",
    "--trunk-domain": "pbx.example.org",
    "--username": "ringback",
    "--password": 'a "quoted" \\ # pässword: x',
    "--number": "+493012345678",
}


def command(*arguments: object, answers: str | None = None) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=answers)


def init(folder: Path, *more: object, answers: str | None = None, **flags: str) -> Result:
    given = FLAGS | {f"--{name.replace('_', '-')}": value for name, value in flags.items()}
    arguments = [part for pair in given.items() if pair[1] != "-" for part in pair]
    files = ["-c", folder / "ringback.yaml", "--registration", folder / "registration.yaml"]
    return command("init", *files, *arguments, *more, answers=answers)


# --- init


def test_init_writes_two_files_that_fit_together(tmp_path: Path) -> None:
    result = init(tmp_path)
    assert result.exit_code == 0, result.output
    config = load(tmp_path / "ringback.yaml", {})
    registration = yaml.safe_load((tmp_path / "registration.yaml").read_text())
    assert registration["as_token"] == config.appservice.as_token.get_secret_value()
    assert registration["hs_token"] == config.appservice.hs_token.get_secret_value()
    assert registration["as_token"] != registration["hs_token"]
    assert config.trunks[0].password.get_secret_value() == FLAGS["--password"]
    assert config.homeserver.domain == "example.org"
    assert config.lines[0].users == ("@alice:example.org",)
    for name in ("ringback.yaml", "registration.yaml"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_init_says_what_to_do_next_and_no_secret(tmp_path: Path) -> None:
    result = init(tmp_path)
    for words in ("app_service_config_files", "ringback check", "ringback run", "@ringback:"):
        assert words in result.output
    assert FLAGS["--password"] not in result.output
    config = load(tmp_path / "ringback.yaml", {})
    assert config.appservice.as_token.get_secret_value() not in result.output


def test_init_overwrites_nothing_unless_forced(tmp_path: Path) -> None:
    init(tmp_path)
    before = (tmp_path / "ringback.yaml").read_text()
    result = init(tmp_path)
    assert result.exit_code == 1
    assert "--force" in result.output
    assert (tmp_path / "ringback.yaml").read_text() == before
    assert init(tmp_path, "--force").exit_code == 0
    assert (tmp_path / "ringback.yaml").read_text() != before


def test_init_asks_for_what_it_was_not_told_and_again_if_it_is_wrong(tmp_path: Path) -> None:
    answers = "alice\n@alice:example.org\n030\n\n"
    result = init(tmp_path, user="-", number="-", answers=answers)
    assert result.exit_code == 0, result.output
    assert "not a Matrix user id" in result.output
    assert "not an international phone number" in result.output
    line = load(tmp_path / "ringback.yaml", {}).lines[0]
    assert line.number is None
    assert line.called == ("ringback",)


def test_init_refuses_a_wrong_flag(tmp_path: Path) -> None:
    result = init(tmp_path, trunk_domain="pbx example")
    assert result.exit_code == 2
    assert "not a domain" in result.output
    assert list(tmp_path.iterdir()) == []


def test_init_takes_where_to_connect(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("x")
    ca = tmp_path / "ca.pem"
    result = init(tmp_path, ca_file=str(ca), trunk_host="192.0.2.1", trunk_port="5061")
    assert result.exit_code == 0, result.output
    trunk = load(tmp_path / "ringback.yaml", {}).trunks[0]
    assert (trunk.host, trunk.port, trunk.tls.ca_file) == ("192.0.2.1", 5061, ca)


def test_the_registration_can_be_written_again(tmp_path: Path) -> None:
    init(tmp_path)
    path = tmp_path / "ringback.yaml"
    path.write_text(path.read_text().replace("appservice:", "appservice:\n  bot: telephone"))
    registration = tmp_path / "registration.yaml"
    assert command("registration", "-c", path, registration).exit_code == 0
    assert yaml.safe_load(registration.read_text())["sender_localpart"] == "telephone"


def test_the_example_registration_is_what_init_writes(tmp_path: Path) -> None:
    example = yaml.safe_load((ROOT / "registration.yaml.example").read_text())
    made = build_registration(
        id="ringback",
        url="http://127.0.0.1:29330",
        domain="example.org",
        bot="ringback",
        ghost_prefix="tel_",
        as_token=example["as_token"],
        hs_token=example["hs_token"],
    )
    assert example == made


# --- the others


def test_version() -> None:
    assert version("ringback") in command("--version").output


@pytest.mark.parametrize("name", ["run", "check", "health"])
def test_a_wrong_configuration_is_told_in_words(name: str, tmp_path: Path) -> None:
    path = tmp_path / "ringback.yaml"
    path.write_text("colour: red\n")
    result = command(name, "-c", path)
    assert result.exit_code == 1
    assert "colour: is no setting that we know" in result.output
    assert "homeserver: is missing" in result.output
    assert "Traceback" not in result.output


def test_health_without_a_bridge_is_bad(tmp_path: Path) -> None:
    init(tmp_path)
    path = tmp_path / "ringback.yaml"
    path.write_text(path.read_text().replace("appservice:", "appservice:\n  listen: 127.0.0.1:1"))
    result = command("health", "-c", path)
    assert result.exit_code == 1
    assert "http://127.0.0.1:1/health does not answer: is the bridge running?" in result.output


# --- check


class Homeserver:
    """Answers `check`; pings the listener as it was told to."""

    def __init__(self) -> None:
        self.token_known = True
        self.user_known = True
        self.url = ""
        self.pings: list[int] = []

    async def respond(self, request: web.Request) -> web.Response:
        if request.path == "/_matrix/client/versions":
            return web.json_response({"versions": ["v1.17", "v1.2"]})
        if not self.token_known:
            refusal = {"errcode": "M_UNKNOWN_TOKEN", "error": "unknown"}
            return web.json_response(refusal, status=401)
        if request.path.endswith("/whoami"):
            return web.json_response({"user_id": "@ringback:example.org"})
        if "/profile/" in request.path:
            if self.user_known:
                return web.json_response({"displayname": "Alice"})
            return web.json_response({"errcode": "M_NOT_FOUND", "error": "no"}, status=404)
        self.pings.append(1)
        return web.json_response({"duration_ms": 5})


@pytest.fixture
async def homeserver() -> AsyncIterator[Homeserver]:
    homeserver = Homeserver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", homeserver.respond)
    server = TestServer(app)
    await server.start_server()
    homeserver.url = str(server.make_url(""))
    yield homeserver
    await server.close()


def config_for(homeserver: Homeserver, folder: Path, **appservice: Any) -> Path:
    init(folder)
    path = folder / "ringback.yaml"
    config = yaml.safe_load(path.read_text())
    config["homeserver"]["url"] = homeserver.url
    config["appservice"] |= {"listen": "127.0.0.1:0"} | appservice
    config["media"] = {"listen": "127.0.0.1", "ports": "42000-42099"}
    path.write_text(yaml.safe_dump(config))
    return path


async def steps(path: Path) -> list[check.Step]:
    config = load(path, {})
    found = [await check.check_database(config), *await check.check_homeserver(config)]
    return [*found, check.check_ports(config)]


async def test_check_says_what_works(homeserver: Homeserver, tmp_path: Path) -> None:
    found = await steps(config_for(homeserver, tmp_path))
    assert [step.ok for step in found] == [True] * 5
    assert [step.text.partition(":")[0] for step in found] == [
        "database",
        "homeserver",
        "token",
        "ping",
        "media",
    ]
    assert "v1.17" in found[1].text
    assert "@ringback:example.org" in found[2].text


async def test_check_complains_of_a_user_that_is_mistyped(
    homeserver: Homeserver, tmp_path: Path
) -> None:
    homeserver.user_known = False
    found = await steps(config_for(homeserver, tmp_path))
    assert [step.ok for step in found] == [True, True, True, False, True, True]
    assert "knows no @alice:example.org" in found[3].text


def test_check_says_what_to_enter_at_a_provider(homeserver: Homeserver, tmp_path: Path) -> None:
    path = config_for(homeserver, tmp_path)
    assert check.check_hooks(load(path, {})) == []
    config = yaml.safe_load(path.read_text())
    config["hooks"] = {"listen": "127.0.0.1:0", "public_url": "https://phone.example.org"}
    config["roads"] = [
        {
            "name": "sms",
            "hook_secret": "0123456789abcdef",
            "voipms": {"username": "u", "password": "p"},
        }
    ]
    path.write_text(yaml.safe_dump(config))
    found = check.check_hooks(load(path, {}))
    assert [step.ok for step in found] == [True, True]
    assert "https://phone.example.org/road/sms/0123456789abcdef" in found[1].text
    config["hooks"]["listen"] = "192.0.2.1:80"
    path.write_text(yaml.safe_dump(config))
    assert not check.check_hooks(load(path, {}))[0].ok


async def test_check_uses_the_running_bridge_if_there_is_one(
    homeserver: Homeserver, tmp_path: Path
) -> None:
    running = Appservice(
        listen=Endpoint("127.0.0.1", 0),
        hs_token="h",
        inbox=check.ClosedInbox(),
        handler=check.handle_nothing,
        health=lambda: Health(True),
    )
    await running.start()
    path = config_for(homeserver, tmp_path, listen=f"127.0.0.1:{running.port}")
    found = await steps(path)
    await running.stop()
    assert "the running bridge" in found[3].text


async def test_check_says_that_the_token_is_unknown(homeserver: Homeserver, tmp_path: Path) -> None:
    homeserver.token_known = False
    found = await steps(config_for(homeserver, tmp_path))
    assert [step.ok for step in found] == [True, True, False, True]
    assert "registration file" in found[2].text


async def test_check_says_that_the_database_cannot_be_opened(
    homeserver: Homeserver, tmp_path: Path
) -> None:
    path = config_for(homeserver, tmp_path)
    path.write_text(path.read_text().replace("sqlite:ringback.db", "sqlite:nowhere/ringback.db"))
    step = (await steps(path))[0]
    assert not step.ok
    assert step.text.startswith("database: SQLite cannot be opened")
