"""How tests run a PostgreSQL server of their own: Debian's newest, in a folder, on a socket in
there and nowhere else.
"""

import os
import pwd
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


def programs() -> Path | None:
    """Where the newest server is, if there is any."""
    found = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    versions = sorted(found, key=lambda path: float(path.parent.parent.name))
    return versions[-1].parent if versions else None


@dataclass(frozen=True, slots=True)
class Commands:
    """What makes and runs the server of a folder.

    It refuses to run as root: where we are, the folder is handed to somebody else, who runs it.

    Args:
        programs: where the server's are.
        durable: whether it waits for the disk; most tests do not need to.
    """

    programs: Path
    folder: Path
    durable: bool = False

    @property
    def url(self) -> str:
        return f"postgres://ringback@/postgres?host={self.folder}"

    def make(self) -> Sequence[str | Path]:
        """To be run once, to its end."""
        flags = ["-A", "trust", "-N", "--encoding=UTF8", "--locale=C", "--no-instructions"]
        return [
            *self._as_user(),
            self.programs / "initdb",
            "-D",
            self._data,
            "-U",
            "ringback",
            *flags,
        ]

    def run(self) -> Sequence[str | Path]:
        """It is ready when it says "ready to accept"."""
        flags = ["-c", "listen_addresses=", "-c", "shared_buffers=16MB"]
        return [
            *(*self._as_user(), self.programs / "postgres", "-D", self._data, "-k", self.folder),
            *(*flags, *(() if self.durable else ("-F",))),
        ]

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _as_user(self) -> Sequence[str]:
        if os.geteuid() != 0:
            return []
        user = next(u for u in pwd.getpwall() if u.pw_name in ("postgres", "nobody"))
        os.chown(self.folder, user.pw_uid, user.pw_gid)
        ids = f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}"
        return ["setpriv", *ids, "--clear-groups", "--"]
