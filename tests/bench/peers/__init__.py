"""One full call after another through other SIP user agents for Python, and through ours.

Each module is a program for an interpreter that has its peer installed; see `window`.
"""
