"""How calls sound on bad networks; see `__main__`."""
