"""The accounts at Asterisk, one for each way in which an office sets its trunks up."""

from tests.lab.asterisk import Account

# Known to both: Asterisk 16 is the measure of what may be said here.
OLD = (
    Account("alone"),  # registered and not, and registered again
    Account("first"),
    Account("second"),
    Account("third"),
    # Never registers: the PBX connects to us, and proves itself with the same password.
    Account("static", settings={"outbound_auth": "static"}),
    # Who calls whom, said and believed in several ways.
    Account("caller"),
    Account("called"),
    # Encrypted audio where the other side can, and none at all.
    Account("besteffort", settings={"media_encryption_optimistic": "yes"}),
    Account("plain", settings={"media_encryption": "no"}),
    # Digits beside the media, and as tones in the sound.
    Account("info", settings={"dtmf_mode": "info"}),
    Account("inband", settings={"dtmf_mode": "inband"}),
    # Provisional responses are reliable, or there is no call.
    Account("reliable", settings={"100rel": "required"}),
    # Sessions are refreshed, as often as is lawful.
    Account(
        "refreshed",
        settings={"timers": "always", "timers_min_se": "90", "timers_sess_expires": "90"},
    ),
    # A hold is handed on, not answered by the PBX.
    Account("held", settings={"moh_passthrough": "yes"}),
)

MODERN = (
    *OLD,
    Account("both", auth={"supported_algorithms_uas": "SHA-256,MD5"}),
    Account("sha256", auth={"supported_algorithms_uas": "SHA-256"}),
    # Refuses short session timers with 422.
    Account(
        "patient",
        settings={"timers": "yes", "timers_min_se": "3600", "timers_sess_expires": "7200"},
    ),
)
