"""Export: a trained classifier becomes a bundle."""
