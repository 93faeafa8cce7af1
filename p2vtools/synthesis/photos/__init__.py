"""Rendered photos: trajectories, floors, light, lens and sensor."""
