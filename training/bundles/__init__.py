"""Bundles on disk: their folders, their model cards, and changes to existing ones."""
