"""Capture folders, data sets in memory, the packed file, augmentation and archives."""
