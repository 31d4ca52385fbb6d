"""Where the big parts of the lab are kept: outside of the checkout, shared by all checkouts of this
user.
"""

import hashlib
import os
from pathlib import Path

SUITES = ("forky", "sid")
"""Suites that carry the Asterisk of today, best first: testing and unstable. SIPp comes from the
same one, because stable's is built without TLS.
"""
OLD_SUITES = ("bullseye",)
"""The last stable suite that had an Asterisk: 16, as many offices still run it."""

PROGRAMS = {
    "forky": ("usr/sbin/asterisk", "usr/bin/sipp"),
    "sid": ("usr/sbin/asterisk", "usr/bin/sipp"),
    "bullseye": ("usr/sbin/asterisk",),
}
"""What makes an unpacked suite complete."""

HERE = Path(__file__).parent
PAGE_SOURCES = (HERE / "page" / "package-lock.json", HERE / "page" / "page.js")


def folder() -> Path:
    """The cache: RINGBACK_CACHE, or `ringback` in XDG_CACHE_HOME."""
    if own := os.environ.get("RINGBACK_CACHE"):
        return Path(own).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return (Path(base) / "ringback").absolute()


def root(suites: tuple[str, ...]) -> Path | None:
    """The first of these suites that is unpacked with all its programs, None when `setup` has not
    done it.
    """
    for suite in suites:
        found = folder() / f"asterisk-{suite}"
        if all((found / program).exists() for program in PROGRAMS[suite]):
            return found
    return None


def srtp_module(root: Path) -> Path:
    """The module of the Asterisk in `root` that knows every suite of SRTP."""
    return root.with_name(f"{root.name}-res_srtp.so")


def page_bundle() -> Path:
    """The browser's page as one script; its name says what it was made from."""
    made_from = b"".join(path.read_bytes() for path in PAGE_SOURCES)
    return folder() / "page" / f"page-{hashlib.sha256(made_from).hexdigest()[:12]}.js"
