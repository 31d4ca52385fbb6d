"""A sans-IO SIP user agent for one trunk (RFC 3261), and below `sip.io` its driver on asyncio."""
