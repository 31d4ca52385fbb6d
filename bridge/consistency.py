"""What one setting of the file says of another.

Works on raw values, as everything else about them may be wrong too; `bridge.config` checks each
setting by itself.
"""

import ipaddress
from typing import Any

from bridge.document import Document, Place
from bridge.road.settings import road_mistakes


def check(document: Document) -> None:
    """Complain of settings that do not go together."""
    trunks = items(document.tree, "trunks")
    lines = items(document.tree, "lines")
    names = [trunk.get("name") for trunk in trunks]
    _complain_of_repeats(document, "trunks", names)
    _complain_of_repeats(document, "lines", [line.get("name") for line in lines])
    roads = items(document.tree, "roads")
    _complain_of_repeats(document, "roads", [road.get("name") for road in roads])
    usernames = {trunk.get("name"): trunk.get("username") for trunk in trunks}
    taken: dict[tuple[str, str], int] = {}
    for i, line in enumerate(lines):
        trunk = line.get("trunk")
        if isinstance(trunk, str) and trunk not in names:
            known = ", ".join(dict.fromkeys(str(name) for name in names if name))
            document.complain(("lines", i, "trunk"), f"there is no trunk {trunk}", known)
        called = line.get("called")
        if not isinstance(called, list) or not called:
            called = [line.get("number") or usernames.get(trunk)]
        for user in called:
            if not isinstance(user, str) or not isinstance(trunk, str):
                continue
            other = taken.setdefault((trunk, user), i)
            if other != i:
                text = f"{user} on trunk {trunk} means lines[{other}] already"
                document.complain(("lines", i), text, "one line for each called address")
    _check_credentials(document, trunks)
    _check_listeners(document, trunks)
    hooks = isinstance(document.tree, dict) and bool(document.tree.get("hooks"))
    for place, text, allowed in road_mistakes(roads, lines, hooks=hooks):
        document.complain(place, text, allowed)
    appservice = document.tree.get("appservice") if isinstance(document.tree, dict) else None
    if isinstance(appservice, dict):
        bot = appservice.get("bot", "ringback")
        prefix = appservice.get("ghost_prefix", "tel_")
        if isinstance(bot, str) and isinstance(prefix, str) and prefix and bot.startswith(prefix):
            where: Place = ("appservice", "bot" if "bot" in appservice else "ghost_prefix")
            document.complain(
                where, f"the bot {bot} would be a ghost", f"none that starts {prefix}"
            )


def items(tree: Any, name: str) -> list[dict[str, Any]]:
    """The sections in a list of the file."""
    found = tree.get(name) if isinstance(tree, dict) else None
    # An item of another kind keeps its place, so that the numbers of the others stay right.
    return (
        [item if isinstance(item, dict) else {} for item in found]
        if isinstance(found, list)
        else []
    )


def _complain_of_repeats(document: Document, section: str, names: list[Any]) -> None:
    for i, name in enumerate(names):
        if isinstance(name, str) and name in names[:i]:
            first = names.index(name)
            document.complain((section, i, "name"), f"{name} is the name of {section}[{first}] too")


def _check_credentials(document: Document, trunks: list[dict[str, Any]]) -> None:
    for i, trunk in enumerate(trunks):
        tls = trunk.get("tls")
        if isinstance(tls, dict) and bool(tls.get("certificate_file")) != bool(tls.get("key_file")):
            text = "a certificate and its key belong together"
            document.complain(("trunks", i, "tls"), text, "certificate_file and key_file, or none")
        peer = trunk.get("authenticate_peer")
        if isinstance(peer, dict) and bool(peer.get("username")) != bool(peer.get("password")):
            text = "a name and its password belong together"
            where: Place = ("trunks", i, "authenticate_peer")
            document.complain(where, text, "username and password, or none")
        if (
            isinstance(tls, dict)
            and tls.get("pins")
            and tls.get("insecure_skip_verification") == "true"
        ):
            text = "verification is skipped and asked for at once"
            allowed = "pins or insecure_skip_verification"
            document.complain(("trunks", i, "tls", "pins"), text, allowed)


def _check_listeners(document: Document, trunks: list[dict[str, Any]]) -> None:
    listener = document.tree.get("listener") if isinstance(document.tree, dict) else None
    listener = listener if isinstance(listener, dict) else {}
    if listener.get("tls") and not listener.get("certificate_file"):
        text = "cannot be without a certificate"
        document.complain(("listener", "tls"), text, "certificate_file beside it")
    if bool(listener.get("key_file")) and not listener.get("certificate_file"):
        text = "a certificate and its key belong together"
        document.complain(("listener", "key_file"), text, "certificate_file beside it")
    for i, trunk in enumerate(trunks):
        connects = trunk.get("connect") != "false"
        if not connects and trunk.get("register", "true") != "false":
            text = "we cannot register without connecting"
            document.complain(("trunks", i, "connect"), text, "register: false beside it")
        if not _accepts(trunk):
            if not connects:
                text = "neither side would connect"
                document.complain(("trunks", i, "connect"), text, "inbound beside it")
            continue
        insecure = trunk.get("insecure_transport")
        port = f"insecure_{insecure}" if insecure else "tls"
        if not listener.get(port):
            text = "nothing listens for this trunk"
            document.complain(("trunks", i, "inbound"), text, f"listener.{port}")
        if insecure and trunk["inbound"].get("certificate"):
            text = "there are no certificates without TLS"
            document.complain(("trunks", i, "inbound", "certificate"), text, "networks instead")
        if insecure == "udp" and _by_digest(trunk):
            text = "a datagram proves nothing about the next"
            document.complain(("trunks", i, "inbound", "digest"), text, "networks instead")
        peer = trunk.get("authenticate_peer")
        if _by_digest(trunk) and not (isinstance(peer, dict) and peer.get("username")):
            text = "there is no password that it could prove"
            document.complain(("trunks", i, "inbound", "digest"), text, "authenticate_peer")
        for j, other in enumerate(trunks[:i]):
            if _accepts(other) and _could_be_both(trunk, other):
                text = f"what trunks[{j}] shows would do here too"
                allowed = "another certificate, or other networks"
                document.complain(("trunks", i, "inbound"), text, allowed)


def _accepts(trunk: dict[str, Any]) -> bool:
    inbound = trunk.get("inbound")
    if not isinstance(inbound, dict):
        return False
    return bool(inbound.get("certificate") or inbound.get("networks") or _by_digest(trunk))


def _by_digest(trunk: dict[str, Any]) -> bool:
    return bool(trunk["inbound"].get("digest") == "true")


def _could_be_both(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether one peer could pass for two trunks."""
    mine, theirs = one["inbound"], other["inbound"]
    if one.get("insecure_transport") != other.get("insecure_transport"):
        return False
    if _by_digest(one) != _by_digest(other):
        return False  # who needs no password is looked for first
    names = [str(inbound.get("certificate") or "").lower() for inbound in (mine, theirs)]
    if all(names) and names[0] != names[1]:
        return False
    return _overlap(mine.get("networks"), theirs.get("networks"))


def _overlap(some: Any, others: Any) -> bool:
    if not isinstance(some, list) or not isinstance(others, list):
        return True  # from anywhere
    try:
        networks = [[ipaddress.ip_network(str(text)) for text in texts] for texts in (some, others)]
    except ValueError:
        return False  # which is told by itself
    return any(
        one.version == other.version and one.overlaps(other)
        for one in networks[0]
        for other in networks[1]
    )
