"""One file per result."""
