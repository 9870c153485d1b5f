"""Choosing alpha: on an uploaded archive, on feedback, or on traffic without labels."""
