"""The command line: `ringback init`, `registration`, `check`, `run` and `health`.

Everything here speaks to a person at a terminal, so it says what to do next in plain words and
shows no traceback for what is not a bug.
"""

import asyncio
import logging
import os
import resource
import signal
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import aiohttp
import click
from pydantic import TypeAdapter, ValidationError

from bridge import check as checks
from bridge.config import DEFAULT_FILE, Config, load
from bridge.db.database import DatabaseError
from bridge.document import ConfigError
from bridge.log import set_up_logging
from bridge.matrix.homeserver import MatrixError
from bridge.setting import Domain, Number, Secret, ServerName, SipUser, Url, UserId
from bridge.setup import Answers, make_files, make_registration, tell_next_steps
from bridge.task import first
from sip.io.tls import TlsSettingsError

log = logging.getLogger(__name__)

_config_option = click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=DEFAULT_FILE,
    show_default=True,
    envvar="RINGBACK_CONFIG",
    help="The configuration file.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("ringback"), prog_name="ringback")
def main() -> None:
    """Ringback: any Matrix client becomes the phone of your PBX or SIP account."""


class _Setting(click.ParamType):  # type: ignore[type-arg] # generic in newer click only
    """A value that must be right for the configuration; asked for again if it is not."""

    name = "value"

    def __init__(self, kind: Any, words: str, *, optional: bool = False) -> None:
        self.name = words
        self._reader: TypeAdapter[Any] = TypeAdapter(kind)
        self._optional = optional

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if self._optional and value == "":
            return value
        try:
            self._reader.validate_python(value)
        except ValidationError as error:
            problem = error.errors(include_input=False)[0]
            self.fail(str((problem.get("ctx") or {}).get("error", problem["msg"])), param, ctx)
        return value


@main.command()
@_config_option
@click.option(
    "--registration",
    type=click.Path(dir_okay=False, path_type=Path),
    default="registration.yaml",
    show_default=True,
    help="Where to write the file for the homeserver.",
)
@click.option(
    "--homeserver-url",
    type=_Setting(Url, "url"),
    prompt="Address of your homeserver, as the bridge reaches it",
    default="http://127.0.0.1:8008",
    show_default=True,
)
@click.option("--user", type=_Setting(UserId, "user id"), prompt="Your Matrix user id")
@click.option(
    "--domain",
    type=_Setting(ServerName, "name"),
    help="Server name in the user ids of the homeserver. [default: that of the user]",
)
@click.option(
    "--trunk-domain",
    type=_Setting(Domain, "domain"),
    prompt="SIP domain of your PBX or provider",
)
@click.option("--username", type=_Setting(SipUser, "name"), prompt="SIP user name")
@click.option(
    "--password",
    type=_Setting(Secret, "password"),
    prompt="SIP password",
    hide_input=True,
    envvar="RINGBACK_SIP_PASSWORD",
    show_envvar=True,
    help="Better by the question or the environment: others see a command line.",
)
@click.option(
    "--number",
    type=_Setting(Number, "number", optional=True),
    prompt="Your phone number, such as +493012345678 (empty if you have none)",
    default="",
    show_default=False,
)
@click.option(
    "--ca-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Certificate to trust instead of the system's, for a PBX with one of its own.",
)
@click.option(
    "--trunk-host", default=None, help="Where to connect, if not what DNS says of the SIP domain."
)
@click.option("--trunk-port", type=click.IntRange(1, 65535), default=None)
@click.option("--force", is_flag=True, help="Overwrite files that exist; makes new tokens.")
def init(
    path: Path,
    registration: Path,
    homeserver_url: str,
    user: str,
    domain: str | None,
    trunk_domain: str,
    username: str,
    password: str,
    number: str,
    ca_file: Path | None,
    trunk_host: str | None,
    trunk_port: int | None,
    force: bool,
) -> None:
    """Write the configuration and the registration, from a few questions."""
    answers = Answers(
        homeserver_url=homeserver_url,
        domain=domain or user.partition(":")[2],
        user=user,
        trunk_domain=trunk_domain,
        username=username,
        password=password,
        number=number or None,
        ca_file=ca_file,
        trunk_host=trunk_host,
        trunk_port=trunk_port,
    )
    try:
        make_files(answers, path, registration, overwrite=force)
    except FileExistsError as error:
        _give_up(f"{error} is there already; --force overwrites it.")
    except ConfigError as error:
        _give_up(str(error))
    except OSError as error:
        _give_up(_without_number(error))
    click.echo(tell_next_steps(answers, path, registration))


@main.command("registration")
@_config_option
@click.argument(
    "registration", type=click.Path(dir_okay=False, path_type=Path), default="registration.yaml"
)
def write_registration(path: Path, registration: Path) -> None:
    """Write the registration again, after a change of the `appservice` section."""
    make_registration(_load(path), registration, overwrite=True)
    click.echo(f"Wrote {registration}. Restart the homeserver to make it read it.")


@main.command()
@_config_option
def check(path: Path) -> None:
    """Tell what works and what does not."""
    good = asyncio.run(checks.check(path, os.environ, _say))
    click.echo("Everything works." if good else "Something is wrong; see above.")
    sys.exit(0 if good else 1)


def _say(step: checks.Step) -> None:
    mark = click.style("ok    ", fg="green") if step.ok else click.style("failed", fg="red")
    click.echo(f"{mark}  {step.text}")


@main.command()
@_config_option
def run(path: Path) -> None:
    """Run the bridge until SIGTERM or Ctrl-C; a second one does not wait."""
    config = _load(path)
    # The database and whatever else we write holds people's messages; a core file, passwords.
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    set_up_logging(config.log.level, config.secrets())
    try:
        asyncio.run(_serve(config))
    except (DatabaseError, MatrixError, TlsSettingsError, OSError) as error:
        _give_up(f"Ringback cannot run: {_without_number(error)}")


@main.command()
@_config_option
def health(path: Path) -> None:
    """Ask the running bridge whether it is well; for Docker and the like."""
    config = _load(path)
    good, words = asyncio.run(_ask_health(config))
    click.echo(words)
    sys.exit(0 if good else 1)


# --- behind the commands


def _load(path: Path) -> Config:
    try:
        return load(path, os.environ)
    except ConfigError as error:
        _give_up(str(error))


def _without_number(error: Exception) -> str:
    """What an error says, without the system's number in front."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror


def _give_up(words: str) -> NoReturn:
    click.echo(words, err=True)
    sys.exit(1)


async def _serve(config: Config) -> None:
    """Run the bridge until a signal comes.

    SIGTERM lets calls go on for the time in the configuration; SIGINT and a second signal end them;
    one more ends us without a word to anybody.
    """
    # Imported here, so that `init` and `check` work without media and SIP being loaded.
    from bridge.app import Ringback

    stopping, hurry = asyncio.Event(), asyncio.Event()

    def stop(number: signal.Signals) -> None:
        if hurry.is_set():
            log.warning("one more signal: not waiting any longer")
            logging.shutdown()
            os._exit(1)
        if stopping.is_set() or number is signal.SIGINT:
            hurry.set()
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    bridge = Ringback(config)
    starting = asyncio.create_task(bridge.start())
    waiting = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            await first(stopping.wait(), bridge.displaced())
            await first(bridge.drain(config.drain_seconds), hurry.wait(), bridge.displaced())
        log.info("stopping")
    finally:
        starting.cancel()
        waiting.cancel()
        await asyncio.gather(starting, waiting, return_exceptions=True)
        await bridge.stop()


async def _ask_health(config: Config) -> tuple[bool, str]:
    limit, url = aiohttp.ClientTimeout(total=5), checks.health_url(config)
    try:
        async with (
            aiohttp.ClientSession(timeout=limit) as session,
            session.get(url) as response,
        ):
            return response.status == 200, await response.text()
    except (aiohttp.ClientError, TimeoutError):
        return False, f"{url} does not answer: is the bridge running?"


if __name__ == "__main__":
    main()
