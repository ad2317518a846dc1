"""Fashion-MNIST from local files or torchvision's download."""

import gzip
import hashlib
import tempfile
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from skymask.contracts import describes
from skymask.data.datasets.arrays import Arrays, DataError, check_size, failed_read, not_found

# SHA-256 of the uncompressed files: archives differ between distributors, the content does not
CONTENT = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}

LARGEST = 60_000 * 28 * 28 + 16
"""Unpacked size of the largest of the four files, in bytes: its images and a header."""


@describes(shape=(1, 28, 28), classes=10, train=60000, test=10000)
def fashion_mnist(folders: list[Path]) -> Arrays:
    """Read 60,000 training and 10,000 test images of 28 × 28 pixels, ten kinds of clothing.

    The content is checked against its SHA-256.  Source: Xiao et al., 2017 (arXiv 1708.07747).

    Args:
        folders: Folders to search for the four files, plain or gzipped, in the folder itself or in
            ``FashionMNIST/raw``; if none has them, torchvision downloads them into the first.

    Raises:
        DataError: The files are damaged, or missing and cannot be downloaded.
    """
    files = _find(folders) or _download(folders)
    arrays = [_read(name, files[name]) for name in CONTENT]
    train_images, train_labels, test_images, test_labels = arrays
    return Arrays(
        train_images[:, None],
        train_labels.astype(np.int64),
        test_images[:, None],
        test_labels.astype(np.int64),
        10,
        255.0,
    )


def _find(folders: list[Path]) -> dict[str, Path] | None:
    for folder in folders:
        for place in (folder, folder / "FashionMNIST" / "raw"):
            candidates = {
                name: [path for path in (place / name, place / f"{name}.gz") if path.is_file()]
                for name in CONTENT
            }
            if all(candidates.values()):
                return {name: paths[0] for name, paths in candidates.items()}
    return None


def _download(folders: list[Path]) -> dict[str, Path]:
    from skymask.data.datasets.vision import FashionMNIST

    try:
        FashionMNIST(str(folders[0]), download=True)
    except (OSError, RuntimeError) as error:
        files = f"Put its four files ({', '.join(CONTENT)}; plain or .gz)"
        missing = not_found("Fashion-MNIST", folders, files, str(error))
        raise DataError(f"{missing} On Debian: apt-get install dataset-fashion-mnist") from error
    downloaded = _find(folders[:1])
    if downloaded is None:
        raise DataError(f"torchvision's download left no Fashion-MNIST files in {folders[0]}")
    return downloaded


def _read(name: str, path: Path) -> npt.NDArray[np.uint8]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise failed_read(path, error, f"cannot be unpacked ({error}): replace it") from error
    check_size(path, name, len(content), LARGEST)
    digest = hashlib.sha256(content).hexdigest()
    if digest != CONTENT[name]:
        raise DataError(
            f"{path} is not the Fashion-MNIST file {name}: its content has the SHA-256 {digest}, "
            f"not {CONTENT[name]}. Replace it, or take its folder out of the search path"
        )
    from skymask.data.datasets.vision import read_idx

    with tempfile.NamedTemporaryFile() as plain:
        plain.write(content)
        plain.flush()
        values: npt.NDArray[np.uint8] = read_idx(plain.name).numpy()
    return values
