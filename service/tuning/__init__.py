"""Choosing alpha on labelled pictures, feedback or traffic."""
