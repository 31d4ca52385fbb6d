"""Transaction ids of our own sends to the homeserver, derived from what they are about.

A send that is repeated, after a lost answer or a crash, must carry the id that it had the first
time: then the homeserver does it once. So ids are never drawn at random; they are a digest of the
thing's name, which also keeps numbers and foreign identifiers out of URLs and logs.
"""

import hashlib


def txn_id(*parts: str) -> str:
    """The id for the effect named by these parts, in this order."""
    digest = hashlib.blake2b("\x1f".join(parts).encode("utf-8", "replace"), digest_size=16)
    return f"rb{digest.hexdigest()}"
