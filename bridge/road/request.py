"""Writing requests to providers: nearly all of them take JSON or a form by POST."""

import json
from collections.abc import Iterable, Mapping
from urllib.parse import urlencode

from bridge.road.road import ApiRequest

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


def post_json(
    url: str, body: Mapping[str, object], *, login: str, content_type: str = JSON
) -> ApiRequest:
    """A request with a JSON object.

    Args:
        login: the value of `Authorization`.
    """
    headers = {"Authorization": login, "Content-Type": content_type}
    return ApiRequest("POST", url, headers, json.dumps(body).encode())


def post_form(
    url: str,
    fields: Mapping[str, str] | Iterable[tuple[str, str]],
    *,
    login: str | None = None,
) -> ApiRequest:
    """A request with a form; a name may stand in it more than once.

    Args:
        login: the value of `Authorization`, None for none.
    """
    pairs = list(fields.items()) if isinstance(fields, Mapping) else list(fields)
    headers = {"Content-Type": FORM} | ({} if login is None else {"Authorization": login})
    return ApiRequest("POST", url, headers, urlencode(pairs).encode())
