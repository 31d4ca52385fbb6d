"""SIPp, over TLS: a peer that says exactly what a test has written, and fails at anything else.

A `Scenario` is written as calls of its methods, in the order of the wire. Our phone connects. Where
SIPp is to call, the scenario begins with our REGISTER, and its own requests carry a Call-ID with
SIPp's prefix (`leg///…`), by which it still counts them as the same call.
"""

import html
from collections.abc import Sequence
from pathlib import Path

from tests.lab import foreign
from tests.lab.certificate import Authority
from tests.lab.ports import HOST, Ports
from tests.lab.process import Process

DOMAIN = "sipp.test"
KEY = "PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR"
DESCRIPTION = "\n".join(
    (
        "v=0",
        f"o=sipp 1 1 IN IP4 {HOST}",
        "s=-",
        f"c=IN IP4 {HOST}",
        "t=0 0",
        "m=audio 9 RTP/SAVP 0",
        f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}",
        "a=sendrecv",
    )
)


class Scenario:
    """What SIPp says and waits for."""

    def __init__(self) -> None:
        self._steps: list[str] = []
        self._names: set[str] = set()
        self._calling = False
        self._sequence = 0

    def xml(self) -> str:
        names = f'<Reference variables="{",".join(sorted(self._names))}"/>' if self._names else ""
        return "\n".join(['<scenario name="ringback">', *self._steps, names, "</scenario>"])

    # --- what it waits for

    def recv(self, what: str, *, keep: str = "", having: str = "", optional: bool = False) -> None:
        """A request by its method, or a response by its status.

        Args:
            keep: remember it under this name, for `reply`.
            having: a regular expression that must be found in it.
        """
        kind = "response" if what.isdigit() else "request"
        actions = []
        if keep:
            actions = [
                f'<ereg regexp=".*" search_in="hdr" header="{header}:" '
                f'assign_to="{keep}{header.replace("-", "")}"/>'
                for header in ("Via", "From", "To", "CSeq", "Call-ID")
            ]
            self._names |= {f"{keep}{name}" for name in ("Via", "From", "To", "CSeq", "CallID")}
        if having:
            pattern = html.escape(having)
            actions.append(
                f'<ereg regexp="{pattern}" search_in="msg" check_it="true" assign_to="found"/>'
            )
            self._names.add("found")
        if what == "REGISTER":
            actions.append(self._take_contact())
        if "RSeq" in having:
            actions.append(
                '<ereg regexp="[0-9]+" search_in="hdr" header="RSeq:" assign_to="rseq"/>'
            )
            self._names.add("rseq")
        more = ' optional="true"' if optional else ""
        body = f"<action>{''.join(actions)}</action>" if actions else ""
        self._steps.append(f'<recv {kind}="{what}"{more}>{body}</recv>')

    def pause(self, milliseconds: int) -> None:
        self._steps.append(f'<pause milliseconds="{milliseconds}"/>')

    # --- what it says

    def reply(
        self, status: str, *headers: str, to: str = "", tag: str = "", body: str = ""
    ) -> None:
        """Answer the last request, or the one kept as `to`."""
        if to:
            lines = [
                f"Via:[${to}Via]",
                f"From:[${to}From]",
                f"To:[${to}To]",
                f"Call-ID:[${to}CallID]",
                f"CSeq:[${to}CSeq]",
            ]
        else:
            lines = ["[last_Via:]", "[last_From:]", "[last_To:]", "[last_Call-ID:]", "[last_CSeq:]"]
        if tag:
            lines[2] += f";tag={tag}"
        contact = [f"Contact: <sip:sipp@{HOST}:[local_port];transport=tls>"]
        self._send([f"SIP/2.0 {status}", *lines, *contact, *headers], body)

    def called(self) -> None:
        """Our phone calls: take its INVITE as "invite"."""
        self._steps.append('<recv request="INVITE"><action>' + self._take_contact())
        for header in ("Via", "From", "To", "CSeq", "Call-ID"):
            name = f"invite{header.replace('-', '')}"
            self._names.add(name)
            self._steps.append(
                f'<ereg regexp=".*" search_in="hdr" header="{header}:" assign_to="{name}"/>'
            )
        self._steps.append("</action></recv>")

    def registers(self) -> None:
        """Our phone registers; from here on the requests are those of SIPp's own call."""
        self.recv("REGISTER")
        self.reply("200 OK", "Expires: 300", tag="registrar")
        self._calling = True

    def request(
        self,
        method: str,
        *headers: str,
        body: str = "",
        tag: str = "sipp",
        branch: str = "[branch]",
        sequence: int | None = None,
        uri: str = "[$contact]",
    ) -> None:
        """A request in the dialog, whichever side called; ACK and CANCEL repeat the number."""
        if sequence is None:
            if method not in ("ACK", "CANCEL"):
                self._sequence += 1
            sequence = self._sequence
        if self._calling:
            ends = [
                f'From: "Carol" <sip:+15550100@{DOMAIN}>;tag={tag}',
                f"To: <sip:first@{DOMAIN}>[peer_tag_param]",
                "Call-ID: leg///[call_id]",
            ]
        else:
            ends = [
                f"From: <sip:sipp@{DOMAIN}>;tag={tag}",
                "To:[$inviteFrom]",
                "Call-ID: [call_id]",
            ]
        lines = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/TLS {HOST}:[local_port];branch={branch}",
            *ends,
            f"CSeq: {sequence} {method}",
            f"Contact: <sip:sipp@{HOST}:[local_port];transport=tls>",
            "Max-Forwards: 70",
            *headers,
        ]
        self._send(lines, body)

    def probe(self, method: str, *headers: str, **other: str) -> None:
        """A request outside of any dialog, with these header fields more or `other` ones:
        `From="…"`; an empty one is left out, `version` is that of SIP.
        """
        self._sequence += 1
        fields = {
            "Via": f"SIP/2.0/TLS {HOST}:[local_port];branch=[branch]",
            "From": f"<sip:+15550100@{DOMAIN}>;tag=sipp",
            "To": f"<sip:first@{DOMAIN}>",
            "Call-ID": "leg///[call_id]",
            "CSeq": f"{self._sequence} {method}",
            "Max-Forwards": "70",
        }
        version = other.pop("version", "SIP/2.0")
        fields |= other
        lines = [f"{name}: {value}" for name, value in fields.items() if value]
        self._send([f"{method} [$contact] {version}", *lines, *headers], "")

    def _send(self, lines: Sequence[str], body: str) -> None:
        kind = ["Content-Type: application/sdp"] if body == DESCRIPTION else []
        text = "\n".join([*lines, *kind, "Content-Length: [len]", "", body])
        self._steps.append(f"<send><![CDATA[\n\n{text}\n]]></send>")

    def _take_contact(self) -> str:
        self._names |= {"contact", "whole"}
        return (
            '<ereg regexp="&lt;(sip:[^&gt;]+)&gt;" search_in="hdr" header="Contact:" '
            'assign_to="whole,contact"/>'
        )


class Sipp:
    """One run of one scenario."""

    def __init__(
        self, folder: Path, ports: Ports, authority: Authority, scenario: Scenario
    ) -> None:
        self.domain = DOMAIN
        self.tls_port = ports.pick()
        self._folder = folder
        self._scenario = scenario
        issued = authority.issue("sipp", (DOMAIN, HOST))
        command = foreign.command(
            foreign.root(),
            "usr/bin/sipp",
            *("-sf", folder / "scenario.xml", "-t", "l1", "-i", HOST, "-p", str(self.tls_port)),
            *("-tls_cert", issued.certificate, "-tls_key", issued.key),
            *("-m", "1", "-nostdin", "-timeout", "20s", "-default_behaviors", "none"),
            *("-trace_msg", "-message_file", folder / "messages"),
            *("-trace_err", "-error_file", folder / "errors"),
        )
        self._process = Process("SIPp", command, log=folder / "log", cwd=folder)

    async def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "scenario.xml").write_text(
            f'<?xml version="1.0" encoding="UTF-8"?>\n{self._scenario.xml()}\n'
        )
        await self._process.start(self._listening)

    async def stop(self) -> None:
        await self._process.stop()

    def password(self, name: str) -> str:
        return f"{name}-secret"

    async def done(self) -> None:
        """Wait until the scenario is over; it must have gone as written."""
        status = await self._process.wait()
        if status:
            told = "\n".join(
                path.read_text(errors="replace")
                for name in ("errors", "messages")
                if (path := self._folder / name).exists()
            )
            raise AssertionError(f"SIPp ended with {status}\n{told or self._process.tail()}")

    async def _listening(self) -> bool:
        return listening(self.tls_port)


def listening(port: int) -> bool:
    """Ask the kernel: a connection to try would be the scenario's first."""
    return f":{port:04X} 00000000:0000 0A" in Path("/proc/net/tcp").read_text()
