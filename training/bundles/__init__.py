"""Bundles on disk: which folder is one, its model card, changes to one that exists."""
