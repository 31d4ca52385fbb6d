"""Providers of texts as their documentation describes them, one module each, to run the bridge
against.

Nothing in here imports the bridge: how a provider signs, what it wants to hear, what it refuses and
when it tries again is written from its own pages, so that a mistake of ours in reading them shows.
"""
