"""p2vlib: from a few phone photos to a solid 3-D foot, and the study that measures how well each network does it."""

__version__ = "0.1.0"
