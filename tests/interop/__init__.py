"""Our user agent against other people's: Asterisk of today and of old, Kamailio, baresip, SIPp.

What was tried and what happened is told in docs/interop.md, a row for each test. The servers are
the lab's (tests/lab), without its homeserver and browser.
"""
