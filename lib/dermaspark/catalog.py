"""Finding photographs and labelling them by their folders: a table of names, before any of them is read."""

import logging
import os
import posixpath
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from typing import Any

import pandas as pd
import pyarrow as pa
from fsspec import AbstractFileSystem
from pyspark.sql import DataFrame, SparkSession

from dermaspark.errors import UserError
from dermaspark.photo_file import EXTENSIONS
from dermaspark.sparing import spared
from dermaspark.storage import is_directory, join, locate, resolve

log = logging.getLogger("dermaspark")

# `kind` is 'photograph', 'other' (no file that we read) or 'misnamed' (its name is not UTF-8: no table can hold it).
SCHEMA = "id string, path string, source string, image_id string, given_split string, class_name string, kind string"
ROWS_PER_BATCH = 10_000


@dataclass(frozen=True)
class ClassFolder:
    """One folder of photographs of one class."""

    source: str
    root: str  # the source's full URL
    url: str
    given_split: str  # 'train' or 'test', as the source's Train and Test folders say
    class_name: str


def sources(path: Any) -> dict[str, str]:
    """Source names and full URLs of `input.path`: a folder, a list of folders or {name: folder}.

    Raises:
        UserError: a folder that is not there, or two sources of one name.
    """
    if isinstance(path, dict):
        named = [(str(name), resolve(str(folder))) for name, folder in path.items()]
    else:
        urls = [resolve(str(folder)) for folder in (path if isinstance(path, list) else [path])]
        named = [(posixpath.basename(url.rstrip("/")) or "root", url) for url in urls]
    result: dict[str, str] = {}
    for name, url in named:
        if "/" in name:
            raise UserError(f"input.path: a source can't be named {name}: it has a slash")
        if name in result:
            raise UserError(f"input.path: two sources are named {name}; name them: input.path={{a: ..., b: ...}}")
        if not is_directory(url):
            raise UserError(f"input.path={url}: no such folder")
        result[name] = url
    if not result:
        raise UserError("input.path: names no folder")
    return result


def class_folders(named: dict[str, str]) -> list[ClassFolder]:
    """The class folders of every source: `Train/<class>` and `Test/<class>`, or `<class>` alone.

    Raises:
        UserError: a source without class folders.
    """
    found: list[ClassFolder] = []
    for source, root in named.items():
        top = _folders(root)
        splits = {name: name.lower() for name in top if name.lower() in ("train", "test")}
        roots = [(join(root, name), split) for name, split in splits.items()] or [(root, "train")]
        here = [
            ClassFolder(source, root, join(url, name), split, name) for url, split in roots for name in _folders(url)
        ]
        if not here:
            raise UserError(f"input.path={root}: no class folders (Train/<class>/, Test/<class>/ or <class>/)")
        found += here
    return found


def find(spark: SparkSession, folders: list[ClassFolder]) -> DataFrame:
    """Every file below the class folders, listed by the executors; columns as in `SCHEMA`.

    `id` is the source's name and the path relative to the source; `path` the full URL.
    """
    table = spark.createDataFrame(pa.Table.from_pylist([asdict(folder) for folder in folders]))

    def list_folders(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            for folder in batch.itertuples(index=False):
                yield from file_rows(folder.url, partial(_labelled, folder))

    # Several folders in a task: on one machine a task takes longer than the listing of a folder.
    tasks = min(len(folders), 2 * spark.sparkContext.defaultParallelism)
    return table.repartition(tasks).mapInPandas(spared(list_folders), SCHEMA)


def path_of(key: str, named: dict[str, str]) -> str:
    """The full URL of the photograph that `find` gave this id in these `sources`."""
    source, slash, below = key.partition("/")
    return named[source] + slash + below


def class_names(counts: dict[tuple[str, str], int]) -> list[str]:
    """The classes in order: every class with training photographs, sorted by name.

    Args:
        counts: photographs by (given split, class).

    Raises:
        UserError: nothing to train on, or a class that Test has and Train lacks.
    """
    trained = sorted({name for (split, name), n in counts.items() if split == "train" and n})
    for (split, name), n in sorted(counts.items()):
        if split == "test" and n and name not in trained:
            raise UserError(f"class {name!r}: Test has {n} photographs of it and Train has none; add some or remove it")
    if len(trained) < 2:
        raise UserError(f"input.path: training photographs of {len(trained)} class(es); at least two are needed")
    return trained


def _folders(url: str) -> list[str]:
    """Names of the folders in a folder, sorted, hidden ones left out."""
    fs, path = locate(url)
    names = [posixpath.basename(e["name"].rstrip("/")) for e in fs.ls(path, detail=True) if fs.isdir(e["name"])]
    return sorted(name for name in names if not name.startswith("."))


def file_rows(url: str, columns: Callable[[str], dict[str, Any]]) -> Iterator[pd.DataFrame]:
    """Every file at or below `url` in tables of bounded size: `columns` of its full URL, and its `kind`."""
    rows = ({**columns(path), "kind": kind} for path, kind in _kinds(url))
    while chunk := list(islice(rows, ROWS_PER_BATCH)):
        yield pd.DataFrame(chunk)


def _labelled(folder: Any, path: str) -> dict[str, Any]:
    return {
        "id": f"{folder.source}{path[len(folder.root) :]}",
        "path": path,
        "source": folder.source,
        "image_id": posixpath.splitext(posixpath.basename(path))[0],
        "given_split": folder.given_split,
        "class_name": folder.class_name,
    }


def _kinds(url: str) -> Iterator[tuple[str, str]]:
    """Full URL (with escapes where it is not UTF-8) and kind of every file that is not hidden, nor below what is."""
    for path in _walk(url):
        if "/." in path[len(url) :] or posixpath.basename(path).startswith("."):
            continue
        kind = "photograph" if posixpath.splitext(path)[1][1:].lower() in EXTENSIONS else "other"
        readable = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        yield readable, "misnamed" if readable != path and kind == "photograph" else kind


def _walk(url: str) -> Iterator[str]:
    """Full URLs of a file, or of all files below a folder, as they come: one folder's names in memory at a time.

    Raises:
        UserError: what is there can't be listed, or this machine does not see it.
    """
    fs, root = locate(url)
    local = url.startswith("file://")  # what fsspec does around it takes longer than listing a local folder
    try:
        if not fs.isdir(root) and (os.path.lexists(root) if local else fs.exists(root)):
            yield url
            return
        for folder, names in _list_local(root) if local else _list_remote(fs, root):
            yield from (f"{url}{folder.rstrip('/')[len(root) :]}/{name}" for name in names)
    except OSError as error:
        raise UserError(f"{error.filename or url}: can't be listed ({error.strerror or error})") from error


def _list_local(folder: str, above: tuple[str, ...] = ()) -> Iterator[tuple[str, list[str]]]:
    """Links to folders are followed, but for those that lead back to a folder that they lie in."""
    here = os.path.realpath(folder)
    if here in above:
        return
    with os.scandir(folder) as found:
        entries = [(entry.name, entry.is_dir()) for entry in found]
    yield folder, [name for name, is_folder in entries if not is_folder]
    for name in sorted(name for name, is_folder in entries if is_folder):
        yield from _list_local(f"{folder}/{name}", (*above, here))


def _list_remote(fs: AbstractFileSystem, root: str) -> Iterator[tuple[str, list[str]]]:
    """As fsspec's own walk, which passes over what it can't list below the root."""
    folders = [root]
    while folders:
        folder = folders.pop()
        entries = [(entry["name"].rstrip("/"), entry["type"]) for entry in fs.ls(folder, detail=True)]
        yield folder, [posixpath.basename(name) for name, kind in entries if kind != "directory" and name != folder]
        folders += [name for name, kind in entries if kind == "directory" and name != folder]
