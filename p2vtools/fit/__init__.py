"""From photos to a foot, its measures in millimetres and its shoe size."""
