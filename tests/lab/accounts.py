"""The PBX's accounts in the lab: one for each thing that a trunk can be."""

from tests.lab.asterisk import Account

OFTEN = {"qualify_frequency": "20"}

ACCOUNTS = (
    # The bridge's, each the trunk of another line.
    Account("ringback", aor=OFTEN),
    Account("office"),
    Account("late"),
    Account("short"),
    Account("opus", codecs="opus"),
    Account("g722", codecs="g722"),
    Account("pcma", codecs="alaw"),
    Account("pcmu", codecs="ulaw"),
    # Without telephone-events: digits are tones in the sound, or INFO requests.
    Account("inband", codecs="ulaw", settings={"dtmf_mode": "inband"}),
    Account("info", codecs="ulaw", settings={"dtmf_mode": "info"}),
    Account("tag32", codecs="ulaw", settings={"srtp_tag_32": "yes"}),
    Account(
        "sha256",
        auth={"supported_algorithms_uas": "SHA-256", "supported_algorithms_uac": "SHA-256"},
    ),
    Account("clear", codecs="ulaw", settings={"media_encryption": "no"}),
    # Without SRTP: calls placed through it to somebody else's contact arrive as plain RTP.
    Account("plain", settings={"media_encryption": "no"}),
    # Telephones.
    Account("alice"),
    Account("bob"),
)
