"""Colours of rendered photos: conversion between sRGB and linear RGB, skin tones, random colours."""

from __future__ import annotations

import colorsys

import numpy as np
from jaxtyping import Float

Colour = Float[np.ndarray, "3"]
"""Linear RGB."""

MONK_TONES = ["f6ede4", "f3e7db", "f7ead0", "eadaba", "d7bd96", "a07e56", "825c43", "604134", "3a312a", "292420"]
"""The Monk Skin Tone scale (E. Monk, 2022), light to dark, as sRGB."""


def srgb_to_linear(srgb: np.ndarray) -> np.ndarray:
    """sRGB in [0, 1] to linear light in [0, 1] (IEC 61966-2-1)."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(linear: np.ndarray) -> np.ndarray:
    """Linear light in [0, 1] to sRGB in [0, 1] (IEC 61966-2-1)."""
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def monk_tone(position: float) -> Colour:
    """The tone at ``position`` in `MONK_TONES`, interpolated between two neighbours."""
    tones = srgb_to_linear(np.array([[int(tone[i : i + 2], 16) / 255 for i in (0, 2, 4)] for tone in MONK_TONES]))
    return np.array([np.interp(position, np.arange(len(tones)), channel) for channel in tones.T])


def any_colour(rng: np.random.Generator, darkest: float = 0.03, brightest: float = 0.85) -> Colour:
    """A colour of random brightness (linear, uniform in its square root), hue and mostly low saturation."""
    value = rng.uniform(np.sqrt(darkest), np.sqrt(brightest)) ** 2
    saturation = rng.beta(0.9, 2.0)
    hue = np.clip(np.abs((rng.uniform() * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    return value * (1 - saturation * (1 - hue) ** 1.2)


def saturated_colour(rng: np.random.Generator, darkest: float = 0.3) -> Colour:
    """A saturated colour of any hue."""
    return np.array(colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.6, 1), rng.uniform(darkest, 0.95))) ** 2.2
