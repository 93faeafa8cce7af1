"""Colours: sRGB and linear RGB at values that were worked out by hand."""

from __future__ import annotations

import numpy as np

from p2vtools.synthesis.colours import linear_to_srgb, monk_tone, srgb_to_linear


def test_srgb_matches_values_worked_out_by_hand():
    srgb = linear_to_srgb(np.array([0.0, 0.002, 0.18, 1.0, 7.0]))
    np.testing.assert_allclose(srgb, [0, 0.02584, 0.4613, 1, 1], atol=1e-4)
    np.testing.assert_allclose(srgb_to_linear(srgb), [0, 0.002, 0.18, 1, 1], atol=1e-12)


def test_a_skin_tone_lies_between_its_neighbours():
    # The last two tones are 3a312a and 292420; 0x3a = 58 and 0x29 = 41.
    red = [((value / 255 + 0.055) / 1.055) ** 2.4 for value in (58, 41)]
    np.testing.assert_allclose(monk_tone(8.25)[0], 0.75 * red[0] + 0.25 * red[1], rtol=1e-9)
