"""Synthetic data: feet, objects, photos of them, and the whole collection."""
