"""Frames, solid voxel grids, cameras and projection."""
