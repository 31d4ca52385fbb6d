"""By what way a call came to us: Diversion (RFC 5806) and History-Info (RFC 7044), both only read.

PBXs and most providers write Diversion, IMS networks History-Info, some write both. Neither is
needed to take a call, so what cannot be read is left out and never refuses one. Whether any of it
may be believed is for `sip.identity` to say.
"""

import re
from dataclasses import dataclass, replace
from urllib.parse import unquote

from sip.errors import RemoteError
from sip.events import Reason
from sip.headers import Headers, parse_reason
from sip.uri import NameAddr, Uri

# A call that was forwarded more often goes in circles; Max-Forwards ends those at 70.
MAX_ENTRIES = 20

# hi-index-val = number *("." number); bounded in depth and digits, like everything of a peer's.
_INDEX = re.compile(r"[0-9]{1,4}(?:\.[0-9]{1,4}){0,15}")
# hi-target-param: how the target of this entry came out of that of another.
_ORIGIN_PARAMETERS = ("mp", "rc", "np")


@dataclass(frozen=True, slots=True)
class Diversion:
    """One forwarding (RFC 5806 §4).

    Attributes:
        address: who forwarded the call; None where its privacy parameter asks not to say.
        reason: "unconditional", "user-busy", "no-answer" and so on, in lower case; "" if absent.
        counter: how many forwardings this entry stands for.
    """

    address: NameAddr | None
    reason: str = ""
    counter: int = 1


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One target that the request was sent to (RFC 7044 §5).

    Attributes:
        address: the target, without what is embedded in its URI; None where its privacy asks.
        index: where it stands in the tree of targets: 1.2.1 is (1, 2, 1).
        reason: why the request left this target, from the Reason embedded in its URI.
        cause: why the request came to this target (RFC 4458), from its URI's parameter.
        origin: the index that an `mp`, `rc` or `np` parameter names.
        mapped: whether that was `mp`: the request was meant for somebody else before.
    """

    address: NameAddr | None
    index: tuple[int, ...]
    reason: Reason | None = None
    cause: int | None = None
    origin: tuple[int, ...] | None = None
    mapped: bool = False


def read_diversions(headers: Headers) -> tuple[Diversion, ...]:
    """Read the forwardings, the latest first, as they stand in the message."""
    read = (_diversion(value) for value in headers.elements("Diversion")[:MAX_ENTRIES])
    return tuple(diversion for diversion in read if diversion is not None)


def read_history(headers: Headers) -> tuple[HistoryEntry, ...]:
    """Read the targets in the order of their indices, which is the order of time."""
    read = (_entry(value) for value in headers.elements("History-Info")[:MAX_ENTRIES])
    return tuple(sorted((entry for entry in read if entry is not None), key=lambda e: e.index))


def last_diverter(history: tuple[HistoryEntry, ...]) -> NameAddr | None:
    """Return who forwarded the request last (RFC 7044 §10.4: the origin of the last `mp`).

    Without `mp`, which RFC 4244 did not have yet, it is the target before the last one that came
    about by a cause, or the last one that the request left because of a redirection.
    """
    for place in range(len(history) - 1, -1, -1):
        entry = history[place]
        if entry.mapped:
            return next((e.address for e in history if e.index == entry.origin), None)
        if entry.cause is not None and place > 0:
            return history[place - 1].address
        if entry.reason is not None and place < len(history) - 1:
            return entry.address
    return None


def _diversion(value: str) -> Diversion | None:
    try:
        address = NameAddr.parse(value)
    except RemoteError:
        return None
    parameters = address.parameters
    hidden = (parameters.get("privacy") or "off").lower() in ("full", "uri")
    if (parameters.get("privacy") or "").lower() == "name":
        address = replace(address, display_name="")
    counter = parameters.get("counter") or ""
    return Diversion(
        None if hidden else address,
        (parameters.get("reason") or "").lower(),
        int(counter) if re.fullmatch(r"[0-9]{1,2}", counter) else 1,
    )


def _entry(value: str) -> HistoryEntry | None:
    try:
        address = NameAddr.parse(value)
        index = _index(address.parameters.get("index"))
        reason, private = _embedded(address.uri)
    except RemoteError:
        return None
    if index is None:
        return None
    cause = address.uri.parameters.get("cause") or ""
    origin = next((name for name in _ORIGIN_PARAMETERS if name in address.parameters), None)
    return HistoryEntry(
        None if private else replace(address, uri=replace(address.uri, headers=None)),
        index,
        reason,
        int(cause) if re.fullmatch(r"[0-9]{3}", cause) else None,
        None if origin is None else _index(address.parameters.get(origin)),
        origin == "mp",
    )


def _index(text: str | None) -> tuple[int, ...] | None:
    if text is None or _INDEX.fullmatch(text) is None:
        return None
    return tuple(int(part) for part in text.split("."))


def _embedded(uri: Uri) -> tuple[Reason | None, bool]:
    """Read the Reason and the wish for privacy that stand behind the URI's "?"."""
    reason, private = None, False
    for pair in (uri.headers or "").split("&"):
        name, _, value = pair.partition("=")
        if name.lower() == "reason" and reason is None:
            reason = parse_reason(unquote(value))
        elif name.lower() == "privacy":
            tokens = {token.strip().lower() for token in unquote(value).split(";")}
            private = bool(tokens & {"history", "session", "header"})
    return reason, private
