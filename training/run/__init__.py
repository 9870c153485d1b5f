"""One training run, from the first step to the last checkpoint."""
