"""What a model is: the α arithmetic, the bundle on disk, the image recipe.

The specification is docs/reference/bundle-format.md.
"""

__all__: list[str] = []
