"""Augmentation of whole chunks of images at once."""
