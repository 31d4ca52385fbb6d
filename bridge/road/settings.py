"""The sections `hooks` and `roads` of the configuration, and what they make.

A road names its provider by the one section that it has below its name; each knows the settings of
its provider and makes the `Road`. What would fail at the first text (a key that is none, an
expression with a mistake) fails when the file is read.
"""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from bridge.road import elks
from bridge.road.bandwidth import Bandwidth
from bridge.road.elks import Elks
from bridge.road.flowroute import Flowroute
from bridge.road.generic import MEDIA, Encoding, Form, Generic, HmacCheck, Inward, Outward
from bridge.road.kind import PICTURES
from bridge.road.plivo import Plivo
from bridge.road.proof import Network
from bridge.road.road import Limits, PolledRoad, Road, Thanks, Writing
from bridge.road.sipgate import Sipgate
from bridge.road.telnyx import Telnyx
from bridge.road.twilio import TWILIO, Twilio
from bridge.road.voipms import VoipMs
from bridge.road.vonage_messages import VonageMessages
from bridge.road.vonage_sms import SignatureMethod, VonageSms
from bridge.setting import (
    Endpoint,
    Listen,
    Networks,
    Secret,
    Section,
    Text,
    Url,
    Word,
    allowed,
)

# The road that every line has by itself: MESSAGE on its trunk.
SIP = "sip"

# Whoever knows the path of a hook may write texts into rooms, where the provider signs nothing.
SHORTEST_SECRET = 16

Place = tuple[str | int, ...]


def _check_hook_secret(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if len(text) < SHORTEST_SECRET:
        raise ValueError(f"shorter than {SHORTEST_SECRET} characters")
    if not (text.isascii() and text.replace("-", "").replace("_", "").isalnum()):
        raise ValueError("holds what cannot stand in a web address")
    return secret


HookSecret = Annotated[
    SecretStr,
    AfterValidator(_check_hook_secret),
    allowed(f"{SHORTEST_SECRET} or more letters and digits that nobody can guess"),
]


class HooksSection(Section):
    """Where providers' web hooks arrive.

    Attributes:
        listen: what we bind, behind a proxy that has the certificate.
        public_url: how providers reach us through that proxy; signatures cover it.
        proxies: whose X-Forwarded-For is believed.
    """

    listen: Listen = Endpoint("127.0.0.1", 29331)
    public_url: Url
    proxies: Networks = ("127.0.0.1/32", "::1/128")


class TwilioSection(Section):
    """An account at Twilio, or at SignalWire with a `url` of its own.

    Attributes:
        account: account SID, or SignalWire's project id.
        signing_key: SignalWire's key for hooks, where it is not the token.
    """

    account: Text
    token: Secret
    url: Url = TWILIO
    signing_key: Secret | None = None

    def to_road(self) -> Road:
        key = None if self.signing_key is None else self.signing_key.get_secret_value()
        token = self.token.get_secret_value()
        return Twilio(self.account, token, base=self.url, signing_key=key)


class TelnyxSection(Section):
    """An account at Telnyx.

    Attributes:
        public_key: with which the portal says that hooks are signed.
    """

    api_key: Secret
    public_key: Text

    def to_road(self) -> Road:
        return Telnyx(self.api_key.get_secret_value(), self.public_key)


class VoipMsSection(Section):
    """An account at VoIP.ms; the password is the API's."""

    username: Text
    password: Secret

    def to_road(self) -> Road:
        return VoipMs(self.username, self.password.get_secret_value())


class BandwidthSection(Section):
    """An account at Bandwidth.

    Attributes:
        application: id of the messaging application.
        username, password: of an API user.
        hook_username, hook_password: as entered at the application for its callbacks.
    """

    account: Text
    application: Text
    username: Text
    password: Secret
    hook_username: Text
    hook_password: Secret

    def to_road(self) -> Road:
        return Bandwidth(
            self.account,
            self.application,
            self.username,
            self.password.get_secret_value(),
            hook_username=self.hook_username,
            hook_password=self.hook_password.get_secret_value(),
        )


class VonageSmsSection(Section):
    """An account at Vonage, by its SMS API.

    Attributes:
        signature_secret, signature_method: as the dashboard shows them.
        insecure_unsigned_hooks: take hooks that nobody has signed; the address is then all that
            they prove.
    """

    api_key: Text
    api_secret: Secret
    signature_secret: Secret | None = None
    signature_method: SignatureMethod = SignatureMethod.SHA256
    insecure_unsigned_hooks: bool = False

    @model_validator(mode="after")
    def _prove_somehow(self) -> Self:
        if (self.signature_secret is None) != self.insecure_unsigned_hooks:
            raise ValueError("needs either signature_secret or insecure_unsigned_hooks")
        return self

    def to_road(self) -> Road:
        secret = self.signature_secret
        return VonageSms(
            self.api_key,
            self.api_secret.get_secret_value(),
            signature_secret=None if secret is None else secret.get_secret_value(),
            method=self.signature_method,
        )


class VonageMessagesSection(Section):
    """An account at Vonage, by its Messages API."""

    api_key: Text
    api_secret: Secret
    signature_secret: Secret

    def to_road(self) -> Road:
        return VonageMessages(
            self.api_key,
            self.api_secret.get_secret_value(),
            self.signature_secret.get_secret_value(),
        )


class FlowrouteSection(Section):
    """An account at Flowroute.

    Attributes:
        sources: addresses that hooks come from.
    """

    access_key: Text
    secret_key: Secret
    sources: Networks | None = None

    def to_road(self) -> Road:
        key = self.secret_key.get_secret_value()
        return Flowroute(self.access_key, key, sources=_networks(self.sources))


class PlivoSection(Section):
    """An account or subaccount at Plivo: its auth id and auth token."""

    account: Text
    token: Secret

    def to_road(self) -> Road:
        return Plivo(self.account, self.token.get_secret_value())


class ElksSection(Section):
    """An account at 46elks.

    Attributes:
        sources: addresses that hooks come from.
    """

    username: Text
    password: Secret
    sources: Networks = elks.SOURCES

    def to_road(self) -> Road:
        password = self.password.get_secret_value()
        return Elks(self.username, password, sources=_networks(self.sources))


class SipgateSection(Section):
    """An account at sipgate.

    Attributes:
        token_id, token: a personal access token, for the history and for texts.
        extension: by which texts leave.
    """

    token_id: Text
    token: Secret
    extension: Word = "s0"

    def to_road(self) -> Road:
        return Sipgate(self.token_id, self.token.get_secret_value(), extension=self.extension)


class HmacSection(Section):
    """How a provider signs; see `bridge.road.generic.HmacCheck`."""

    header: Text
    secret: Secret
    prefix: str = ""
    algorithm: Literal["sha1", "sha256", "sha384", "sha512"] = "sha256"
    encoding: Encoding = Encoding.HEX
    signed: str = "{body}"


class InwardSection(Section):
    """How a provider's hooks are read; see `bridge.road.generic.Inward`.

    Attributes:
        answer, answer_status, answer_type: what the provider wants to hear.
        username, password: of basic authentication.
        sources: addresses that hooks come from.
    """

    form: Form = Form.JSON
    id: Text
    from_: Annotated[Text, Field(alias="from")]
    to: Text
    text: Text
    texts: Text | None = None
    media: Text | None = None
    answer: str = ""
    answer_status: Annotated[int, Field(ge=200, le=299)] = 200
    answer_type: Text = "text/plain"
    hmac: HmacSection | None = None
    username: Text | None = None
    password: Secret | None = None
    sources: Networks | None = None

    def to_inward(self) -> Inward:
        check = self.hmac
        return Inward(
            form=self.form,
            id=self.id,
            sender=self.from_,
            to=self.to,
            text=self.text,
            texts=self.texts,
            media=self.media,
            thanks=Thanks(self.answer_status, self.answer.encode(), self.answer_type),
            hmac=None
            if check is None
            else HmacCheck(
                header=check.header,
                secret=check.secret.get_secret_value(),
                prefix=check.prefix,
                algorithm=check.algorithm,
                encoding=check.encoding,
                signed=check.signed,
            ),
            username=self.username,
            password=None if self.password is None else self.password.get_secret_value(),
            sources=_networks(self.sources),
        )


class OutwardSection(Section):
    """How texts are sent; see `bridge.road.generic.Outward`.

    Attributes:
        secret: what `{secret}` stands for in `headers` and `fields`.
        repeatable: whether the provider knows a repeat by `{key}`.
    """

    url: Text
    method: Literal["GET", "POST", "PUT"] = "POST"
    form: Form = Form.FORM
    fields: Mapping[str, str]
    headers: Mapping[str, str] = {}
    username: Text | None = None
    password: Secret | None = None
    secret: Secret | None = None
    id: Text | None = None
    error: Text | None = None
    repeatable: bool = False

    def to_outward(self) -> Outward:
        secret = "" if self.secret is None else self.secret.get_secret_value()

        def told(texts: Mapping[str, str]) -> dict[str, str]:
            return {name: text.replace("{secret}", secret) for name, text in texts.items()}

        return Outward(
            url=self.url,
            method=self.method,
            form=self.form,
            fields=told(self.fields),
            headers=told(self.headers),
            username=self.username,
            password=None if self.password is None else self.password.get_secret_value(),
            id=self.id,
            error=self.error,
        )


class GenericSection(Section):
    """A provider that has no section of its own.

    Attributes:
        characters: longest text that it takes.
        numbers: how it writes numbers.
        media_types, media_octets: of a file that it fetches at `{media}` of `send.fields`.
    """

    receive: InwardSection | None = None
    send: OutwardSection | None = None
    characters: Annotated[int, Field(ge=1, le=10_000)] = 1600
    numbers: Writing = Writing.E164
    media_types: tuple[Text, ...] = PICTURES
    # What most carriers let through.
    media_octets: Annotated[int, Field(ge=1000, le=20_000_000)] = 600_000

    def to_road(self) -> Road:
        has_media = self.send is not None and any(
            MEDIA in text for text in self.send.fields.values()
        )
        return Generic(
            inward=None if self.receive is None else self.receive.to_inward(),
            outward=None if self.send is None else self.send.to_outward(),
            limits=Limits(
                characters=self.characters,
                media=1 if has_media else 0,
                media_octets=self.media_octets,
                media_types=self.media_types,
                writing=self.numbers,
            ),
            repeatable=self.send is not None and self.send.repeatable,
        )


class RoadSection(Section):
    """A way for texts besides SIP.

    Attributes:
        hook_secret: the last part of the address that the provider pushes to.
        parts: texts of more parts than this are not sent; each part costs.
        warn_parts: texts of more parts than this leave when their author has said so once more.
        poll_seconds: how often the provider is asked for texts.
    """

    name: Word
    hook_secret: HookSecret | None = None
    parts: Annotated[int, Field(ge=1, le=255)] = 10
    warn_parts: Annotated[int, Field(ge=1, le=255)] = 255
    poll_seconds: Annotated[int, Field(ge=10, le=86_400)] | None = None
    twilio: TwilioSection | None = None
    telnyx: TelnyxSection | None = None
    voipms: VoipMsSection | None = None
    bandwidth: BandwidthSection | None = None
    vonage_sms: VonageSmsSection | None = None
    vonage_messages: VonageMessagesSection | None = None
    flowroute: FlowrouteSection | None = None
    plivo: PlivoSection | None = None
    elks: ElksSection | None = None
    sipgate: SipgateSection | None = None
    generic: GenericSection | None = None

    @model_validator(mode="after")
    def _make_once(self) -> Self:
        """Find the mistakes that only the provider's own code knows."""
        road = self.to_road()
        if self.poll_seconds is not None and not isinstance(road, PolledRoad):
            raise ValueError("poll_seconds: this provider has no list of texts to ask for")
        return self

    def to_road(self) -> Road:
        """The road as its section describes it."""
        found = [part for name in PROVIDERS if (part := getattr(self, name)) is not None]
        if len(found) != 1:
            raise ValueError("a road has exactly one provider")
        road: Road = found[0].to_road()
        return road

    def secrets(self) -> Iterator[SecretStr]:
        """All secrets of the section and those below it."""
        return _secrets(self)


PROVIDERS = (
    "twilio",
    "telnyx",
    "voipms",
    "bandwidth",
    "vonage_sms",
    "vonage_messages",
    "flowroute",
    "plivo",
    "elks",
    "sipgate",
    "generic",
)


def _networks(texts: Sequence[str] | None) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts or ())


def _secrets(section: Section) -> Iterator[SecretStr]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, SecretStr):
            yield value
        elif isinstance(value, Section):
            yield from _secrets(value)


def road_mistakes(
    roads: Sequence[Mapping[str, Any]], lines: Sequence[Mapping[str, Any]], *, hooks: bool
) -> Iterator[tuple[Place, str, str]]:
    """What roads, lines and hooks say of each other, on raw values: place, mistake, what may be.

    Args:
        hooks: whether there is such a section.
    """
    known = [str(road["name"]) for road in roads if road.get("name")]
    for i, road in enumerate(roads):
        if road.get("name") == SIP:
            yield ("roads", i, "name"), f"{SIP} is the trunk's own road", "another name"
    for i, line in enumerate(lines):
        if line.get("media_links") and not hooks:
            yield ("lines", i, "media_links"), "needs the section hooks", "a section hooks"
        for key in ("texts_in", "texts_out"):
            name = line.get(key, SIP)
            if name != SIP and name not in known:
                yield ("lines", i, key), f"there is no road {name}", ", ".join([SIP, *known])
        if {line.get("texts_in", SIP), line.get("texts_out", SIP)} != {SIP} and not line.get(
            "number"
        ):
            yield ("lines", i), "has no number, which a road needs", "number"
        inward = line.get("texts_in", SIP)
        if inward == SIP or inward not in known:
            continue
        road, place = roads[known.index(inward)], ("roads", known.index(inward))
        if road.get("poll_seconds"):
            continue
        if road.get("sipgate"):
            yield place, "texts come in on it, but it has no poll_seconds", "poll_seconds"
            continue
        if not hooks:
            yield ("lines", i, "texts_in"), "needs the section hooks", "a section hooks"
        if not road.get("hook_secret"):
            yield place, "texts come in on it, but it has no hook_secret", "hook_secret"
