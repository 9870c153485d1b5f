"""Augmentation of whole chunks of images at once, on any device."""
