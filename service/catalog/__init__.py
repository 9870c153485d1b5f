"""The models folder: what lies in it, what of that to serve, how a bundle becomes a model in service."""
