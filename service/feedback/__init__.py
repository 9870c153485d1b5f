"""Feedback: the labels that clients send, the kept results they refer to, and the drift monitor."""
