"""Public archives: ShapeNet with its R2N2 renderings, and Pix3D."""
