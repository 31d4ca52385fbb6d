"""A media plane: WebRTC on one side, SDES-keyed SRTP on the other.

Start reading at `media.plane`, the seam; `media.session` is one call; `media.local` runs them in
worker processes.
"""
