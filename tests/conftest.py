"""What holds for all tests.

How fast a strategy of hypothesis draws is a matter of the machine that it runs on, and of whatever
else runs there: no reason for a test to fail.

The thousands of collected tests stay until the end, so there is no use in looking through them for
garbage again and again; what a test leaves behind is looked for less often than a server should.
"""

import gc

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("here")


def pytest_collection_finish(session: pytest.Session) -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 20)
