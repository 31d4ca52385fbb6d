"""`make bench-media`: our media plane beside rtpengine and aiortc, on one load.

`engines` has the three behind one interface; `generator` is the process that plays both ends of
every call, `load` the caller's end of it; `analysis` reads loss and delay from what arrived.
"""
