"""Evaluation: score bundles, choose alpha, compare runs."""
