"""Ringback: Matrix on one side, the telephone on the other.

Start reading at `bridge.app`, which builds everything, or at `bridge.call.call`, which is what it
is for.
"""
