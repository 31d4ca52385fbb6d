"""Sections of the configuration about who connects to whom, and what each must show for it."""

from bridge.setting import ExistingFile, Host, Listen, Networks, Pins, Secret, Section, Text
from sip.digest import Account
from sip.io.listener import ListenerSettings
from sip.trunk import Inbound


class ListenerSection(Section):
    """Where trunks may connect to us; nothing listens by default. See
    `sip.io.listener.ListenerSettings`.

    Attributes:
        tls: what we bind for TLS.
        insecure_tcp: what we bind for trunks with `insecure_transport: tcp`.
        insecure_udp: the same for udp.
        advertise: the host that peers come back to, when that is not what we bind (NAT).
    """

    tls: Listen | None = None
    insecure_tcp: Listen | None = None
    insecure_udp: Listen | None = None
    certificate_file: ExistingFile | None = None
    key_file: ExistingFile | None = None
    ca_file: ExistingFile | None = None
    advertise: Host | None = None

    def to_settings(self) -> list[ListenerSettings]:
        """One for each port that is wanted."""
        ports = {None: self.tls, "tcp": self.insecure_tcp, "udp": self.insecure_udp}
        return [
            ListenerSettings(
                host=listen.host,
                port=listen.port,
                certificate_file=self.certificate_file,
                key_file=self.key_file,
                ca_file=self.ca_file,
                insecure_transport=transport,
                advertise=self.advertise,
            )
            for transport, listen in ports.items()
            if listen is not None
        ]


class InboundSection(Section):
    """What a trunk shows when it connects to us; with nothing in it, it may not. See
    `sip.trunk.Inbound`."""

    certificate: Host | None = None
    networks: Networks | None = None
    digest: bool = False

    def to_inbound(self) -> Inbound | None:
        """The part of it that is SIP's business: all."""
        inbound = Inbound(self.certificate, self.networks or (), self.digest)
        return None if inbound == Inbound() else inbound


class TlsSection(Section):
    """Certificates of a trunk; see `sip.trunk.TlsSettings`."""

    ca_file: ExistingFile | None = None
    certificate_file: ExistingFile | None = None
    key_file: ExistingFile | None = None
    pins: Pins | None = None
    insecure_skip_verification: bool = False


class PeerSection(Section):
    """What a trunk must prove to be; see `sip.trunk.Trunk.authenticate_peer`."""

    username: Text | None = None
    password: Secret | None = None

    def to_account(self) -> Account | None:
        """Both, or none."""
        if self.username is None or self.password is None:
            return None
        return Account(self.username, self.password.get_secret_value())
