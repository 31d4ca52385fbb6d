from bridge.voicemail import Voicemail
from sip.events import MessagesWaiting
from sip.uri import Uri


def said(new: int | None, old: int = 0, *, waiting: bool | None = None) -> MessagesWaiting:
    return MessagesWaiting(bool(new) if waiting is None else waiting, None, new, old)


def test_users_hear_of_new_messages_once_for_each_that_comes() -> None:
    voicemail = Voicemail()
    news = [voicemail.news("home", said(new)) for new in (0, 1, 1, 3, 2, 0, 1)]
    one = "1 new voice message on the phone line “home”."
    assert news == [
        None,
        one,
        None,
        "3 new voice messages on the phone line “home”.",
        None,
        None,
        one,
    ]


def test_trunks_are_told_apart() -> None:
    voicemail = Voicemail()
    assert voicemail.news("home", said(1)) is not None
    assert voicemail.news("office", said(1)) is not None


def test_a_mailbox_without_numbers_is_news_too() -> None:
    voicemail = Voicemail()
    text = voicemail.news("home", said(None, waiting=True))
    assert text == "New voice messages on the phone line “home”."
    assert voicemail.news("home", said(None, waiting=True)) is None
    assert voicemail.news("home", said(None, waiting=False)) is None
    assert voicemail.news("home", said(None, waiting=True)) == text


def test_where_to_hear_them_is_said_if_it_is_known() -> None:
    event = MessagesWaiting(True, Uri("sip", "*97", "pbx.example.org"), 2, 0)
    text = Voicemail().news("home", event)
    assert text == "2 new voice messages on the phone line “home”. Call *97 to hear them."
