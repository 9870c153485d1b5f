"""Data sets: reading labelled pictures, splitting them, cutting a long tail, decoding and augmenting."""
