"""The catalog: the models folder, and which of its bundles are in service."""
