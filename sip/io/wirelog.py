"""What of a message may be written to the log `sip.wire` (DEBUG only).

Never a secret: Authorization and Proxy-Authorization lose their value, SDP lines that carry keys
lose the key. A body that is not SDP is somebody's text and is replaced by its length.
"""

import re

_HIDDEN = "(not shown)"
_CREDENTIALS = re.compile(
    r"^((?:proxy-)?authorization)[ \t]*:[^\r\n]*(?:\r?\n[ \t][^\r\n]*)*",
    re.IGNORECASE | re.MULTILINE,
)
_CONTENT_TYPE = re.compile(
    r"^(?:content-type|c)[ \t]*:[ \t]*([^\s;]+)", re.IGNORECASE | re.MULTILINE
)
# RFC 4568 §9.1, RFC 4567 §3.1, RFC 8866 §5.12, RFC 8839 §5.4.
_KEYS = re.compile(
    r"^(a=crypto:[^\s]*[ \t]+[^\s]+|a=key-mgmt:[^\s]+|k=[^:\r\n]*|a=ice-pwd)[^\r\n]*",
    re.IGNORECASE | re.MULTILINE,
)


def shown(message: bytes) -> str:
    """Make the text of `message` that may be logged."""
    head, _, body = message.partition(b"\r\n\r\n")
    lines = _CREDENTIALS.sub(rf"\1: {_HIDDEN}", head.decode("utf-8", "replace"))
    if not body:
        return lines
    found = _CONTENT_TYPE.search(lines)
    kind = found.group(1).lower() if found else "unknown type"
    if kind != "application/sdp":
        return f"{lines}\n\n({len(body)} octets of {kind})"
    sdp = _KEYS.sub(rf"\1 {_HIDDEN}", body.decode("utf-8", "replace"))
    return f"{lines}\n\n{sdp}"
