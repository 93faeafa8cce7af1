"""Captures in memory, the packed file and augmentation."""
