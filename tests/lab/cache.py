"""Where the big parts of the lab are kept: outside of the checkout, shared by all checkouts of this
user.
"""

import hashlib
import os
from pathlib import Path

SUITES = ("forky", "sid", "bullseye")
"""Suites that carry Asterisk, best first: testing, unstable, and the last stable one that had it.
"""

HERE = Path(__file__).parent
PAGE_SOURCES = (HERE / "page" / "package-lock.json", HERE / "page" / "page.js")


def folder() -> Path:
    """The cache: RINGBACK_CACHE, or `ringback` in XDG_CACHE_HOME."""
    if own := os.environ.get("RINGBACK_CACHE"):
        return Path(own).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return (Path(base) / "ringback").absolute()


def asterisk_root() -> Path | None:
    """The unpacked Debian that Asterisk is run from, None when `setup` has not made it."""
    for suite in SUITES:
        root = folder() / f"asterisk-{suite}"
        if (root / "usr/sbin/asterisk").exists():
            return root
    return None


def page_bundle() -> Path:
    """The browser's page as one script; its name says what it was made from."""
    made_from = b"".join(path.read_bytes() for path in PAGE_SOURCES)
    return folder() / "page" / f"page-{hashlib.sha256(made_from).hexdigest()[:12]}.js"
