"""The demonstration: the main job on real parts, shown to a person. `make demo` runs it."""
