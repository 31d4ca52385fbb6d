"""Reading what providers send: forms and JSON, strictly and without trust.

What is doubled is refused: two readers of a form with two `From` may take different ones, and the
one that checked the signature is not always the one that acts.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from bridge.road.road import Hook, Unreadable

# Providers send some thirty fields, and a handful more for each attachment.
MAX_FIELDS = 300


def form(data: bytes | str) -> dict[str, str]:
    """Read `application/x-www-form-urlencoded`, or a query.

    Raises:
        Unreadable: it is none, or a name stands twice.
    """
    try:
        text = data if isinstance(data, str) else data.decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError as error:
        raise Unreadable("not a form") from error
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Unreadable("a form with a field that stands twice")
    return fields


def query(hook: Hook) -> dict[str, str]:
    """The query of the hook's address."""
    return form(urlsplit(hook.url).query)


def document(data: bytes) -> Any:
    """Read JSON.

    Raises:
        Unreadable: it is none, or a name stands twice in an object.
    """
    try:
        return json.loads(data, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise Unreadable("not JSON") from error


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def at(value: Any, *path: str | int) -> Any:
    """What stands at a path of a JSON value, None if there is nothing."""
    for step in path:
        if isinstance(step, str) and isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(step, int) and isinstance(value, list) and step < len(value):
            value = value[step]
        else:
            return None
    return value


def text_at(value: Any, *path: str | int) -> str:
    """A text or number at a path, "" if there is none."""
    found = at(value, *path)
    if isinstance(found, str):
        return found
    return str(found) if isinstance(found, int) and not isinstance(found, bool) else ""


def list_at(value: Any, *path: str | int) -> Sequence[Any]:
    """A list at a path, empty if there is none."""
    found = at(value, *path)
    return found if isinstance(found, list) else ()


def required(value: str, what: str) -> str:
    """Return the value.

    Raises:
        Unreadable: it is empty.
    """
    if not value:
        raise Unreadable(f"without {what}")
    return value
