"""What a model is: the α arithmetic, the bundle on disk, the image recipe. See README.md beside this file."""

__all__: list[str] = []
