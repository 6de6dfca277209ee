"""The dataset on disk: Parquet files, and a manifest that says all there is to know of them without opening one."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from dermaspark.errors import UserError
from dermaspark.storage import exists, is_directory, join, locate, read_bytes, read_json, write_json
from dermaspark.without_pixels import read_without_pixels

MANIFEST = "manifest.json"
PHOTOGRAPHS = "photographs"  # the rows, in split=/copy=/bucket= folders
UNREADABLE = "unreadable"  # a table of what was set aside, with the reason
LEFT_OUT = "left_out"  # a table of what the policy left out, with the reason
FEATURISER = "featuriser.npz"  # what the features were computed with, where there are any
ENTRIES = (MANIFEST, PHOTOGRAPHS, UNREADABLE, LEFT_OUT, FEATURISER)
FORMAT = 3
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class DataFile:
    """One Parquet file: one bucket of photographs, each in one copy."""

    path: str  # relative to the dataset
    split: str
    copy: int  # 0: the photographs themselves
    bucket: int
    rows: int
    bytes: int
    sha256: str
    sha256_without_pixels: str  # of all bytes but those of the pixels


@dataclass(frozen=True)
class Manifest:
    classes: list[str]  # a row's label is an index into it
    preprocessing: dict[str, Any]  # how bytes became pixels: the bundle carries it on
    augment: dict[str, Any]
    split: dict[str, Any]
    sources: dict[str, str]  # name to the full URL its photographs were read from
    columns: list[str]  # of the groups table, kept with every row
    counts: dict[str, int]  # photographs: found = train + val + test + left_out + unreadable
    class_counts: dict[str, dict[str, int]]  # photographs by split and class
    protocol: dict[str, Any]  # what the figures rest on
    files: list[DataFile]
    format: int = FORMAT

    @property
    def id(self) -> str:
        """A hash of what is in the dataset, whatever folder it lies in."""
        files = [asdict(file) for file in self.files]
        return digest({"classes": self.classes, "preprocessing": self.preprocessing, "files": files})

    @property
    def copies(self) -> int:
        """Copies of each training photograph, the unaugmented one included."""
        return 1 + max((file.copy for file in self.files), default=0)

    def of(self, split: str, copy: int = 0) -> list[DataFile]:
        return [file for file in self.files if file.split == split and file.copy == copy]


def digest(document: Any) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:32]


def write_manifest(url: str, manifest: Manifest) -> None:
    """The last act of preprocessing: from here on the folder is a dataset."""
    write_json(join(url, MANIFEST), {"id": manifest.id, **asdict(manifest)})


def read_manifest(url: str) -> Manifest:
    """Raises UserError where there is no whole dataset, or one of another format, or a path that leaves it."""
    if not is_directory(url):
        raise UserError(f"data.path={url}: no such folder; make a dataset with jobs/preprocess.py")
    if not exists(join(url, MANIFEST)):
        raise UserError(f"data.path={url}: no {MANIFEST}, so not a (whole) dataset; run jobs/preprocess.py")
    document = read_json(join(url, MANIFEST))
    try:
        identity = document.pop("id")
        manifest = Manifest(**{**document, "files": [DataFile(**file) for file in document["files"]]})
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(f"{join(url, MANIFEST)}: not a manifest of this version ({error}); preprocess again") from error
    if manifest.format != FORMAT:
        raise UserError(f"{join(url, MANIFEST)}: format {manifest.format}, this version reads {FORMAT}")
    for file in manifest.files:
        if file.path.startswith("/") or ".." in file.path.split("/") or ":" in file.path:
            raise UserError(f"{join(url, MANIFEST)}: the path {file.path!r} leaves the dataset")
    if manifest.id != identity:
        raise UserError(f"{join(url, MANIFEST)}: its contents do not match its id: it was changed; preprocess again")
    return manifest


def sweep(url: str, files: list[DataFile]) -> None:
    """Remove what workers that were killed left half-written beside the files of the dataset at `url`."""
    fs, root = locate(url)
    kept = {join(root, file.path) for file in files}
    for path in fs.find(join(root, PHOTOGRAPHS)):
        if path not in kept:
            fs.rm(path)


def check_size(url: str, file: DataFile) -> None:
    """Raises UserError where a file of the dataset at `url` is missing or cut short."""
    fs, path = locate(where := join(url, file.path))
    size = fs.size(path) if fs.exists(path) else None
    if size != file.bytes:
        found = "is missing" if size is None else f"has {size} bytes, not the manifest's {file.bytes}"
        raise UserError(f"{where}: {found}; preprocess again")


def check_content(url: str, file: DataFile) -> None:
    """Raises UserError where a file of the dataset at `url` is not the one that the manifest names."""
    check_size(url, file)
    fs, path = locate(join(url, file.path))
    with fs.open(path, "rb") as opened:
        _check_hash(hashlib.file_digest(opened, "sha256").hexdigest(), file.sha256, url, file)


def read_checked(url: str, file: DataFile, pixels: bool) -> Any:
    """The bytes of a file of the dataset at `url`, as a buffer; in place of its pixels anything, unless `pixels`.

    Raises UserError where what is read is not what the manifest names.
    """
    check_size(url, file)
    if pixels:
        data = read_bytes(join(url, file.path))
        _check_hash(hashlib.sha256(data).hexdigest(), file.sha256, url, file)
        return data
    try:
        rest, sha256 = read_without_pixels(join(url, file.path))
    except (ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno:  # the disk's, not pyarrow's
            raise
        rest, sha256 = None, ""  # no Parquet file, so not the one that was written
    _check_hash(sha256, file.sha256_without_pixels, url, file)
    return rest


def _check_hash(sha256: str, wanted: str, url: str, file: DataFile) -> None:
    if sha256 != wanted:
        raise UserError(f"{join(url, file.path)}: is not the file that the manifest names; preprocess again")
