"""What `ringback init` writes: a small configuration and the registration that belongs to it."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from bridge.config import Config, parse
from bridge.matrix.registration import (
    build_registration,
    make_token,
    show_registration,
    write_secret_file,
)

_TEMPLATE = """\
# Ringback's configuration. config.example.yaml explains every setting.
homeserver:
  url: {homeserver_url}
  domain: {domain}
appservice:
  as_token: {as_token}
  hs_token: {hs_token}
database: sqlite:ringback.db
trunks:
  - name: main
    domain: {trunk_domain}
    username: {username}
    password: {password}
{extra}lines:
  - name: main
    trunk: main
    number: {number}
    users: [{user}]
"""


@dataclass(frozen=True, slots=True)
class Answers:
    """What the person told us; each is already known to be a legal value by itself."""

    homeserver_url: str
    domain: str
    user: str
    trunk_domain: str
    username: str
    password: str = field(repr=False)
    number: str | None = None
    ca_file: Path | None = None
    trunk_host: str | None = None
    trunk_port: int | None = None


def make_files(
    answers: Answers, config_path: Path, registration_path: Path, *, overwrite: bool = False
) -> None:
    """Write both files, or none.

    Raises:
        FileExistsError: one of them is there already.
        ConfigError: the answers do not fit together.
    """
    for path in (config_path, registration_path):
        if path.exists() and not overwrite:
            raise FileExistsError(path)
    text = _show_config(answers, make_token(), make_token())
    config = parse(text, config_path, {})
    write_secret_file(config_path, text, overwrite=overwrite)
    make_registration(config, registration_path, overwrite=overwrite)


def make_registration(config: Config, path: Path, *, overwrite: bool = False) -> None:
    """Write the registration that belongs to a configuration."""
    registration = build_registration(
        id=config.appservice.id,
        url=config.appservice.url,
        domain=config.homeserver.domain,
        bot=config.appservice.bot,
        ghost_prefix=config.appservice.ghost_prefix,
        as_token=config.appservice.as_token.get_secret_value(),
        hs_token=config.appservice.hs_token.get_secret_value(),
        reads=any(trunk.read_receipts for trunk in config.trunks),
    )
    write_secret_file(path, show_registration(registration), overwrite=overwrite)


def _show_config(answers: Answers, as_token: str, hs_token: str) -> str:
    extra = ""
    if answers.trunk_host is not None:
        extra += f"    host: {_quoted(answers.trunk_host)}\n"
    if answers.trunk_port is not None:
        extra += f"    port: {answers.trunk_port}\n"
    if answers.ca_file is not None:
        extra += f"    tls: {{ca_file: {_quoted(str(answers.ca_file.resolve()))}}}\n"
    return _TEMPLATE.format(
        homeserver_url=_quoted(answers.homeserver_url),
        domain=_quoted(answers.domain),
        user=_quoted(answers.user),
        as_token=_quoted(as_token),
        hs_token=_quoted(hs_token),
        trunk_domain=_quoted(answers.trunk_domain),
        username=_quoted(answers.username),
        password=_quoted(answers.password),
        number=_quoted(answers.number) if answers.number else "null",
        extra=extra,
    )


def _quoted(text: str) -> str:
    """A string of JSON is a string of YAML."""
    return json.dumps(text, ensure_ascii=False)


def tell_next_steps(answers: Answers, config_path: Path, registration_path: Path) -> str:
    """What is left to do, for a person."""
    return f"""\
Wrote {config_path} and {registration_path}. Both hold secrets: nobody but you, and who runs the
bridge and the homeserver, should be able to read them.

Next:
  1. Tell the homeserver. For Synapse: copy {registration_path} to where Synapse's user can read it,
     add

         app_service_config_files:
           - /path/to/{registration_path.name}

     and, so that a number that calls for the first time rings at once,

         auto_accept_invites:
           enabled: true
           only_for_direct_messages: true
           only_from_local_users: true

     to homeserver.yaml, and restart Synapse.
  2. ringback check -c {config_path}
  3. ringback run -c {config_path}
  4. As {answers.user}, start a chat with @ringback:{answers.domain}
     (without encryption), and say: help
"""
