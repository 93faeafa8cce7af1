"""Capture folders, captures in memory, the packed file, augmentation and the ShapeNet archive."""
