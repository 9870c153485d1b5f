"""The recipes, one file per result."""
