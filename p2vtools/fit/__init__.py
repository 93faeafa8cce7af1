"""From photos to a foot, its measurements in millimetres and its shoe size."""
