"""Backbones: building them by name, loading weights into them, freezing parts of them."""
