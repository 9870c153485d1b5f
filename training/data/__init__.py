"""Labelled images: reading class folders, cutting a long tail, keeping the pixels."""
