"""The version of Longtail, the same as in pyproject.toml; a test compares them."""

__all__ = ["VERSION"]

VERSION = "0.5.0"
