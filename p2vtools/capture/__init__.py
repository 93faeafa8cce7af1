"""From a person with a phone and a printer to a capture folder."""

APPS = ("polycam", "scannerapp", "record3d", "nerfstudio", "colmap")
"""Whose exports `exports` reads."""
