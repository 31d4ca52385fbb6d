"""Where and how we reach one provider or PBX: the settings of one SIP account.

A `Trunk` is a frozen value. It holds what the user agent and its flow must know and nothing of
media or of routing, which are the bridge's business.
"""

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from sip.digest import Account
from sip.uri import Uri


class CallerId(Enum):
    """Where a trunk wants to be told which of our numbers calls; see `sip.presentation`."""

    FROM = "from"
    PREFERRED = "preferred"
    ASSERTED = "asserted"
    REMOTE_PARTY = "remote_party"


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """How the peer proves itself on TLS (RFC 5922), and how we do where it asks.

    Attributes:
        ca_file: certificates to trust instead of the system's.
        certificate_file: our own certificate chain, for trunks with mutual TLS.
        key_file: its private key.
        pins: SHA-256 over the peer's public key (SubjectPublicKeyInfo) in base64 (RFC 7469 §2.4):
            one of them must be shown. They take the place of authority, name and dates, or, beside
            a `ca_file`, are asked for as well. Two of them carry a trunk over a change of keys.
        insecure_skip_verification: accept any certificate. Weakens the whole trunk; hence the name.
    """

    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    pins: tuple[str, ...] = ()
    insecure_skip_verification: bool = False


@dataclass(frozen=True, slots=True)
class Inbound:
    """How the peer proves itself where it connects to us (`sip.io.listener`): all that is given
    must hold, and something must be given.

    Attributes:
        certificate: the name that its client certificate must carry (mutual TLS, RFC 5922 §7.4).
        networks: where it may come from, such as "192.0.2.0/24". By itself a proof only as good as
            the network between: whoever has such an address is the peer.
        digest: whether its first request must prove the password of `Trunk.authenticate_peer`.
    """

    certificate: str | None = None
    networks: tuple[str, ...] = ()
    digest: bool = False


@dataclass(frozen=True, slots=True)
class Trunk:
    """One account at a provider or PBX.

    Attributes:
        name: our name for it; appears in logs and in rooms.
        domain: the SIP domain: registrar, realm of addresses, and the name that the certificate
            must carry. An address of IPv6 stands without brackets, here and in `host`.
        host: where to connect when that is not what DNS says of `domain` (RFC 3263); a name or an
            address.
        port: port at `host` (or at `domain`), None to let SRV decide (5061 without SRV).
        username: user part of our address of record.
        auth_username: digest user name where it differs from `username`.
        password: digest secret. Never printed.
        register: whether to REGISTER; False for a static peer.
        connect: whether we connect to the peer; False to wait until it connects to us.
        inbound: what it must show then; None where no such connection is this trunk's.
        expires: registration lifetime that we ask for, seconds.
        display_name: our name for those we call, if any.
        caller_id: where to say which number calls, when it is not the account's own.
        tls: certificates.
        insecure_transport: "tcp" or "udp" for a trunk that has nothing better; None is TLS.
        follow_redirects: let a 3xx to a call send it to another address of the same trunk.
        trust_identity: believe P-Asserted-Identity and the like (RFC 3325 §5). Only for a peer that
            is known to remove what callers write there themselves.
        mailbox: whose waiting messages to ask for (RFC 3842); None where the peer tells unasked, as
            most PBXs do, or has none.
        allow_md5: whether MD5 is good enough, either way round, where nothing better is offered
            (RFC 8760 §2.4).
        realms: who may ask for the password, by the name in the challenge; empty to believe the
            first that accepts it.
        authenticate_peer: what the peer must prove to be when it calls or writes (RFC 3261 §22.2),
            for trunks without registration; None to believe whoever is at the other end.
    """

    name: str
    domain: str
    username: str
    password: str = field(repr=False)
    host: str | None = None
    port: int | None = None
    auth_username: str | None = None
    register: bool = True
    connect: bool = True
    inbound: Inbound | None = None
    expires: int = 300
    display_name: str | None = None
    caller_id: CallerId = CallerId.PREFERRED
    tls: TlsSettings = TlsSettings()
    insecure_transport: str | None = None
    follow_redirects: bool = False
    trust_identity: bool = False
    mailbox: Uri | None = None
    allow_md5: bool = True
    realms: tuple[str, ...] = ()
    authenticate_peer: Account | None = None
