"""The lab's account at Twilio: the stand-in, on ports that a configuration can name beforehand, and
as insistent as the providers are that repeat a hook.
"""

import asyncio
from typing import Any

from tests.lab.ports import HOST, Ports
from tests.standin.standin import Taken
from tests.standin.twilio import Twilio

SECRET = "lab-hook-secret-1"


class Provider(Twilio):
    """It reaches the bridge without a proxy."""

    tries = 1200

    def __init__(self, ports: Ports) -> None:
        self.hook_port = ports.pick()
        public = f"http://{HOST}:{self.hook_port}"
        super().__init__(f"{public}/road/twilio/{SECRET}", sleep=lambda pause: asyncio.sleep(0.1))
        self.hook_at = public
        self.port = ports.pick()

    def settings(self) -> dict[str, Any]:
        """What the bridge's owner writes into the configuration."""
        account = {**self.section()["twilio"], "url": f"http://{HOST}:{self.port}"}
        return {
            "hooks": {"listen": f"{HOST}:{self.hook_port}", "public_url": self.hook_at},
            "roads": [{"name": "twilio", "hook_secret": SECRET, "twilio": account}],
        }

    def taken_for(self, number: str) -> list[Taken]:
        """What it has for a number."""
        return [taken for taken in self.taken if taken.to == number]
