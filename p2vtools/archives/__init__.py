"""The public archives: download, and reading of Pix3D."""
