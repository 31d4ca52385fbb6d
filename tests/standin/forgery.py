"""Forged hooks: what somebody can make of one that was overheard, or without any.

Each takes a stand-in and a text of its account and gives a request that the provider has not sent.
Which of them a provider's proof tells from its own is a matter of what it covers.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.standin.standin import FORM, JSON, Covers, Push, Signer, StandIn

FOREIGN = "192.0.2.66"
OLD = 26 * 3600.0  # seconds: more than the day for which Vonage repeats what it has signed once


@dataclass(frozen=True, slots=True)
class Forgery:
    """A way to forge.

    Attributes:
        needs: what a proof has to cover for it to show.
    """

    name: str
    needs: Covers
    make: Callable[[StandIn, Push], Push]


def _proof(push: Push, signed: Push) -> list[str]:
    """The header fields that the signature has added."""
    return [name for name in signed.headers if name not in push.headers]


def _unsigned(provider: StandIn, push: Push) -> Push:
    return push


def _with_proof(change: Callable[[str], str]) -> Callable[[StandIn, Push], Push]:
    """Change each word of the proof, wherever the provider puts it."""

    def make(provider: StandIn, push: Push) -> Push:
        signed = provider.sign(push, provider.hook_url)
        names = _proof(push, signed)
        if names:
            changed = {name: change(signed.headers[name]) for name in names}
            return replace(signed, headers={**signed.headers, **changed})
        marker = b'"sig": "'  # in the body
        before, _, after = signed.body.partition(marker)
        proof, _, rest = after.partition(b'"')
        body = before + marker + change(proof.decode()).encode() + b'"' + rest
        return replace(signed, body=body)

    return make


def _other_key(provider: StandIn, push: Push) -> Push:
    return provider.sign(push, provider.hook_url, Signer(key="key-of-another-account-0123456789"))


def _other_algorithm(provider: StandIn, push: Push) -> Push:
    algorithm = "none" if type(provider).__name__ == "VonageMessages" else "md5"
    return provider.sign(push, provider.hook_url, Signer(algorithm=algorithm))


def _other_address(provider: StandIn, push: Push) -> Push:
    return provider.sign(push, provider.hook_url.replace("//", "//evil."))


def _plain_address(provider: StandIn, push: Push) -> Push:
    return provider.sign(push, provider.hook_url.replace("https:", "http:"))


def _with_body(change: Callable[[bytes], bytes]) -> Callable[[StandIn, Push], Push]:
    def make(provider: StandIn, push: Push) -> Push:
        signed = provider.sign(push, provider.hook_url)
        changed = change(signed.body)
        assert changed != signed.body
        return replace(signed, body=changed)

    return make


def _words(body: bytes) -> bytes:
    return body.replace(b"innocent", b"criminal")


def _extra(body: bytes) -> bytes:
    return body.replace(b"{", b'{"extra": "1", ', 1) if b"{" in body else body + b"&Extra=1"


def _doubled(body: bytes) -> bytes:
    if b"{" not in body:
        return body + b"&" + body.partition(b"&")[0] + b"0"
    name = body[body.index(b'"') :].partition(b":")[0]
    return body.replace(b"{", b"{" + name + b': "0", ', 1)


def _missing(body: bytes) -> bytes:
    if b"{" not in body:
        return body.partition(b"&")[2]
    first = body[body.index(b'"') :].partition(b",")[0]
    return body.replace(first + b",", b"", 1)


def _as_json(provider: StandIn, push: Push) -> Push:
    """The other kind of body under the proof of this one."""
    signed = provider.sign(push, provider.hook_url)
    is_json = signed.headers["Content-Type"] == JSON
    body = b"From=%2B15550000000&To=%2B15557654321&Body=x" if is_json else b'{"Body": "x"}'
    kind = {"Content-Type": FORM if is_json else JSON}
    return replace(signed, body=body, headers={**signed.headers, **kind})


def _at(age: float) -> Callable[[StandIn, Push], Push]:
    def make(provider: StandIn, push: Push) -> Push:
        return provider.sign(push, provider.hook_url, Signer(at=provider.clock() - age))

    return make


def _other_source(provider: StandIn, push: Push) -> Push:
    return replace(provider.sign(push, provider.hook_url), source=FOREIGN)


def _chained_source(provider: StandIn, push: Push) -> Push:
    """As if the provider had been a hop before the forger."""
    signed = provider.sign(push, provider.hook_url)
    return replace(signed, source=f"{signed.source}, {FOREIGN}")


FORGERIES = (
    Forgery("without proof", Covers.KEY, _unsigned),
    Forgery("with an empty proof", Covers.KEY, _with_proof(lambda proof: "")),
    Forgery("with a proof cut short", Covers.KEY, _with_proof(lambda proof: proof[:-4])),
    Forgery("with a proof of zeros", Covers.KEY, _with_proof(lambda proof: "0" * len(proof))),
    Forgery("with another account's key", Covers.KEY, _other_key),
    Forgery("by another algorithm", Covers.KEY, _other_algorithm),
    Forgery("for another address", Covers.ADDRESS, _other_address),
    Forgery("for the address without TLS", Covers.ADDRESS, _plain_address),
    Forgery("with other words", Covers.BODY, _with_body(_words)),
    Forgery("with one field more", Covers.BODY, _with_body(_extra)),
    Forgery("with a field twice", Covers.BODY, _with_body(_doubled)),
    Forgery("with one field less", Covers.BODY, _with_body(_missing)),
    Forgery("with another kind of body", Covers.BODY, _as_json),
    Forgery("from yesterday", Covers.TIME, _at(OLD)),
    Forgery("from tomorrow", Covers.TIME, _at(-OLD)),
    Forgery("from another address", Covers.SOURCE, _other_source),
    Forgery("from another address, as if by a proxy", Covers.SOURCE, _chained_source),
)
