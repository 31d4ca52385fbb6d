"""The configuration file: one YAML document, read once, checked as a whole.

`load` gives a frozen `Config` or raises one `ConfigError` that holds every mistake at once, each
with its line, its path and what is allowed there. Three passes share the work:

1. the file is composed into YAML nodes, which know their lines. Every plain scalar stays text (only
   `null`, `~` and nothing mean None), because YAML 1.1 would read the region `NO` as false and the
   number +493012345678 without its plus;
2. a secret `x` may be given as `x_file` or `x_env` instead; these are resolved here;
3. pydantic checks each field by itself; then what one field says of another is checked.

Relative paths, SQLite's included, start at the folder of the file.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, get_args, get_origin
from urllib.parse import unquote, urlsplit

import phonenumbers
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
)

from bridge import consistency
from bridge.connection import InboundSection, ListenerSection, PeerSection, TlsSection
from bridge.document import ConfigError, Document, Mistake, Place
from bridge.road.settings import SIP, HooksSection, RoadSection
from bridge.setting import (
    CODECS,
    FEWEST_PORTS,
    SUITES,
    Address,
    Codecs,
    Domain,
    Endpoint,
    GhostPrefix,
    Host,
    Listen,
    Localpart,
    Number,
    PortRange,
    Region,
    Secret,
    Section,
    ServerName,
    SipAddress,
    SipUser,
    Suites,
    Text,
    Url,
    UserId,
    Word,
    allowed,
    check_database,
    check_distinct,
    parse_ports,
)
from media.plane import Encryption
from sip.trunk import CallerId, TlsSettings, Trunk
from sip.uri import Uri

DEFAULT_FILE = "ringback.yaml"


# --- sections


class HomeserverSection(Section):
    """The homeserver.

    Attributes:
        url: client-server API as we reach it.
        domain: server name in user ids.
    """

    url: Url
    domain: ServerName


class AppserviceSection(Section):
    """We, as the homeserver sees us.

    Attributes:
        id: our id in the registration.
        url: how the homeserver reaches us.
        listen: what we bind.
        bot: localpart of the bot.
        ghost_prefix: ghosts are `@<prefix><digits>:<domain>`.
        as_token: with it we speak to the homeserver.
        hs_token: with it the homeserver speaks to us.
    """

    id: Word = "ringback"
    url: Url = "http://127.0.0.1:29330"
    listen: Listen = Endpoint("127.0.0.1", 29330)
    bot: Localpart = "ringback"
    ghost_prefix: GhostPrefix = "tel_"
    as_token: Secret
    hs_token: Secret


class MediaSection(Section):
    """Where the audio flows.

    Attributes:
        listen: address of host candidates; 0.0.0.0 is every address of the machine.
        advertise: the address that others see, when that is not ours (NAT).
        ports: UDP ports.
        workers: processes; None is one for each core.
    """

    listen: Address = "0.0.0.0"
    advertise: Address | None = None
    ports: Annotated[
        PortRange,
        BeforeValidator(parse_ports),
        allowed(f"first-last, {FEWEST_PORTS} or more of 1024 to 65535, such as 40000-40999"),
    ] = PortRange(40000, 40999)
    workers: Annotated[int, Field(ge=1, le=256)] | None = None


class TrunkSection(Section):
    """One SIP account; see `sip.trunk.Trunk` for what is not said here.

    Attributes:
        codecs: what we offer, in order of preference.
        insecure_rtp: whether audio may pass unencrypted: where the trunk cannot do better, or
            always.
        suites: SRTP suites that we offer and accept, in order of preference.
        digits: how the phone system is told of keys that are pressed: in the media, as
            telephone-events or, where it takes none, as tones; or by SIP INFO.
        delivery_receipts: send texts as message/cpim and ask whether they were delivered and read.
        read_receipts: tell those who ask when a user of the line has read their text.
        early_media: answer the Matrix call when the trunk sends audio before the answer, so that
            announcements are heard.
    """

    name: Word
    domain: Domain
    username: SipUser
    password: Secret
    auth_username: Text | None = None
    host: Host | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    register_: Annotated[bool, Field(alias="register")] = True
    connect: bool = True
    inbound: InboundSection = InboundSection()
    expires: Annotated[int, Field(ge=60, le=86400)] = 300
    display_name: Text | None = None
    caller_id: Literal["from", "preferred", "asserted", "remote_party"] = "preferred"
    mailbox: SipAddress | None = None
    tls: TlsSection = TlsSection()
    insecure_transport: Literal["tcp", "udp"] | None = None
    trust_identity: bool = False
    follow_redirects: bool = False
    allow_md5: bool = True
    realms: tuple[Text, ...] = ()
    authenticate_peer: PeerSection = PeerSection()
    codecs: Codecs = CODECS
    insecure_rtp: Literal["fallback", "only"] | None = None
    suites: Suites = SUITES
    early_media: bool = True
    digits: Literal["media", "info"] = "media"
    delivery_receipts: bool = False
    read_receipts: bool = False

    @property
    def encryption(self) -> Encryption:
        """Of the audio, in the media plane's terms."""
        if self.insecure_rtp is None:
            return Encryption.REQUIRED
        return Encryption.PREFERRED if self.insecure_rtp == "fallback" else Encryption.OFF

    def to_trunk(self) -> Trunk:
        """The part of the settings that is SIP's business."""
        return Trunk(
            name=self.name,
            domain=self.domain,
            username=self.username,
            password=self.password.get_secret_value(),
            host=self.host,
            port=self.port,
            auth_username=self.auth_username,
            register=self.register_,
            connect=self.connect,
            inbound=self.inbound.to_inbound(),
            expires=self.expires,
            display_name=self.display_name,
            caller_id=CallerId(self.caller_id),
            mailbox=None if self.mailbox is None else Uri.parse(self.mailbox),
            tls=TlsSettings(
                ca_file=self.tls.ca_file,
                certificate_file=self.tls.certificate_file,
                key_file=self.tls.key_file,
                pins=self.tls.pins or (),
                insecure_skip_verification=self.tls.insecure_skip_verification,
            ),
            insecure_transport=self.insecure_transport,
            trust_identity=self.trust_identity,
            follow_redirects=self.follow_redirects,
            allow_md5=self.allow_md5,
            realms=self.realms,
            authenticate_peer=self.authenticate_peer.to_account(),
        )


class LineSection(Section):
    """A number or account that is ours, and whose it is.

    Attributes:
        trunk: name of the trunk that it is on.
        number: our own number in E.164; None for an account without one, on a PBX.
        caller_id: what those see whom we call: a number as the trunk wants it written. Default:
            `number`, or the trunk's account.
        display_name: our name for those we call; None is the trunk's.
        anonymous: withhold number and name from everybody.
        called: user parts of the called address that mean this line. After `load` never empty.
        region: how numbers without a + are read; None reads them as dialled.
        users: who may use it, and whom it rings.
        ring_seconds: how long a caller waits.
        texts_in, texts_out: how texts come and leave: "sip" is MESSAGE on the trunk, else the name
            of a road.
        shown_per_minute: texts of one number that are said at once; the rest is told in a notice.
        strangers_per_minute: numbers without a room that get one; texts of others wait, their calls
            ring in the room of withheld numbers.
        send_reactions: whether a reaction leaves as a text, which costs as much as one.
        thin_link: the users are on poor mobile links: their calls take a third of the bandwidth.
        media_links: whether a file that cannot leave by itself leaves as a link to it.
    """

    name: Word
    trunk: str
    number: Number | None = None
    caller_id: SipUser | None = None
    display_name: Text | None = None
    anonymous: bool = False
    called: tuple[SipUser, ...] = ()
    region: Region | None = None
    users: Annotated[tuple[UserId, ...], AfterValidator(check_distinct)]
    ring_seconds: Annotated[int, Field(ge=5, le=300)] = 60
    texts_in: Word = SIP
    texts_out: Word = SIP
    # Five texts within a minute are a person in a hurry; more are a machine's, or read in one go.
    shown_per_minute: Annotated[int, Field(ge=1, le=100_000)] = 5
    strangers_per_minute: Annotated[int, Field(ge=1, le=100_000)] = 1
    send_reactions: bool = False
    media_links: bool = False
    thin_link: bool = False


class LogSection(Section):
    """How much is logged."""

    level: Literal["debug", "info", "warning"] = "info"


class Config(Section):
    """The whole file."""

    homeserver: HomeserverSection
    appservice: AppserviceSection
    database: Annotated[
        SecretStr,
        AfterValidator(check_database),
        allowed("sqlite:file.db or postgres://user:password@host/name"),
    ] = SecretStr("sqlite:ringback.db")
    media: MediaSection = MediaSection()
    listener: ListenerSection = ListenerSection()
    trunks: Annotated[tuple[TrunkSection, ...], Field(min_length=1)]
    lines: Annotated[tuple[LineSection, ...], Field(min_length=1)]
    hooks: HooksSection | None = None
    roads: tuple[RoadSection, ...] = ()
    drain_seconds: Annotated[int, Field(ge=0, le=86400)] = 60  # for calls, when we are stopped
    log: LogSection = LogSection()

    @property
    def bot_id(self) -> str:
        return f"@{self.appservice.bot}:{self.homeserver.domain}"

    def trunk(self, name: str) -> TrunkSection:
        """The trunk of that name; KeyError if there is none."""
        for trunk in self.trunks:
            if trunk.name == name:
                return trunk
        raise KeyError(name)

    def secrets(self) -> tuple[str, ...]:
        """Every secret in plain text, for those who keep them out of the log."""
        found = [self.appservice.as_token, self.appservice.hs_token]
        found += [trunk.password for trunk in self.trunks]
        peers = [trunk.authenticate_peer.password for trunk in self.trunks]
        found += [password for password in peers if password is not None]
        found += [secret for road in self.roads for secret in road.secrets()]
        password = urlsplit(self.database.get_secret_value()).password
        plain = [secret.get_secret_value() for secret in found]
        return tuple(plain) if password is None else (*plain, unquote(password))


# --- reading


def load(path: Path, environ: Mapping[str, str]) -> Config:
    """Read and check the file.

    Raises:
        ConfigError: with every mistake in it.
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(path, [Mistake(0, "", f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError as error:
        raise ConfigError(path, [Mistake(0, "", f"is not UTF-8: {error.reason}")]) from None
    return parse(text, path, environ)


def parse(text: str, path: Path, environ: Mapping[str, str]) -> Config:
    """Check the text of a file; `path` says where relative paths start and what errors are
    about."""
    document = Document(path)
    document.read(text)
    folder = path.resolve().parent
    _resolve_secrets(Config, document.tree, (), document, folder, environ)
    _resolve_paths(document.tree, folder)
    config = None
    try:
        config = Config.model_validate(document.tree)
    except ValidationError as error:
        for problem in error.errors(include_input=False, include_url=False):
            _explain(problem, document)
    consistency.check(document)
    if document.mistakes or config is None:
        raise document.error()
    return _complete(config)


def _fields(model: type[Section]) -> Iterator[tuple[str, Any]]:
    """Names in the file and annotations of a section's fields."""
    for name, info in model.model_fields.items():
        yield info.alias or name, info


def _section(annotation: Any) -> tuple[type[Section] | None, bool]:
    """The section inside an annotation, and whether there is a list of them."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation, False
    if get_origin(annotation) is UnionType:  # a section that may be left out
        return _section(get_args(annotation)[0])
    if get_origin(annotation) is tuple:
        inner = get_args(annotation)[0]
        if isinstance(inner, type) and issubclass(inner, Section):
            return inner, True
    return None, False


def secret_fields(model: type[Section]) -> list[str]:
    """Names of a section's settings that may be given by file or environment as well."""
    return [name for name, info in _fields(model) if _is_secret(info.annotation)]


def _is_secret(annotation: Any) -> bool:
    """Whether a setting is a secret, or a secret that may be left out."""
    kinds = (annotation, *get_args(annotation))
    return any(kind is SecretStr or get_args(kind)[:1] == (SecretStr,) for kind in kinds)


def _resolve_secrets(
    model: type[Section],
    tree: Any,
    place: Place,
    document: Document,
    folder: Path,
    environ: Mapping[str, str],
) -> None:
    """Replace `x_file` and `x_env` by `x`, here and in all sections below."""
    if not isinstance(tree, dict):
        return
    for name in secret_fields(model):
        forms = [form for form in (name, f"{name}_file", f"{name}_env") if tree.get(form)]
        if len(forms) > 1:
            document.complain((*place, forms[1]), f"stands beside {forms[0]}", "one of the two")
        value = tree.get(name)
        if source := tree.pop(f"{name}_file", None):
            value = _read_secret(folder / str(source), (*place, f"{name}_file"), document)
        if variable := tree.pop(f"{name}_env", None):
            value = environ.get(str(variable))
            if not value:
                where = (*place, f"{name}_env")
                document.complain(where, f"the environment has no {variable}")
                value = _MISSING_SECRET
        if value is not None:
            tree[name] = value
    for name, info in _fields(model):
        inner, many = _section(info.annotation)
        if inner is None:
            continue
        if many:
            items = tree.get(name)
            for i, item in enumerate(items if isinstance(items, list) else ()):
                _resolve_secrets(inner, item, (*place, name, i), document, folder, environ)
        else:
            _resolve_secrets(inner, tree.get(name), (*place, name), document, folder, environ)


# Stands in for what could not be read, so that the same mistake is not told twice. Passes both for
# a password and for a database; the file is refused anyway.
_MISSING_SECRET = "sqlite:missing"


def _read_secret(path: Path, place: Place, document: Document) -> str:
    try:
        text = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        document.complain(place, f"{path} cannot be read: {reason}", "the path of a file")
        return _MISSING_SECRET
    if not text:
        document.complain(place, f"{path} is empty")
        return _MISSING_SECRET
    return text


def _resolve_paths(tree: Any, folder: Path) -> None:
    """Let relative paths start at the folder of the file."""
    if not isinstance(tree, dict):
        return
    database = tree.get("database", "sqlite:ringback.db")
    if isinstance(database, str) and database.startswith("sqlite:"):
        name = database.removeprefix("sqlite:").removeprefix("//")
        tree["database"] = f"sqlite:{folder / name}" if name else database
    holders = [trunk.get("tls") for trunk in consistency.items(tree, "trunks")]
    for holder in (*holders, tree.get("listener")):
        for key in ("ca_file", "certificate_file", "key_file"):
            if isinstance(holder, dict) and isinstance(holder.get(key), str):
                holder[key] = str(folder / holder[key])


def _explain(problem: Any, document: Document) -> None:
    """Say a mistake that pydantic found in words for a person."""
    place: Place = problem["loc"]
    kind: str = problem["type"]
    model, info = _find(place)
    allowed = _words(info)
    context = problem.get("ctx") or {}
    match kind:
        case "missing":
            text = "is missing"
            if model is not None and place[-1] in secret_fields(model):
                allowed = f"{place[-1]}, {place[-1]}_file or {place[-1]}_env"
        case "extra_forbidden":
            text = "is no setting that we know"
            names = [name for name, _ in _fields(model)] if model is not None else []
            allowed = ", ".join(names)
        case "value_error":
            text = str(context.get("error", problem["msg"]))
        case "literal_error":
            text, allowed = "is none of the possible values", str(context.get("expected", ""))
        case "int_parsing" | "int_type" | "greater_than_equal" | "less_than_equal":
            text, allowed = "is out of range", allowed or _bounds(info)
            if kind.startswith("int"):
                text = "is not a whole number"
        case "bool_parsing" | "bool_type":
            text, allowed = "is neither true nor false", "true, false"
        case "tuple_type":
            text, allowed = "is not a list", "a list, each item after a dash"
        case "model_type" | "model_attributes_type" | "dict_type":
            text, allowed = "is not a section", "settings, each on a line of its own"
        case "too_long":
            text, allowed = "has too many items", f"{context.get('max_length')} at the most"
        case "too_short":
            # pydantic counts only what is right; mistakes inside are told by themselves.
            if document.holds_items(place):
                return
            text = "is empty"
        case "string_type" | "path_type":
            text = "has no value" if not allowed else "is not what belongs here"
        case _:
            text = problem["msg"]
    document.complain(place, text, allowed)


def _find(place: Place) -> tuple[type[Section] | None, Any]:
    """The section that holds a place of the file, and the description of the field there."""
    model: type[Section] | None = Config
    info: Any = None
    for i, part in enumerate(place):
        if isinstance(part, int):
            continue
        if model is None:
            break
        info = dict(_fields(model)).get(part)
        inner, _ = _section(info.annotation) if info is not None else (None, False)
        names_below = any(isinstance(later, str) for later in place[i + 1 :])
        if inner is None or not names_below:
            break
        model = inner
    return model, info


def _remarks(info: Any) -> Iterator[Any]:
    """All that is said of a field: by its own metadata, and by the kinds in its annotation."""
    yield info
    for remark in getattr(info, "metadata", ()):
        yield from _remarks(remark)
    for kind in get_args(getattr(info, "annotation", info)):
        yield from _remarks(kind)


def _words(info: Any) -> str:
    """What is allowed in a field, in the words of its kind."""
    for remark in _remarks(info):
        extra = getattr(remark, "json_schema_extra", None)
        if isinstance(extra, dict) and "allowed" in extra:
            return str(extra["allowed"])
    return ""


def _bounds(info: Any) -> str:
    """The limits of a whole number."""
    remarks = list(_remarks(info))
    least = next((remark.ge for remark in remarks if hasattr(remark, "ge")), None)
    most = next((remark.le for remark in remarks if hasattr(remark, "le")), None)
    return f"{least} to {most}" if least is not None and most is not None else ""


def _complete(config: Config) -> Config:
    """Fill in the defaults that depend on other settings."""
    lines = []
    for line in config.lines:
        changes: dict[str, Any] = {}
        if not line.called:
            changes["called"] = _called(line, config)
        if line.region is None and line.number is not None:
            number = phonenumbers.parse(line.number)
            changes["region"] = phonenumbers.region_code_for_number(number)
        lines.append(line.model_copy(update=changes))
    return config.model_copy(update={"lines": tuple(lines)})


def _called(line: LineSection, config: Config) -> tuple[str, ...]:
    """What means a line that does not say so: its number and its account, unless another line of
    the trunk says that it is meant by them."""
    others = (other for other in config.lines if other is not line and other.trunk == line.trunk)
    taken = {user for other in others for user in other.called}
    username = config.trunk(line.trunk).username
    called = (line.number, username) if line.number else (username,)
    return tuple(user for user in called if user not in taken)
