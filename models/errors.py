"""All errors of `models` as one tree, so that a caller can catch them as widely or narrowly as it needs.

    LongtailError
    ├── BundleError                 a folder that is not a valid bundle
    │   ├── ManifestError           manifest.json: not JSON, a missing or unknown key, a value out of its range
    │   ├── BundleMissingFileError  a file or folder is not there
    │   ├── BundleChecksumError     a file's sha256 differs from the manifest's, or the manifest does not list the file
    │   ├── BundleShapeError        head.safetensors: tensors missing, extra, or of a shape the manifest contradicts
    │   ├── BundleValueError        head.safetensors: NaN, infinity, or counts the manifest contradicts
    │   ├── BundleVersionError      a format version this code does not know
    │   ├── BundlePathError         a path that leaves the folder, or a folder that is not NAME/VERSION
    │   ├── BundleGraphError        model.onnx: not ONNX, or other inputs and outputs than the contract's
    │   ├── BundleExistsError       save_bundle would have to overwrite
    │   └── BundleUpdateError       a bundle that cannot be replaced where it lies
    ├── TuningError                 alpha cannot be chosen: an invalid objective or constraint, or unusable labels
    │   └── InfeasibleError         no alpha meets the constraints
    ├── ClassNameError              a value that cannot be the name of a class
    ├── ArchiveNamesError           file names of a zip in an encoding that it does not say
    ├── LabelledPathsError          folders of labelled pictures that cannot be read as classes and splits
    └── ImageError                  bytes that cannot become an image
        ├── UnreadableImageError    not an image, truncated, damaged, empty
        ├── UnsupportedImageError   an image of another format than JPEG, PNG and WebP
        └── ImageTooLargeError      more pixels than allowed

Each message is one sentence for a person; it says what is wrong, where, and what would work.
"""

__all__ = [
    "ArchiveNamesError",
    "BundleChecksumError",
    "BundleError",
    "BundleExistsError",
    "BundleGraphError",
    "BundleMissingFileError",
    "BundlePathError",
    "BundleShapeError",
    "BundleUpdateError",
    "BundleValueError",
    "BundleVersionError",
    "ClassNameError",
    "ImageError",
    "ImageTooLargeError",
    "InfeasibleError",
    "LabelledPathsError",
    "LongtailError",
    "ManifestError",
    "TuningError",
    "UnreadableImageError",
    "UnsupportedImageError",
]


class LongtailError(Exception):
    """Root of the tree."""


class BundleError(LongtailError):
    """The folder is not a valid bundle."""


class ManifestError(BundleError):
    """manifest.json does not say what the format asks for."""


class BundleMissingFileError(BundleError):
    """A file or folder is not there."""


class BundleChecksumError(BundleError):
    """A file is not the one the manifest lists, or the manifest does not list it."""


class BundleShapeError(BundleError):
    """The tensors of head.safetensors disagree with each other or with the manifest."""


class BundleValueError(BundleError):
    """A tensor holds NaN, infinity, or counts the manifest contradicts."""


class BundleVersionError(BundleError):
    """The bundle is of a format version this code does not know."""


class BundlePathError(BundleError):
    """A path leaves the bundle's folder, or the folder is not NAME/VERSION."""


class BundleGraphError(BundleError):
    """model.onnx is not ONNX, or has inputs or outputs that the bundle format does not allow."""


class BundleExistsError(BundleError):
    """Saving would overwrite something."""


class BundleUpdateError(BundleError):
    """The bundle cannot be replaced by its revision."""


class TuningError(LongtailError):
    """Alpha cannot be chosen from what was given."""


class InfeasibleError(TuningError):
    """No alpha meets the constraints."""


class ClassNameError(LongtailError):
    """The value cannot be the name of a class."""


class ArchiveNamesError(LongtailError):
    """The file names of a zip cannot be read: they are in an encoding that the zip does not say."""


class LabelledPathsError(LongtailError):
    """Folders of labelled pictures cannot be read as classes and splits."""


class ImageError(LongtailError):
    """The bytes cannot become an image."""


class UnreadableImageError(ImageError):
    """Not an image, or a truncated, damaged or empty one."""


class UnsupportedImageError(ImageError):
    """An image in an unsupported format."""


class ImageTooLargeError(ImageError):
    """More pixels than allowed."""
