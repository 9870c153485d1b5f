"""Feedback: labels that come back, the results they refer to, and drift."""
