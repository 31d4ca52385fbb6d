"""What holds for all tests.

How fast a strategy of hypothesis draws is a matter of the machine that it runs on, and of whatever
else runs there: no reason for a test to fail.
"""

from hypothesis import HealthCheck, settings

settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("here")
