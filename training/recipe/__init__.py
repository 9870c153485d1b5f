"""Recipes: everything that decides a result besides the data and the seed."""
