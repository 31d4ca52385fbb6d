"""The lab: real peers for the bridge on one machine, loopback only, every port picked at start.

A homeserver (Synapse), a PBX (Asterisk), a browser (Chromium with a page around matrix-js-sdk) and
a second telephone (baresip). `setup` installs them; each other module runs one of them as a class
with `start()` and `stop()`.
"""
