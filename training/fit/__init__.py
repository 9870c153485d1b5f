"""Fit: make a bundle in minutes, from your own pictures and a frozen pretrained backbone."""
