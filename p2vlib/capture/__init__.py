"""Whatever makes a capture folder: feet and objects, photos of them, and the whole collection."""
