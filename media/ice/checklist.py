"""One generation of ICE: its credentials, the peer's candidates, and the pairs to check (RFC 8445
§6.1.2).

An ICE restart begins a new checklist; the old one lives on beside it until the new one has a
selected pair.

Deviation: there is no Frozen state. With one component and one stream it would only delay checks
whose foundation was not yet seen to work, and candidates trickle in anyway.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Final, Self

from media.ice.candidate import (
    Candidate,
    foundation,
    may_be_named,
    pair_priority,
    priority,
)
from media.ice.gathering import Base
from media.ice.stun import Address

_REMOTES: Final = 64  # candidates of the peer; a browser has some ten
_PAIRS: Final = 100  # RFC 8445 §6.1.2.5
_EARLY: Final = 16  # checks of the peer's that may wait for its description


@dataclass(frozen=True, slots=True)
class IceCredentials:
    """A username fragment and its password (RFC 8839 §5.4)."""

    ufrag: str = field(repr=False)
    pwd: str = field(repr=False)

    @classmethod
    def make(cls, random: Callable[[int], bytes]) -> Self:
        """New ones: 48 and 144 bits, where 24 and 128 are asked for (RFC 8445 §5.3)."""
        return cls(base64.b64encode(random(6)).decode(), base64.b64encode(random(18)).decode())


class PairState(Enum):
    """RFC 8445 §6.1.2.6."""

    WAITING = auto()
    IN_PROGRESS = auto()
    SUCCEEDED = auto()
    FAILED = auto()


@dataclass(slots=True, eq=False)
class Pair:
    """A base of ours and an address of the peer's.

    Attributes:
        heard_at: when a request with our password last came over it.
        confirmed_at: when a check over it was last answered.
        nominated_at: when the peer, being in control, last nominated it.
        frame, sent, resend_at: the check that is under way.
    """

    base: Base
    remote: Candidate
    priority: int
    state: PairState = PairState.WAITING
    heard_at: float | None = None
    confirmed_at: float | None = None
    nominated_at: float | None = None
    frame: bytes = field(default=b"", repr=False)
    sent: int = 0
    sent_at: float = 0.0
    resend_at: float | None = None

    @property
    def address(self) -> Address:
        return self.remote.address, self.remote.port

    @property
    def key(self) -> tuple[int, Address]:
        return self.base.number, self.address

    @property
    def relayed(self) -> bool:
        return self.base.candidate.type == "relay" or self.remote.type == "relay"

    def __str__(self) -> str:
        return f"{self.base.candidate.type}→{self.remote.type}"


@dataclass(frozen=True, slots=True)
class EarlyCheck:
    """A check that came before the peer's description: answered, and to be followed up (RFC 8445
    §7.3)."""

    base: Base
    source: Address
    ufrag: str
    priority: int | None
    nominated: bool


class Checklist:
    """The pairs of one generation, best first."""

    def __init__(self, local: IceCredentials, *, controlling: bool) -> None:
        self.local = local
        self.local_key = local.pwd.encode()
        self.remote: IceCredentials | None = None
        self.remote_key = b""
        self.pairs: dict[tuple[int, Address], Pair] = {}
        self.early: list[EarlyCheck] = []
        self._controlling = controlling
        self._bases: list[Base] = []
        self._remotes: dict[Address, Candidate] = {}

    def describe(self, remote: IceCredentials) -> None:
        """The peer's description came. Candidates that came ahead of it and name another generation
        are dropped."""
        self.remote = remote
        self.remote_key = remote.pwd.encode()
        for address, candidate in list(self._remotes.items()):
            if candidate.ufrag not in (None, remote.ufrag):
                self._forget_remote(address)

    def add_base(self, base: Base) -> list[Pair]:
        """The pairs that come with it."""
        self._bases.append(base)
        pairs = [self._name(base, remote) for remote in self._remotes.values()]
        return [pair for pair in pairs if pair is not None]

    def forget_base(self, base: Base) -> list[Pair]:
        """The pairs that go with it."""
        if base in self._bases:
            self._bases.remove(base)
        gone = [pair for pair in self.pairs.values() if pair.base is base]
        for pair in gone:
            del self.pairs[pair.key]
        return gone

    def add_remote(self, remote: Candidate) -> list[Pair] | None:
        """The pairs that come with it; None when it is not wanted."""
        if self.remote is not None and remote.ufrag not in (None, self.remote.ufrag):
            return None
        address = remote.address, remote.port
        known = self._remotes.get(address)
        if known is not None:
            if known.type == "prflx":
                self._rename(known, remote)
            return []
        if len(self._remotes) >= _REMOTES:
            return None
        self._remotes[address] = remote
        pairs = [self._name(base, remote) for base in self._bases]
        return [pair for pair in pairs if pair is not None]

    def meet(self, base: Base, source: Address, check_priority: int | None) -> Pair | None:
        """The pair that an authenticated check came over; a new one if the source is peer-reflexive
        (RFC 8445 §7.3.1.3). None when there is no room."""
        pair = self.pairs.get((base.number, source))
        if pair is not None:
            return pair
        remote = self._remotes.get(source)
        if remote is None:
            if len(self._remotes) >= _REMOTES:
                return None
            if check_priority is None:
                check_priority = priority("prflx", 0)
            remote = Candidate(
                foundation=foundation("prflx", *map(str, source)),
                component=1,
                transport="udp",
                priority=check_priority,
                address=source[0],
                port=source[1],
                type="prflx",
            )
            self._remotes[source] = remote
        return self._pair(base, remote)

    def next_waiting(self) -> Pair | None:
        """The best pair that can be checked now."""
        waiting = (
            pair
            for pair in self.pairs.values()
            if pair.state is PairState.WAITING and pair.base.ready(pair.remote.address)
        )
        return max(waiting, key=_by_priority, default=None)

    def best_valid(self) -> Pair | None:
        """The best pair over which a check was answered."""
        valid = (pair for pair in self.pairs.values() if pair.state is PairState.SUCCEEDED)
        return max(valid, key=_by_priority, default=None)

    def better_open(self, pair: Pair) -> bool:
        """Whether a better pair than this may still succeed."""
        undecided = (PairState.WAITING, PairState.IN_PROGRESS)
        return any(
            each.priority > pair.priority and each.state in undecided
            for each in self.pairs.values()
        )

    def take_role(self, *, controlling: bool) -> None:
        """The role changed, and priorities with it (RFC 8445 §7.3.1.1)."""
        self._controlling = controlling
        for pair in self.pairs.values():
            pair.priority = self._priority(pair.base, pair.remote)

    def _name(self, base: Base, remote: Candidate) -> Pair | None:
        """The pair with a candidate that the peer has named."""
        if not may_be_named(base.candidate.address, remote.address):
            return None
        return self._pair(base, remote)

    def _pair(self, base: Base, remote: Candidate) -> Pair | None:
        key = base.number, (remote.address, remote.port)
        if (":" in base.candidate.address) != (":" in remote.address) or key in self.pairs:
            return None
        pair = Pair(base, remote, self._priority(base, remote))
        if len(self.pairs) >= _PAIRS and not self._make_room(pair.priority):
            return None
        self.pairs[key] = pair
        return pair

    def _make_room(self, for_priority: int) -> bool:
        idle = (PairState.WAITING, PairState.FAILED)
        spare = (
            pair for pair in self.pairs.values() if pair.state in idle and pair.heard_at is None
        )
        worst = min(spare, key=_by_priority, default=None)
        if worst is None or worst.priority >= for_priority:
            return False
        del self.pairs[worst.key]
        return True

    def _priority(self, base: Base, remote: Candidate) -> int:
        ours, theirs = base.candidate.priority, remote.priority
        return pair_priority(ours, theirs) if self._controlling else pair_priority(theirs, ours)

    def _rename(self, known: Candidate, remote: Candidate) -> None:
        """What was peer-reflexive turns out to be a candidate that the peer names."""
        remote = replace(remote, ufrag=None)
        self._remotes[remote.address, remote.port] = remote
        for pair in self.pairs.values():
            if pair.remote is known:
                pair.remote = remote
                pair.priority = self._priority(pair.base, remote)

    def _forget_remote(self, address: Address) -> None:
        del self._remotes[address]
        for key in [key for key in self.pairs if key[1] == address]:
            del self.pairs[key]

    def wait(self, check: EarlyCheck) -> bool:
        """Keep a check for when the description comes; whether there was room or it was known."""
        if any((each.base, each.source) == (check.base, check.source) for each in self.early):
            # A repeated one may nominate now.
            self.early = [
                check if (each.base, each.source) == (check.base, check.source) else each
                for each in self.early
            ]
            return True
        if len(self.early) >= _EARLY:
            return False
        self.early.append(check)
        return True


def _by_priority(pair: Pair) -> int:
    return pair.priority
