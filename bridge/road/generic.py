"""A provider that has no file of its own, described in the configuration alone.

In: a form, a query or JSON becomes one document, and JMESPath expressions pick id, sender, our
number and text out of it (a form's field is picked by its bare name). Out: an address, header
fields and fields of a form, query or JSON, in whose texts `{to}`, `{from}`, `{text}`, `{key}` and
`{media}` are replaced. They are replaced inside of values that are encoded afterwards, so that no
text of a person can become a field of its own. A field with `{media}` is left out of a text that
has no attachment.

What proves a hook is any of: the secret in its path (always), an HMAC, basic authentication, a list
of source addresses; each that is configured must hold.
"""

import base64
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from urllib.parse import quote, urlencode

import jmespath
from jmespath.exceptions import JMESPathError

from bridge.road import payload
from bridge.road.proof import Network, basic, check_login, check_source
from bridge.road.result import by_status, refused
from bridge.road.road import (
    ApiAnswer,
    ApiRequest,
    Arrival,
    Attachment,
    Departure,
    Forged,
    Hook,
    Limits,
    Outcome,
    Receipt,
    Taken,
    Thanks,
    Unreadable,
)

# The placeholder for the address of an attachment.
MEDIA = "{media}"


class Form(Enum):
    """How fields are written."""

    FORM = "form"
    JSON = "json"
    QUERY = "query"


class Encoding(Enum):
    """How a digest is written."""

    HEX = "hex"
    BASE64 = "base64"


@dataclass(frozen=True, slots=True)
class HmacCheck:
    """An HMAC over the raw body.

    Attributes:
        header: where it stands.
        prefix: what stands before the digest, such as "sha256=".
        algorithm: as hashlib names it.
        signed: what is signed; `{body}`, `{url}` and `{header:NAME}` are replaced.
    """

    header: str
    secret: str = field(repr=False)
    prefix: str = ""
    algorithm: str = "sha256"
    encoding: Encoding = Encoding.HEX
    signed: str = "{body}"


@dataclass(frozen=True, slots=True)
class Inward:
    """How hooks are read.

    Attributes:
        id, sender, to, text: JMESPath expressions. Without `id` a repeat cannot be told from a
            second text of the same words, so it is demanded.
        texts: an expression for a list, where one hook may carry several texts; the others are
            then relative to its elements.
        media: an expression for an address or a list of them.
    """

    form: Form
    id: str
    sender: str
    to: str
    text: str
    texts: str | None = None
    media: str | None = None
    thanks: Thanks = field(default_factory=Thanks)
    hmac: HmacCheck | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sources: tuple[Network, ...] = ()


@dataclass(frozen=True, slots=True)
class Outward:
    """How texts are sent.

    Attributes:
        fields: names to templates.
        statuses: HTTP statuses of success.
        id: an expression for the provider's id in a JSON answer.
        error: an expression for its words about a failure.
    """

    url: str
    fields: Mapping[str, str] = field(repr=False)
    method: str = "POST"
    form: Form = Form.FORM
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    statuses: tuple[int, ...] = (200, 201, 202)
    id: str | None = None
    error: str | None = None


class Generic:
    """One account at a provider that the configuration describes.

    Args:
        inward: None where texts do not come this way.
        outward: None where texts do not leave this way.
        repeatable: whether the provider knows a repeat by `{key}`.

    Raises:
        ValueError: an expression that is none, an algorithm that nobody knows.
    """

    def __init__(
        self,
        *,
        inward: Inward | None,
        outward: Outward | None,
        limits: Limits | None = None,
        repeatable: bool = False,
    ) -> None:
        self.limits = limits or Limits()
        self.repeatable = repeatable
        self._inward = inward
        self._outward = outward
        self._compiled: dict[str, Any] = {}
        if inward is not None:
            for text in (inward.id, inward.sender, inward.to, inward.text):
                self._compile(text)
            for optional in (inward.texts, inward.media):
                if optional is not None:
                    self._compile(optional)
            if inward.hmac is not None and inward.hmac.algorithm not in _ALGORITHMS:
                raise ValueError(f"the algorithm {inward.hmac.algorithm} is not known")
        if outward is not None:
            for optional in (outward.id, outward.error):
                if optional is not None:
                    self._compile(optional)

    # --- in

    @property
    def thanks(self) -> Thanks:
        """As configured."""
        return Thanks() if self._inward is None else self._inward.thanks

    def read(self, hook: Hook, now: float) -> Sequence[Arrival | Receipt]:
        """Check everything that is configured, then pick out the texts."""
        inward = self._inward
        if inward is None:
            raise Forged("no texts come this way")
        _check(inward, hook)
        document = _document(inward.form, hook)
        if inward.texts is None:
            return (self._arrival(inward, document),)
        found = self._search(inward.texts, document)
        if not isinstance(found, list):
            raise Unreadable("no list of texts")
        return tuple(self._arrival(inward, one) for one in found)

    def _arrival(self, inward: Inward, document: Any) -> Arrival:
        media = self._search(inward.media, document) if inward.media is not None else None
        urls = [media] if isinstance(media, str) else media
        return Arrival(
            id=payload.required(_text(self._search(inward.id, document)), "an id"),
            sender=payload.required(_text(self._search(inward.sender, document)), "a sender"),
            to=payload.required(_text(self._search(inward.to, document)), "our number"),
            body=_text(self._search(inward.text, document)),
            attachments=tuple(
                Attachment(url) for url in urls or () if isinstance(url, str) and url
            ),
        )

    # --- out

    def write(self, text: Departure) -> ApiRequest:
        """Fill the fields in."""
        outward = self._outward
        assert outward is not None, "the configuration sends nothing this way"
        values = {"to": text.to[0], "from": text.sender, "text": text.body, "key": text.key}
        values["media"] = text.media[0] if text.media else ""
        fields = {
            name: _filled(value, values)
            for name, value in outward.fields.items()
            if text.media or MEDIA not in value
        }
        headers = {name: _filled(value, values) for name, value in outward.headers.items()}
        if outward.username is not None:
            headers["Authorization"] = basic(outward.username, outward.password or "")
        url = _filled(outward.url, {name: quote(value, safe="") for name, value in values.items()})
        match outward.form:
            case Form.QUERY:
                separator = "&" if "?" in url else "?"
                return ApiRequest(outward.method, f"{url}{separator}{urlencode(fields)}", headers)
            case Form.FORM:
                headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
                return ApiRequest(outward.method, url, headers, urlencode(fields).encode())
            case Form.JSON:
                headers.setdefault("Content-Type", "application/json")
                return ApiRequest(outward.method, url, headers, json.dumps(fields).encode())

    def outcome(self, answer: ApiAnswer) -> Outcome:
        """By status, with id and words from a JSON body where there is one."""
        outward = self._outward
        assert outward is not None, "the configuration sends nothing this way"
        try:
            said = json.loads(answer.body)
        except (ValueError, RecursionError):
            said = None  # many answer with a bare word
        if answer.status in outward.statuses:
            return Taken(_text(self._search(outward.id, said)) if outward.id else "")
        if (other := by_status(answer)) is not None:
            return other
        words = _text(self._search(outward.error, said)) if outward.error else ""
        return refused(answer, words)

    # ---

    def _compile(self, expression: str) -> None:
        try:
            self._compiled[expression] = jmespath.compile(expression)
        except JMESPathError as error:
            raise ValueError(f"{expression!r} is no JMESPath expression") from error

    def _search(self, expression: str | None, document: Any) -> Any:
        if expression is None:
            return None
        try:
            return self._compiled[expression].search(document)
        except JMESPathError as error:
            raise Unreadable("a field of another type than the configuration expects") from error


_ALGORITHMS = ("sha1", "sha256", "sha384", "sha512")


def _check(inward: Inward, hook: Hook) -> None:
    if inward.sources:
        check_source(hook, inward.sources)
    if inward.username is not None:
        check_login(hook, inward.username, inward.password or "")
    if inward.hmac is not None:
        check = inward.hmac
        digest = hmac.new(check.secret.encode(), _signed(check, hook), check.algorithm).digest()
        written = (
            digest.hex() if check.encoding is Encoding.HEX else base64.b64encode(digest).decode()
        )
        told = hook.headers.get(check.header.lower(), "").removeprefix(check.prefix)
        if check.encoding is Encoding.HEX:
            told = told.lower()
        if not hmac.compare_digest(written.encode(), told.encode()):
            raise Forged("the signature does not fit")


def _signed(check: HmacCheck, hook: Hook) -> bytes:
    before, _, after = check.signed.partition("{body}")
    parts = []
    for text in (before, after):
        text = text.replace("{url}", hook.url)
        for name, value in hook.headers.items():
            text = text.replace(f"{{header:{name}}}", value)
        parts.append(text.encode())
    return parts[0] + (hook.body if "{body}" in check.signed else b"") + parts[1]


def _document(form: Form, hook: Hook) -> Any:
    match form:
        case Form.JSON:
            return payload.document(hook.body)
        case Form.FORM:
            return payload.form(hook.body)
        case Form.QUERY:
            return payload.query(hook)


def _filled(template: str, values: Mapping[str, str]) -> str:
    """Replace the placeholders in one pass: what a text says is never a placeholder."""
    pieces = []
    rest = template
    while rest:
        head, brace, tail = rest.partition("{")
        pieces.append(head)
        name, close, after = tail.partition("}")
        if brace and close and name in values:
            pieces.append(values[name])
            rest = after
        else:
            pieces.append(brace)
            rest = tail
    return "".join(pieces)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else payload.text_at(value)
