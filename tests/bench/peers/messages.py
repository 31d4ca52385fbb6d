"""Messages read and written by a library: `python -m tests.bench.peers.messages LIBRARY WORK`.

WORK is `read` (from bytes to a message of which a user agent knows what every one must know),
`parse` (what the library does with bytes before it is asked anything) or `write` (to bytes again,
of messages that were read). All libraries get the same messages: those of a call share its
addresses, as on a wire, and otherwise no two are alike.
"""

import itertools
import sys
from collections.abc import Callable
from typing import Any

from tests.bench.peers.window import OFFER, serve

# More than any of us remembers, and made anew for nobody: all are there before the clock runs.
DIFFERENT = 6000

_ALLOW = (
    "OPTIONS, REGISTER, SUBSCRIBE, NOTIFY, PUBLISH, INVITE, ACK, BYE, CANCEL, UPDATE, PRACK, INFO, "
    "MESSAGE, REFER"
)

# A call that comes in: what a PBX sends us.
_FROM_PBX = """Via: SIP/2.0/TLS 192.0.2.9:5061;rport;branch=z9hG4bKPjc2f0c8a1-6a3a-{n}-{step};alias
From: "Carol" <sip:+1555{n}@pbx.example>;tag=9fxced76sl{n}
To: <sip:alice@example.net>{tag}
Call-ID: 3848276298220188511{n}@pbx.example
Max-Forwards: 70
User-Agent: Asterisk PBX 22.5.0
"""
_INVITE = f"""INVITE sip:alice@198.51.100.1:40001;transport=tls SIP/2.0
{_FROM_PBX}CSeq: {{n}} INVITE
Contact: <sip:asterisk@192.0.2.9:5061;transport=TLS>
Allow: {_ALLOW}
Supported: 100rel, timer, replaces, norefersub, histinfo
Session-Expires: 1800
Min-SE: 90
P-Asserted-Identity: "Carol" <sip:+1555{{n}}@pbx.example>
Content-Type: application/sdp
Content-Length: {{length}}
"""
_ACK = f"""ACK sip:alice@198.51.100.1:40001;transport=tls SIP/2.0
{_FROM_PBX}CSeq: {{n}} ACK
Contact: <sip:asterisk@192.0.2.9:5061;transport=TLS>
Content-Length: {{length}}
"""
_BYE = f"""BYE sip:alice@198.51.100.1:40001;transport=tls SIP/2.0
{_FROM_PBX}CSeq: {{n}} BYE
Contact: <sip:asterisk@192.0.2.9:5061;transport=TLS>
Reason: Q.850;cause=16
Content-Length: {{length}}
"""

# A call that goes out: what comes back.
_TO_US = """Via: SIP/2.0/TLS 198.51.100.1:40001;rport=40001;received=198.51.100.1;branch=z9hG4bK{n}
From: <sip:alice@example.net>;tag=a{n}
To: <sip:bob@example.net>;tag=as{n}
Call-ID: {n}-7f3a2b@198.51.100.1
Server: Asterisk PBX 22.5.0
Contact: <sip:192.0.2.9:5061;transport=TLS>
"""
_RINGING = f"""SIP/2.0 180 Ringing
{_TO_US}CSeq: 2 INVITE
Content-Length: {{length}}
"""
_OK = f"""SIP/2.0 200 OK
{_TO_US}CSeq: 2 INVITE
Allow: {_ALLOW}
Supported: 100rel, timer, replaces, norefersub
Content-Type: application/sdp
Content-Length: {{length}}
"""
_REGISTERED = f"""SIP/2.0 200 OK
{_TO_US}CSeq: 2 REGISTER
Expires: 300
Date: Tue, 24 Nov 2026 20:00:00 GMT
Content-Length: {{length}}
"""
_KINDS = (
    (_INVITE, OFFER), (_ACK, ""), (_BYE, ""), (_RINGING, ""), (_OK, OFFER), (_REGISTERED, ""),
)  # fmt: skip


def messages() -> list[bytes]:
    made: list[bytes] = []
    for n in range(10**6, 10**6 + DIFFERENT // len(_KINDS)):
        for step, (head, body) in enumerate(_KINDS):
            tag = f";tag=us{n}" if head in (_ACK, _BYE) else ""
            text = head.format(n=n, step=step, tag=tag, length=len(body)).replace("\n", "\r\n")
            made.append(f"{text}\r\n{body}".encode())
    return made


# A library's functions: parse, what a user agent must know of any message, and write.
Library = tuple[Callable[[bytes], Any], Callable[[Any], object], Callable[[Any], bytes]]


def ringback() -> Library:
    from sip.message import parse_message

    def know(message: Any) -> object:
        headers = message.headers
        cseq = headers.cseq
        return (
            headers.via.branch, headers.from_.tag, headers.to.tag, headers.call_id,
            cseq.number, cseq.method, headers.contact.uri.host,
        )  # fmt: skip

    return parse_message, know, bytes


def sipmessage() -> Library:
    from sipmessage import Message

    def know(message: Any) -> object:
        cseq = message.cseq
        return (
            message.via[0].parameters.get("branch"), message.from_address.parameters.get("tag"),
            message.to_address.parameters.get("tag"), message.call_id,
            cseq.sequence, cseq.method, message.contact[0].uri.host,
        )  # fmt: skip

    return Message.parse, know, bytes


def aiosipua() -> Library:
    from aiosipua.message import SipMessage

    def know(message: Any) -> object:
        cseq = message.cseq
        return (
            message.via[0].branch, message.from_addr.tag, message.to_addr.tag, message.call_id,
            cseq.seq, cseq.method, message.contact[0].uri.host,
        )  # fmt: skip

    return SipMessage.parse, know, bytes


def sippy() -> Library:
    from sippy.SipRequest import SipRequest
    from sippy.SipResponse import SipResponse

    def parse(data: bytes) -> Any:
        return (SipResponse if data.startswith(b"SIP/") else SipRequest)(data.decode())

    def know(message: Any) -> object:
        return (
            *message.getTId(wCSM=True, wBRN=True, wTTG=True),
            message.getHFBody("contact").getUrl().host,
        )

    return parse, know, lambda message: str(message).encode()


LIBRARIES: dict[str, Callable[[], Library]] = {
    "ringback": ringback, "sipmessage": sipmessage, "aiosipua": aiosipua, "sippy": sippy,
}  # fmt: skip


def main(library: str, work: str) -> None:
    parse, know, write = LIBRARIES[library]()
    wire = messages()
    act: Callable[[Any], object]
    match work:
        case "read":
            act = lambda data: know(parse(data))  # noqa: E731  # the same call for all
            supply = itertools.cycle(wire)
        case "parse":
            act, supply = parse, itertools.cycle(wire)
        case _:
            act, supply = write, itertools.cycle([parse(data) for data in wire])

    def run(count: int) -> None:
        for one in itertools.islice(supply, count):
            act(one)

    serve(run)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
