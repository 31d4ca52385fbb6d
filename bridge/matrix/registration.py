"""The registration: the file by which the homeserver knows us (application service API).

The namespaces hold whole user ids with an escaped server name, so that they match nothing of
anybody else's. The ghosts' part after the prefix is wider than digits, because a caller may have no
number, and a change of this file takes a restart of the homeserver.
"""

import os
import re
import secrets
from pathlib import Path
from typing import Any

import yaml

# Element Web asks for the first, Element Android prefers the second.
PROTOCOLS = ("m.protocol.pstn", "im.vector.protocol.pstn")


def make_token() -> str:
    """A token that nobody guesses."""
    return secrets.token_urlsafe(32)


def build_registration(
    *,
    id: str,
    url: str | None,
    domain: str,
    bot: str,
    ghost_prefix: str,
    as_token: str,
    hs_token: str,
    reads: bool = False,
) -> dict[str, Any]:
    """The registration as a mapping, ready for YAML.

    Args:
        url: how the homeserver reaches us; None for no pushing.
        reads: whether the homeserver shall tell us what was read.
    """
    ending = re.escape(f":{domain}")
    users = [
        rf"@{re.escape(ghost_prefix)}[0-9a-z._=/+\-]+{ending}",
        rf"@{re.escape(bot)}{ending}",
    ]
    registration = {
        "id": id,
        "url": url,
        "as_token": as_token,
        "hs_token": hs_token,
        "sender_localpart": bot,
        # Texts and calls are limited by us, per line; the homeserver's limits would garble calls.
        "rate_limited": False,
        "protocols": list(PROTOCOLS),
        "namespaces": {
            "users": [{"regex": regex, "exclusive": True} for regex in users],
            "aliases": [],
            "rooms": [],
        },
    }
    if reads:
        registration["receive_ephemeral"] = True
    return registration


def show_registration(registration: dict[str, Any]) -> str:
    """The registration as the text of a file."""
    head = "# Made by `ringback init`. Tell the homeserver where this file is; keep it secret.\n"
    return head + yaml.safe_dump(registration, sort_keys=False, allow_unicode=True)


def write_secret_file(path: Path, text: str, *, overwrite: bool = False) -> None:
    """Write a file that only its owner may read, whole or not at all.

    Raises:
        FileExistsError: there is one already and `overwrite` was not asked for.
    """
    if path.exists() and not overwrite:
        raise FileExistsError(path)
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
