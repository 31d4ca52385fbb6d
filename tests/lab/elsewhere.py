"""`ringback` with Bandwidth's interface at another address, for a stand-in: only Twilio's address
is a setting, since only it has others that speak the same.

    python -m tests.lab.elsewhere ADDRESS run -c …
"""

import sys

from bridge.cli import main
from bridge.road.bandwidth import Bandwidth


def move(address: str) -> None:
    """Have every road to Bandwidth lead there."""
    defaults = Bandwidth.__init__.__kwdefaults__
    assert defaults is not None, "the address is one of them"
    defaults["base"] = address


if __name__ == "__main__":
    move(sys.argv.pop(1))
    main()
