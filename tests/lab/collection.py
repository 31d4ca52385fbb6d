"""What holds for each test that needs the lab."""

from collections.abc import Iterable
from pathlib import Path

import pytest
import pytest_asyncio

LAST_RESORT = 300
"""Seconds after which a test is ended without knowing why. Each wait in it has a limit of its own,
which says what was waited for; this is longer than any of them."""


def mark(items: Iterable[pytest.Item], folder: Path) -> None:
    """The tests of a folder are the lab's, share one event loop, and have time."""
    for item in items:
        if not item.path.is_relative_to(folder):
            continue
        item.add_marker(pytest.mark.lab)
        item.add_marker(pytest.mark.timeout(LAST_RESORT))
        if pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
