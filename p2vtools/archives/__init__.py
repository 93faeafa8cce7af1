"""Capture folders, and the public archives: download, ShapeNet, Pix3D, published checkpoints."""
