"""The plain lines that we say in rooms: one table, so that they read as if one person wrote them.

A line is said only where the user would otherwise wonder. Clients show "declined" and "ended" by
themselves; what they cannot know is what the phone network answered.
"""

from bridge.call.events import EndReason
from bridge.matrix.file import show_octets
from bridge.numbers import PhoneNumber
from bridge.routing import Remote
from media.plane import AudioLost, Side
from sip.identity import Verstat

_TURN_ON = "Its administrator can turn SRTP with SDES on for this account."

# Why a call to `{number}` over trunk `{trunk}` ended. What is not here needs no words.
_CALL_OUT = {
    EndReason.BUSY: "{number} is busy.",
    EndReason.DECLINED: "{number} declined the call.",
    EndReason.NO_ANSWER: "{number} did not answer.",
    EndReason.UNKNOWN_NUMBER: "{number} is not in service, or the number is incomplete.",
    # A PBX says the same for both (403 with cause 21).
    EndReason.NOT_ALLOWED: (
        "{number} declined the call, or the phone system does not allow it{said}."
    ),
    EndReason.FORWARDED: (
        "{number} is forwarded to another number{said}, where this phone line does not follow."
    ),
    EndReason.UNAVAILABLE: "{number} cannot be reached at the moment.",
    EndReason.TRUNK_DOWN: "The phone line “{trunk}” is in trouble{said}. Please try again later.",
    EndReason.NO_SRTP: (
        "The phone system did not offer encrypted audio (SRTP), so the call was not connected. "
        f"{_TURN_ON}"
    ),
    EndReason.MEDIA_INCOMPATIBLE: (
        "The phone system and the bridge could not agree on encrypted audio{said}."
    ),
    EndReason.MEDIA_FAILED: "The call was lost: no audio could pass{said}.",
    EndReason.TOO_LONG: "The call ended because no call may last for more than four hours.",
    EndReason.SHUTDOWN: "The call ended because the bridge is being restarted.",
    EndReason.ERROR: "The call failed{said}.",
}

# The same for an answered call: what would be odd to say then is left out.
_AFTER_ANSWER = (
    EndReason.TRUNK_DOWN,
    EndReason.NO_SRTP,
    EndReason.MEDIA_INCOMPATIBLE,
    EndReason.MEDIA_FAILED,
    EndReason.TOO_LONG,
    EndReason.SHUTDOWN,
    EndReason.ERROR,
)

# How a call that was taken may be lost; the last two when the trunk answers an offer of ours.
_LOST = (
    EndReason.MEDIA_FAILED,
    EndReason.ERROR,
    EndReason.TRUNK_DOWN,
    EndReason.MEDIA_INCOMPATIBLE,
    EndReason.NO_SRTP,
)

_MISSED = (
    EndReason.CANCELLED,
    EndReason.NO_ANSWER,
    EndReason.UNAVAILABLE,
    EndReason.MATRIX_DOWN,
    EndReason.HANGUP,
    EndReason.SHUTDOWN,
    EndReason.TRUNK_DOWN,
)


def call_out_ended(
    reason: EndReason, number: PhoneNumber, trunk: str, said: str, *, answered: bool
) -> str | None:
    """What to say when a call to a phone has ended; None for nothing.

    Args:
        said: words of the phone system or of the media plane.
    """
    if answered and reason not in _AFTER_ANSWER:
        return None
    line = _CALL_OUT.get(reason)
    if line is None:
        return None
    told = f" ({said})" if said else ""
    return line.format(number=number.show(), trunk=trunk, said=told)


def checked(verstat: Verstat | None) -> str:
    """What the phone network found about a number, for the middle of a sentence: in front of what
    the caller says of itself, where nobody can imitate it."""
    if verstat is None:
        return ""
    if verstat.vouches_for_number:
        return " (number verified)"
    return " (the number may be forged)" if verstat is Verstat.FAILED else ""


def caller_comes(remote: Remote) -> str | None:
    """What to say of a call from a phone while it rings; None for nothing."""
    told = []
    if remote.forwarded_by is not None:
        by = remote.forwarded_by
        told.append(f"Call forwarded{'' if by.is_anonymous else f' from {by.show()}'}.")
    if remote.verstat is Verstat.FAILED:
        told.append(_FORGED.format(what="call"))
    return " ".join(told) or None


def stranger_calls(caller: str) -> str:
    """What to say of a call that rings in the room of withheld numbers, while it rings."""
    return (
        f"{caller} calls. It rings here because several new numbers came within a minute; “call "
        "NUMBER”, told the bot, opens a room for this one."
    )


def sender_comes(remote: Remote) -> str | None:
    """What to say in front of a text from a phone; None for nothing."""
    return _FORGED.format(what="text") if remote.verstat is Verstat.FAILED else None


_FORGED = (
    "Careful: the phone network could not confirm that the {what} comes from this number. It may "
    "be forged."
)


def call_in_ended(
    reason: EndReason, caller: str, said: str, *, answered: bool, mark: str = ""
) -> str | None:
    """What to say to a called user when a call from a phone has ended; None for nothing.

    Args:
        mark: what the network found about the caller's number, from `checked`.
    """
    if answered:
        if reason in (EndReason.TOO_LONG, EndReason.SHUTDOWN):
            return _CALL_OUT[reason]
        if reason in _LOST:
            return f"The call was lost{f' ({said})' if said else ''}."
        return None
    if reason in _MISSED:
        return f"Missed call{mark} from {caller}."
    if reason is EndReason.NO_SRTP:
        return (
            f"A call{mark} from {caller} was not connected, because the phone system did not offer "
            f"encrypted audio (SRTP). {_TURN_ON}"
        )
    if reason in (EndReason.MEDIA_FAILED, EndReason.MEDIA_INCOMPATIBLE, EndReason.ERROR):
        return f"A call{mark} from {caller} could not be connected{f' ({said})' if said else ''}."
    return None


# What the state of a line says of its trunk's `insecure_rtp`.
CLEAR: dict[str | None, str] = {
    "fallback": "; calls may be unencrypted toward the phone system",
    "only": "; calls are not encrypted toward the phone system",
}
UNENCRYPTED = (
    "Careful: this call is not encrypted between the bridge and the phone system. Whoever is on "
    "the way there can listen."
)

DIGITS_REFUSED = (
    "The phone system does not take the keys that you press. Whoever runs the bridge may try "
    "`digits: media` for its trunk."
)

_AUDIO_LOST = {
    (Side.SDES, False): "Nothing is heard from the phone any more.",
    (Side.SDES, True): "The phone does not hear you any more.",
    (Side.WEBRTC, False): "The phone does not hear you: nothing comes from your device any more.",
    (Side.WEBRTC, True): "Your device cannot be reached any more, and does not hear the phone.",
}


def audio_lost(what: AudioLost) -> str:
    """What to say when no sound passes in an answered call, which goes on."""
    return f"{_AUDIO_LOST[what.side, what.outward]} The call waits half a minute for it to change."


# Why the phone system did not transfer a call to `{number}`, where the words for a call do not fit.
_NOT_TRANSFERRED = {
    EndReason.TRUNK_DOWN: "the phone system is in trouble ({said})",
    EndReason.MEDIA_INCOMPATIBLE: "the two phones have no common audio",
    EndReason.ERROR: "the phone system says {said}",
}

TRANSFER_NOTHING = "You have no answered call that could be transferred."
TRANSFER_SEVERAL = (
    "You have several calls. Say “!transfer {words}” in the room of the one you mean."
)
TRANSFER_NEEDS_TWO = (
    "Say: transfer NUMBER. Without a number I join your two calls; there must be two on one line."
)
TRANSFER_UNDER_WAY = "This call is being transferred already."
TRANSFER_RINGS = "{number} is ringing."
TRANSFERRED = "The call was transferred to {number}."
TRANSFER_TAKEN = (
    "The phone system took over the transfer to {number}, and does not say what became of it."
)


def transferring(number: PhoneNumber) -> str:
    return f"Transferring to {number.show()} …"


def not_transferred(reason: EndReason, number: PhoneNumber, said: str) -> str:
    """What to say when the phone system did not transfer a call, which goes on.

    Args:
        said: status and words of the phone system.
    """
    lines = _CALL_OUT | _NOT_TRANSFERRED
    line = lines.get(reason, lines[EndReason.ERROR])
    why = line.format(number=number.show(), trunk="", said=said).removesuffix(".")
    return f"The call was not transferred: {why}."


def voice_messages(count: int | None, trunk: str, account: str) -> str:
    """What to say when new voice messages wait.

    Args:
        count: how many; None if the phone system does not say.
        account: where to call to hear them, "" if it does not say.
    """
    many = {None: "New voice messages", 1: "1 new voice message"}.get(count)
    where = f" Call {account} to hear them." if account else ""
    return f"{many or f'{count} new voice messages'} on the phone line “{trunk}”.{where}"


def answered_elsewhere(caller: str, user: str) -> str:
    return f"{user} answered the call from {caller}."


def message_refused(status: int, said: str) -> str:
    """Why a phone system did not take a text, from the status of its answer to MESSAGE."""
    return {
        404: "the number is unknown",
        403: "the phone system does not allow it",
        405: "the phone system does not take texts",
        415: "the phone system does not take this kind of text",
        480: "the number cannot be reached at the moment",
        486: "the number is busy",
        501: "the phone system does not take texts",
        503: "the phone line is down",
        513: "the text is too long",
    }.get(status, said or f"the phone system said {status}")


# A receipt says that a text was lost after it was taken (RFC 5438 has no reason).
LOST = "the phone system could not pass it on"
DATABASE_AWAY = "the bridge's own database is away"


def text_refused(number: PhoneNumber, why: str) -> str:
    return f"Not delivered to {number.show()}: {why}."


def text_waits(number: PhoneNumber, why: str, minutes: int) -> str:
    return (
        f"Not sent to {number.show()} yet: {why}. It is tried again for {minutes} minutes, and you "
        "are told if it cannot be sent."
    )


def text_too_long(length: int, longest: int) -> str:
    return f"Not sent: the text has {length} characters, and no more than {longest} can be sent."


def text_in_parts(parts: int, most: int) -> str:
    return (
        f"Not sent: the text would take {parts} messages, each of which costs, and no more than "
        f"{most} are allowed."
    )


def text_costs(parts: int) -> str:
    return (
        f"Not sent yet: this text takes {parts} messages, each of which costs. React to it with "
        "🔁, and it is sent; edit it, and it may take fewer."
    )


def group_text(sender: str, others: tuple[str, ...]) -> str:
    return (
        f"This text went to a group: {', '.join(others)} have it too. What you answer here goes to "
        f"{sender} alone."
    )


GROUP_TOPIC = "A group text: what you write here goes to all of these numbers."
GROUP_CALLED = "A group cannot be called; each of its members can, in a room of their own."
NO_GROUP_TEXTS = "Not sent: texts of this line go to one number each, and not to groups."


def attachment(url: str, why: str) -> str:
    return f"A picture or file came with this text and cannot be shown here ({why}): {url}"


def file_too_large(octets: int, most: int) -> str:
    return f"the file has {show_octets(octets)}, and no more than {show_octets(most)} can be sent"


def file_unreadable(why: str) -> str:
    return f"the file cannot be sent ({why})"


def file_refused(why: str) -> str:
    return f"Not sent: {why}."


def with_link(caption: str, url: str) -> str:
    """A text in the place of a file."""
    return f"{caption}\n{url}" if caption.strip() else url


def text_sent(number: PhoneNumber) -> str:
    return f"Sent to {number.show()}."


def text_in_doubt(number: PhoneNumber) -> str:
    return (
        f"This text may not have reached {number.show()}: no answer came. "
        "It is not sent again by itself, so that it does not arrive twice, but it is if you react "
        "to it with 🔁."
    )


def not_again(state: str) -> str:
    """Why a text is not sent again.

    Args:
        state: as in `OutgoingText`, or "gone" for one that is not kept any more.
    """
    return {
        "waiting": "This text waits already, and leaves as soon as it can.",
        "sending": "This text is leaving just now.",
        "sent": "This text was sent already.",
        "delivered": "This text was delivered already.",
        "withdrawn": "You have taken this text back.",
    }.get(state, "This text is not kept any more: please write it again.")


AGAIN_IN_DOUBT = "Sending it again. If the first one did arrive after all, there are two now."
NOTHING_TO_RETRY = "There is no text here that failed."
CHANGED = "Changed, but not sent: react to it with 🔁, and it leaves as it is now."
NO_WAY_BACK = "A text cannot be taken back from the phone: what was sent is sent."


def code_topic(number: PhoneNumber) -> str:
    """The topic of the room of a sender that is no phone."""
    if number.text.isdigit():
        return "A short number: it cannot be called, and takes answers only if its owner wants."
    return "This sender is a name and no number: it can be neither answered nor called."


STOPPED = (
    "This number wants no more texts (STOP): what you write here is not sent until it says START."
)
STARTED = "This number takes texts again (START)."
NOTHING_FOLDED = "No texts are kept here that you have not seen."
MORE_WHERE = "Say “!more” in the room of the number."


def folded(count: int, number: PhoneNumber) -> str:
    texts = "1 more text" if count == 1 else f"{count} more texts"
    return f"{texts} from {number.show()} came in a short time. Say “!more” here to read them."


def unfolded(left: int) -> str:
    return f"{left} more are kept: say “!more” again for the next." if left else "That is all."


EMPTY_TEXT = "A text without any words cannot be sent."


TRUNK_DOWN = (
    "The phone line “{trunk}” is down: {text}. Calls and texts cannot pass until it is back."
)
TRUNK_UP = "The phone line “{trunk}” is back."
ROAD_DOWN = (
    "The texts of “{road}” cannot be fetched: {text}. Those that are waiting there come when it is "
    "back."
)
ROAD_UP = "The texts of “{road}” are fetched again."

NO_ENCRYPTION = "Encrypted rooms are not supported yet."


def encrypted(number: PhoneNumber, bot: str) -> str:
    """What to say in the room of a number that is encrypted, before leaving it."""
    words = (
        "This room is encrypted, and encrypted rooms are not supported yet: nothing that you say "
        "or call here reaches the phone, so I leave. The next call or text makes a new room"
    )
    if number.is_anonymous or number.is_group:
        return f"{words}."
    return (
        f"{words}; or open a chat with this contact and turn encryption off for it, or tell {bot}: "
        f"call {number}"
    )


NOT_A_TEXT = "Only words, pictures, sounds, films and files can be sent to a phone."
# Why a file is not sent; said after "Not sent: ".
WORDS_ONLY = "texts of this line carry words only"
NO_PUBLIC_ADDRESS = (
    "the provider fetches files by itself, and this bridge has no address where it could (`hooks`)"
)
KIND_NOT_CARRIED = "texts of this line do not carry this kind of file"
FILE_UNREADABLE = "A file was not sent: its message does not say properly where it is."
NO_GROUPS = "A phone number can only be in a direct chat with one person."
NOT_A_USER = (
    "You are not a user of any phone line here. The administrator of the bridge can add you."
)


def line_gone(name: str) -> str:
    return (
        f"The line “{name}” of this room does not exist any more. Tell the bot “call NUMBER” for a "
        "room on a line that you have."
    )


def line_down(trunk: str, why: str) -> str:
    """Why a call cannot be made while its trunk is down."""
    return f"The phone line “{trunk}” is down: {why}."


STOPPING = "The bridge is being restarted. Please try again in a moment."
TOO_MANY = "Too many calls are going on at the moment. Please try again later."
NO_EDITS = "An edit changes nothing on the phone: what was sent is sent."
BOT_WELCOME = (
    "Hello! I connect you with the telephone. Say “help” for what I can do, or open a chat with a "
    "number and call."
)
BOT_CALLED = "You cannot call me. Say “call NUMBER”, and I open a room where you can call a number."
BOT_ENCRYPTED = (
    "I cannot read encrypted messages yet, so I leave. Please open a new chat with me and turn "
    "encryption off for it."
)


def not_shown(reason: str) -> str:
    return f"A text came here that the homeserver does not take ({reason}). Its sender has it."
