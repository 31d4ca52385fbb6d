"""The homeserver: Synapse from the environment's packages, one process, SQLite, without federation
and without limits.
"""

import base64
import hashlib
import hmac
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import yaml

from tests.lab.ports import HOST, Ports
from tests.lab.process import Process

DOMAIN = "lab.test"
UNLIMITED = {"per_second": 100_000, "burst_count": 100_000}
LIMITS = [
    "rc_message",
    "rc_registration",
    "rc_joins_per_room",
    "rc_admin_redaction",
    "rc_presence",
    "rc_reports",
    "rc_room_creation",
]


class Synapse:
    """One homeserver for `DOMAIN` with the appservices whose registrations it is given."""

    def __init__(
        self,
        folder: Path,
        ports: Ports,
        *,
        registrations: Sequence[Path] = (),
        turn_uris: Sequence[str] = (),
        turn_secret: str = "",
    ) -> None:
        self.folder = folder
        self.port = ports.pick()
        self.url = f"http://{HOST}:{self.port}"
        self.registrations = registrations
        self._turn = {"turn_uris": list(turn_uris), "turn_shared_secret": turn_secret}
        self._secret = secrets.token_hex(16)
        command = [sys.executable, "-m", "synapse.app.homeserver", "--config-path"]
        self._process = Process(
            "Synapse", [*command, folder / "homeserver.yaml"], log=folder / "log", cwd=folder
        )

    async def start(self) -> None:
        """Start; the second time it is the same server as before."""
        if not (self.folder / "homeserver.yaml").exists():
            self._configure()
        async with aiohttp.ClientSession() as session:

            async def ready() -> bool:
                try:
                    async with session.get(f"{self.url}/_matrix/client/versions") as answer:
                        return answer.status == 200
                except aiohttp.ClientError:
                    return False

            await self._process.start(ready)

    async def stop(self) -> None:
        await self._process.stop()

    @property
    def process(self) -> Process:
        return self._process

    def user_id(self, name: str) -> str:
        return f"@{name}:{DOMAIN}"

    async def register(self, name: str) -> str:
        """Make a user whose password is `NAME-secret`; who is there already stays. The user id."""
        url = f"{self.url}/_synapse/admin/v1/register"
        async with aiohttp.ClientSession() as session:
            async with session.get(url) as answer:
                nonce = (await answer.json())["nonce"]
            parts = "\0".join((nonce, name, f"{name}-secret", "notadmin"))
            mac = hmac.new(self._secret.encode(), parts.encode(), hashlib.sha1).hexdigest()
            body = {"nonce": nonce, "username": name, "password": f"{name}-secret", "mac": mac}
            async with session.post(url, json={**body, "admin": False}) as answer:
                if answer.status != 200:
                    said = await answer.json()
                    if said.get("errcode") != "M_USER_IN_USE":
                        raise RuntimeError(f"{name}: {said}\n{self._process.tail()}")
        return self.user_id(name)

    def _configure(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        key = secrets.token_bytes(32)
        encoded = base64.b64encode(key).decode().rstrip("=")
        (self.folder / "signing.key").write_text(f"ed25519 lab {encoded}\n")
        handlers = {
            "file": {
                "class": "logging.StreamHandler",
                "formatter": "plain",
                "stream": "ext://sys.stderr",
            }
        }
        formatters = {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}}
        root = {"level": "WARNING", "handlers": ["file"]}
        logging = {"version": 1, "formatters": formatters, "handlers": handlers, "root": root}
        (self.folder / "log.yaml").write_text(yaml.safe_dump(logging))
        listener = {
            "port": self.port,
            "bind_addresses": [HOST],
            "type": "http",
            "tls": False,
            "resources": [{"names": ["client"]}],
        }
        config = {
            "server_name": DOMAIN,
            "public_baseurl": f"{self.url}/",
            "listeners": [listener],
            "database": {
                "name": "sqlite3",
                "args": {"database": str(self.folder / "homeserver.db")},
            },
            "log_config": str(self.folder / "log.yaml"),
            "media_store_path": str(self.folder / "media"),
            "signing_key_path": str(self.folder / "signing.key"),
            "pid_file": str(self.folder / "pid"),
            "registration_shared_secret": self._secret,
            "macaroon_secret_key": secrets.token_hex(16),
            "form_secret": secrets.token_hex(16),
            "trusted_key_servers": [],
            "suppress_key_server_warning": True,
            "report_stats": False,
            "enable_registration": False,
            "bcrypt_rounds": 4,
            "presence": {"enabled": False},
            "federation_domain_whitelist": [],
            # As the README advises: a number that calls for the first time rings at once.
            "auto_accept_invites": {
                "enabled": True,
                "only_for_direct_messages": True,
                "only_from_local_users": True,
            },
            "app_service_config_files": [str(path) for path in self.registrations],
            **dict.fromkeys(LIMITS, UNLIMITED),
            "rc_login": dict.fromkeys(("address", "account", "failed_attempts"), UNLIMITED),
            "rc_joins": dict.fromkeys(("local", "remote"), UNLIMITED),
            "rc_invites": dict.fromkeys(("per_room", "per_user", "per_issuer"), UNLIMITED),
        }
        if self._turn["turn_uris"]:
            config |= {**self._turn, "turn_user_lifetime": "1h"}
        (self.folder / "homeserver.yaml").write_text(yaml.safe_dump(config))
