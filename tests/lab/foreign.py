"""Another Debian than the machine's, unpacked into the cache: its programs, run from there by its
own dynamic linker and libraries, so that nothing of the machine is changed.
"""

from pathlib import Path

from tests.lab import cache

HOW_LINKERS_ARE_CALLED = ("ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1", "ld-2.*.so")


class MissingRoot(RuntimeError):
    """`setup` has not been run."""


def root(suites: tuple[str, ...] = cache.SUITES) -> Path:
    """The first of these suites that is there with everything."""
    if (found := cache.root(suites)) is None:
        raise MissingRoot(f"no {' or '.join(suites)}: run `python -m tests.lab.setup`")
    return found


def command(root: Path, program: str, *arguments: str | Path) -> list[str | Path]:
    """The command line that runs `program`, a path below `root`."""
    libraries = [
        folder
        for pattern in ("usr/lib/*-linux-gnu", "lib/*-linux-gnu")
        for folder in sorted(root.glob(pattern))
    ]
    # Under its usual name the linker may be a link to an absolute path: the file itself is wanted.
    linker = next(
        path
        for folder in libraries
        for name in HOW_LINKERS_ARE_CALLED
        for path in sorted(folder.glob(name))
        if not path.is_symlink()
    )
    path = ":".join(map(str, [*libraries, root / "usr/lib"]))
    return [linker, "--library-path", path, root / program, *arguments]
