"""Which addresses a setting stands for."""

import ipaddress

from media.address import is_wildcard, local_addresses, trunk_address


def test_named_addresses_are_taken_as_they_are() -> None:
    assert local_addresses(("127.0.0.1",)) == ("127.0.0.1",)
    assert local_addresses(("192.0.2.1", "2001:db8::1")) == ("192.0.2.1", "2001:db8::1")
    assert trunk_address(("192.0.2.1", "0.0.0.0")) == "192.0.2.1"


def test_a_wildcard_is_what_others_can_reach() -> None:
    addresses = [ipaddress.ip_address(a) for a in local_addresses(("0.0.0.0",))]
    assert addresses
    assert len(addresses) <= 8
    reachable = [a for a in addresses if not a.is_loopback]
    assert not reachable or reachable == addresses
    assert not any(a.is_link_local or a.is_unspecified for a in addresses)


def test_wildcards_of_both_families() -> None:
    assert is_wildcard("0.0.0.0")
    assert is_wildcard("::")
    assert not is_wildcard("127.0.0.1")
