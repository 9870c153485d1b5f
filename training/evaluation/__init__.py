"""Evaluation: scoring a bundle, choosing alpha, comparing runs."""
