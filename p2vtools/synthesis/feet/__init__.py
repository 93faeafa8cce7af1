"""Anatomical feet of a synthetic population."""
