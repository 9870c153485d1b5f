"""Export: write a trained classifier as a bundle."""
