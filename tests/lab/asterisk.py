"""The PBX: Asterisk from another Debian suite (`foreign`), of today or of old.

Accounts demand SRTP keyed in SDP over TLS; `pbx/extensions.conf` says what the numbers do.
Everything that it says and
hears on the wire is read back from its log with `sip()`.
"""

import asyncio
import base64
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab import audio, cache, foreign
from tests.lab.ami import Ami, AmiEvent
from tests.lab.certificate import Authority
from tests.lab.ports import HOST, Ports
from tests.lab.process import PATIENCE, Process, eventually

DOMAIN = "pbx.test"
TONE = 440.0
"""What the PBX plays, at −15.05 dBFS."""

EMPTY_CONFIGS = [
    "acl",
    "ccss",
    "cdr",
    "cel",
    "confbridge",
    "dsp",
    "features",
    "geolocation",
    "http",
    "musiconhold",
    "pjproject",
    "pjsip_notify",
    "stasis",
    "udptl",
]


@dataclass(frozen=True, slots=True)
class Account:
    """One account. Its password is `password`, unless the lab breaks it."""

    name: str
    codecs: str = "opus,g722,alaw,ulaw"
    settings: Mapping[str, str] = field(default_factory=dict)
    auth: Mapping[str, str] = field(default_factory=dict)
    aor: Mapping[str, str] = field(default_factory=dict)

    @property
    def password(self) -> str:
        return f"{self.name}-secret"

    def config(self, password: str) -> str:
        def section(template: str, settings: Mapping[str, str]) -> str:
            body = "".join(f"{key}={value}\n" for key, value in settings.items())
            return f"[{self.name}]({template})\n{body}"

        endpoint = {"allow": self.codecs, "auth": self.name, "aors": self.name, **self.settings}
        auth = {"username": self.name, "password": password, **self.auth}
        return section("srtp", endpoint) + section("digest", auth) + section("registrar", self.aor)


@dataclass(frozen=True, slots=True)
class SipMessage:
    """One message as the PBX logged it: its wall-clock time, whether the PBX sent it, to or from
    where.
    """

    at: float
    sent: bool
    peer: str
    text: str

    @property
    def first(self) -> str:
        return self.text.split("\n", 1)[0].strip()

    @property
    def status(self) -> int:
        """Of a response; 0 for a request."""
        return int(self.first.split()[1]) if self.first.startswith("SIP/2.0") else 0

    @property
    def method(self) -> str:
        return self.header("CSeq").split()[-1] if self.status else self.first.split()[0]

    @property
    def body(self) -> str:
        return self.text.partition("\n\n")[2]

    def header(self, name: str) -> str:
        found = re.search(rf"(?im)^{re.escape(name)}\s*:\s*(.*)$", self.text)
        return found[1].strip() if found else ""


class Asterisk:
    """One PBX with its accounts.

    Args:
        suites: of Debian, where it comes from.
        every_suite: of SRTP, instead of those that Debian builds in.
    """

    def __init__(
        self,
        folder: Path,
        ports: Ports,
        authority: Authority,
        accounts: tuple[Account, ...],
        *,
        suites: tuple[str, ...] = cache.SUITES,
        every_suite: bool = False,
    ) -> None:
        self.folder = folder
        self.domain = DOMAIN
        self.accounts = {account.name: account for account in accounts}
        self.tls_port, self.expired_port, self.untrusted_port, self.misnamed_port = (
            ports.pick() for _ in range(4)
        )
        self.newest_port, self.mutual_port, self._ami_port = (ports.pick() for _ in range(3))
        self._rtp = ports.pick_range(200)
        self._root = foreign.root(suites)
        self._every_suite = every_suite
        self._authority = authority
        self._etc = folder / "etc"
        self._passwords = {account.name: account.password for account in accounts}
        self.ami = Ami()
        self._process = Process("Asterisk", self._command("-f"), log=folder / "console.log")

    # --- life

    async def start(self) -> None:
        self._configure()
        await self.resume()

    async def resume(self) -> None:
        """Start (again) with the same ports and what it had registered forgotten."""
        log = self.folder / "log" / "full"
        before = log.stat().st_size if log.exists() else 0

        async def ready() -> bool:
            if not log.exists():
                return False
            with log.open("rb") as read:
                read.seek(before)
                return b"Asterisk Ready" in read.read()

        await self._process.start(ready)
        self.ami = Ami()
        await self.ami.connect(HOST, self._ami_port, "lab", "lab")
        await self.command("pjsip set logger on")

    async def stop(self) -> None:
        await self.ami.close()
        await self._process.stop()

    @property
    def process(self) -> Process:
        return self._process

    @property
    def console(self) -> list[str | Path]:
        """The program with its configuration: with `-r` it is the console of the running one."""
        return self._command()

    async def command(self, line: str) -> str:
        """A command of the console; what it printed."""
        answer = await self.ami.act("Command", Command=line)
        return answer.get("Output", "")

    def password(self, account: str) -> str:
        """The password of an account as it is now."""
        return self._passwords[account]

    async def set_password(self, account: str, password: str | None = None) -> None:
        """Break an account, or with None put its password back; in force at the next request."""
        self._passwords[account] = password or self.accounts[account].password
        self._write_accounts()
        if self._process.running:
            await self.command("module reload res_pjsip.so")

    # --- what it does

    async def call(
        self,
        account: str,
        *,
        number: str = "",
        exten: str = "1001",
        caller: str = '"Carol" <+15550100>',
        ring: float = 30.0,
        record_as: str = "",
    ) -> "PbxCall":
        """Ring an account (as `number`, when given); when it answers, go on in the dialplan at
        `exten`.
        """
        channel = f"PJSIP/{number}@{account}" if number else f"PJSIP/{account}"
        since = len(self.ami.events)
        answer = await self.ami.act(
            "Originate",
            f"RECORD_AS={record_as}",
            Channel=channel,
            Context="lab",
            Exten=exten,
            Priority=1,
            CallerID=caller,
            Timeout=int(ring * 1000),
            Async="true",
        )
        return PbxCall(self, since, answer["ActionID"])

    async def text(self, account: str, body: str, *, caller: str = "+15550100") -> None:
        """Send an account a MESSAGE."""
        await self.ami.act(
            "MessageSend",
            Destination=f"pjsip:{account}",
            From=f"<sip:{caller}@{HOST}>",
            Base64Body=base64.b64encode(body.encode()).decode(),
        )

    async def reaches(self, application: str, data: str = "", *, since: int = 0) -> None:
        """Wait until a call has come to this application of the dialplan.

        Args:
            since: a place in the events of `ami`.
        """
        await self.ami.expect(
            "Newexten",
            lambda event: event["Application"] == application and event["AppData"].startswith(data),
            since=since,
        )

    async def contact(self, account: str) -> str:
        """Where an account is registered, empty when it is not."""
        shown = await self.command(f"pjsip show aor {account}")
        found = re.search(rf"Contact:\s+{re.escape(account)}/(\S+)", shown)
        return found[1] if found else ""

    async def registered(self, account: str, *, within: float = PATIENCE) -> str:
        """Wait until the account is registered; where."""
        limit = time.monotonic() + within
        while not (contact := await self.contact(account)):
            if time.monotonic() > limit:
                raise AssertionError(f"{account} did not register in {within:g} s\n{self.tail()}")
            await asyncio.sleep(0.1)
        return contact

    async def channels(self) -> int:
        """How many channels live: 0 when no call is left."""
        shown = await self.command("core show channels count")
        found = re.search(r"(\d+) active channel", shown)
        return int(found[1]) if found else -1

    async def quiet(self, *, within: float = PATIENCE) -> None:
        """Wait until no call is left."""
        limit = time.monotonic() + within
        while await self.channels():
            if time.monotonic() > limit:
                raise AssertionError(f"calls left: {await self.command('core show channels')}")
            await asyncio.sleep(0.1)

    def recording(self, name: str) -> audio.Sound:
        """What the PBX heard from the caller of 1001 that was recorded under this name."""
        return audio.load(self.folder / "recordings" / f"heard-{name}.wav")

    # --- what it saw

    def mark(self) -> int:
        """A place in the log for `sip(since=…)`."""
        log = self.folder / "log" / "full"
        return log.stat().st_size if log.exists() else 0

    def sip(self, since: int = 0) -> list[SipMessage]:
        """Every SIP message sent and received, in order."""
        log = self.folder / "log" / "full"
        with log.open("rb") as read:
            read.seek(since)
            text = read.read().decode(errors="replace")
        return parse_trace(text)

    async def seen(
        self, first: str, *, since: int = 0, within: float = PATIENCE, method: str = ""
    ) -> SipMessage:
        """The first SIP message whose first line begins so."""

        def found() -> SipMessage | None:
            for message in self.sip(since):
                if message.first.startswith(first) and method in ("", message.method):
                    return message
            return None

        message = await eventually(found, within=within, every=0.1, what=f"SIP {first} at the PBX")
        assert message is not None
        return message

    def tail(self, lines: int = 40) -> str:
        log = self.folder / "log" / "full"
        shown = log.read_text(errors="replace").splitlines()[-lines:] if log.exists() else []
        return "\n".join([f"  {log}:", *(f"    {line}" for line in shown)])

    # --- its files

    def _command(self, *arguments: str) -> list[str | Path]:
        config = self._etc / "asterisk.conf"
        return foreign.command(self._root, "usr/sbin/asterisk", "-C", config, *arguments)

    def _configure(self) -> None:
        shutil.rmtree(self._etc, ignore_errors=True)
        for name in ("etc", "cache", "lib/keys", "agi", "run", "log", "recordings", "sounds"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for name in ("voicemail", "outgoing", "tmp", "recording"):
            (self.folder / "spool" / name).mkdir(parents=True, exist_ok=True)
        audio.tone(TONE, rate=8000).save(self.folder / "sounds" / "tone.wav")
        audio.tone(TONE, rate=16_000).save(self.folder / "sounds" / "tone.wav16")
        others = Authority(self.folder / "certificates", "Some other CA")
        issued = {
            "PBX": self._authority.issue("pbx"),
            "EXPIRED": self._authority.issue("expired", expired=True),
            "MISNAMED": self._authority.issue("misnamed", ("elsewhere.test",)),
            "UNTRUSTED": others.issue("untrusted"),
        }
        modules = next(
            folder
            for pattern in ("usr/lib/*-linux-gnu/asterisk/modules", "usr/lib/asterisk/modules")
            for folder in self._root.glob(pattern)
        )
        self._values = {
            "ROOT": self._root,
            "MODULES": self._with_every_suite(modules) if self._every_suite else modules,
            "ETC": self._etc,
            "STATE": self.folder,
            "RECORDINGS": self.folder / "recordings",
            "SOUNDS": self.folder / "sounds",
            "TLS": self.tls_port,
            "TLS_EXPIRED": self.expired_port,
            "TLS_UNTRUSTED": self.untrusted_port,
            "TLS_MISNAMED": self.misnamed_port,
            "TLS_NEWEST": self.newest_port,
            "TLS_MUTUAL": self.mutual_port,
            "CA": self._authority.certificate,
            "AMI": self._ami_port,
            "RTP_FIRST": self._rtp[0],
            "RTP_LAST": self._rtp[-1],
            "AUTH_TYPE": "userpass" if "bullseye" in self._root.name else "digest",
            **{f"{name}_CERT": issued[name].certificate for name in issued},
            **{f"{name}_KEY": issued[name].key for name in issued},
        }
        for template in sorted((cache.HERE / "pbx").glob("*.conf")):
            (self._etc / template.name).write_text(self._filled(template))
        for name in EMPTY_CONFIGS:
            (self._etc / f"{name}.conf").write_text("[general]\n")
        self._write_accounts()

    def _with_every_suite(self, modules: Path) -> Path:
        """The same modules, but SRTP with AES-256 and GCM, which Debian leaves out."""
        ours = self.folder / "modules"
        ours.mkdir(exist_ok=True)
        for module in modules.iterdir():
            if module.name != "res_srtp.so":
                (ours / module.name).symlink_to(module)
        (ours / "res_srtp.so").symlink_to(cache.srtp_module(self._root))
        return ours

    def _filled(self, template: Path) -> str:
        return re.sub(r"@([A-Z_]+)@", lambda m: str(self._values[m[1]]), template.read_text())

    def _write_accounts(self) -> None:
        accounts = [
            account.config(self._passwords[name]) for name, account in self.accounts.items()
        ]
        text = self._filled(cache.HERE / "pbx" / "pjsip.conf")
        (self._etc / "pjsip.conf").write_text("\n".join([text, *accounts]))


class PbxCall:
    """A call that the PBX placed."""

    def __init__(self, pbx: Asterisk, since: int, action: str) -> None:
        self._pbx = pbx
        self._since = since
        self._action = action

    async def result(self, *, within: float = PATIENCE) -> AmiEvent:
        """How the placing ended: field `Response` says Success or Failure, `Reason` a number (4 is
        answered).
        """
        return await self._pbx.ami.expect(
            "OriginateResponse",
            lambda event: event["ActionID"] == self._action,
            since=self._since,
            within=within,
        )

    async def channel(self) -> str:
        event = await self._pbx.ami.expect(
            "Newchannel", lambda event: event["Channel"].startswith("PJSIP/"), since=self._since
        )
        return event["Channel"]

    async def hang_up(self) -> None:
        """End it, before the answer (CANCEL) or after it (BYE)."""
        await self._pbx.ami.act("Hangup", Channel=await self.channel())

    async def ended(self, *, within: float = PATIENCE) -> AmiEvent:
        """Its end: field `Cause` is of Q.850."""
        channel = await self.channel()
        return await self._pbx.ami.expect(
            "Hangup", lambda event: event["Channel"] == channel, since=self._since, within=within
        )


HEAD = re.compile(
    r"<--- (Transmitting|Received) SIP (?:request|response) \(\d+ bytes\) (?:to|from) (\S+) --->"
)
STAMP = re.compile(r"(?m)^\[(\d+\.\d+)\] ")


def parse_trace(log: str) -> list[SipMessage]:
    """The SIP messages in a log of res_pjsip_logger; each ends at the next stamped line."""
    messages = []
    starts = [*STAMP.finditer(log)]
    for index, stamp in enumerate(starts):
        end = starts[index + 1].start() if index + 1 < len(starts) else len(log)
        entry = log[stamp.end() : end]
        if head := HEAD.search(entry):
            text = entry[head.end() :].replace("\r\n", "\n").lstrip("\n").rstrip("\n") + "\n"
            messages.append(SipMessage(float(stamp[1]), head[1] == "Transmitting", head[2], text))
    return messages
