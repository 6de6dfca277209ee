"""Paths as full URLs, and small files read and written there, on any file system that fsspec knows."""

import fnmatch
import json
import os
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any
from uuid import uuid4

import fsspec
from fsspec import AbstractFileSystem

from dermaspark.errors import UserError

HADOOP_NAMES = {"s3a": "s3", "s3n": "s3", "wasbs": "abfs", "wasb": "abfs"}  # Hadoop's scheme to fsspec's
OURS = ".dermaspark"  # an empty file in every output folder: what lies there may be cleared


def resolve(path: str) -> str:
    """The full URL of a path; a bare path is a local one, relative to the working folder.

    URLs are kept raw, not percent-encoded: `file:///a b/50%.jpg` is the file `/a b/50%.jpg`.
    """
    if not path:
        raise UserError("an empty path: name a folder or a URL")
    scheme, separator, rest = path.partition(":")
    if separator and rest.startswith("//") and scheme != "file":
        return path.rstrip("/")
    if scheme == "file" and rest.startswith("/"):
        path = "/" + rest.lstrip("/")
    return "file://" + os.path.abspath(os.path.expanduser(path))


def locate(url: str) -> tuple[AbstractFileSystem, str]:
    """The file system of a full URL and the path on it."""
    scheme, _, rest = url.partition("://")
    if scheme == "file":
        return fsspec.filesystem("file"), rest
    try:
        fs = fsspec.filesystem(HADOOP_NAMES.get(scheme, scheme))
    except (ValueError, ImportError) as error:
        raise UserError(f"{url}: no file system for {scheme}: ({error})") from error
    return fs, fs._strip_protocol(url)


def join(url: str, *parts: str) -> str:
    return posixpath.join(url, *parts)


def literal(url: str) -> str:
    """The URL for Spark to read from: Hadoop takes brackets and the like for a pattern."""
    return "".join(f"\\{c}" if c in "*?[]{}\\" else c for c in url)


def exists(url: str) -> bool:
    fs, path = locate(url)
    return bool(fs.exists(path))


def is_directory(url: str) -> bool:
    fs, path = locate(url)
    return bool(fs.isdir(path))


def read_bytes(url: str) -> bytes:
    fs, path = locate(url)
    if url.startswith("file://"):  # what fsspec does around it takes twice as long as reading a photograph
        with open(path, "rb") as file:
            return file.read()
    return bytes(fs.cat_file(path))


def read_json(url: str) -> Any:
    """Raises UserError where the file is not there or is not JSON."""
    try:
        return json.loads(read_bytes(url))
    except FileNotFoundError as error:
        raise UserError(f"{url}: no such file") from error
    except ValueError as error:
        raise UserError(f"{url}: not JSON, so it was cut short or written by something else ({error})") from error


@contextmanager
def replacing(url: str) -> Iterator[IO[bytes]]:
    """A file to write, of which a reader sees all or nothing: a temporary name first, then a rename.

    An object store has no rename but shows an object only when it is whole, so both hold there too. Nothing appears
    where the block raises.
    """
    fs, path = locate(url)
    fs.makedirs(posixpath.dirname(path), exist_ok=True)
    temporary = f"{posixpath.dirname(path)}/.{posixpath.basename(path)}.{uuid4().hex}"
    try:
        with fs.open(temporary, "wb") as file:
            yield file
        fs.mv(temporary, path)
    finally:
        if fs.exists(temporary):
            fs.rm(temporary)


@contextmanager
def writing_to(name: str) -> Iterator[None]:
    """UserError, with the `name` of what is written, where the block can't write it."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{name}: can't be written ({error.strerror or error})") from error


def write_bytes(url: str, data: bytes) -> None:
    """Write a file as `replacing` does, and to the disk itself where it is a local one."""
    with replacing(url) as file:
        file.write(data)
        file.flush()
        if url.startswith("file://"):
            os.fsync(file.fileno())


def write_json(url: str, document: Any) -> None:
    write_bytes(url, json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n")


def remove(url: str) -> None:
    fs, path = locate(url)
    if fs.exists(path):
        fs.rm(path, recursive=True)


def reserve(url: str, marker: str, key: str, overwrite: bool, known: tuple[str, ...]) -> None:
    """Find out whether `claim` would succeed, before the work whose result it makes room for; what is there stays.

    Raises:
        UserError: as `claim` does.
    """
    _of_earlier_run(url, marker, key, overwrite, known)
    _leave_mark(url, key)


def claim(url: str, marker: str, key: str, overwrite: bool, known: tuple[str, ...]) -> None:
    """Make room for an output folder whose `marker` file is written last, and leave OURS there.

    A finished output is only written over with `overwrite`; an unfinished one is cleared; a folder that was not begun
    here is never touched, whatever its entries are called, nor one that holds anything but entries of the patterns
    `known` to belong to such an output.

    Raises:
        UserError: the output is finished and `overwrite` is off, the folder is somebody else's or can't be written.
    """
    own = _of_earlier_run(url, marker, key, overwrite, known)
    for entry in [marker, *own]:
        remove(join(url, entry))
    _leave_mark(url, key)


def _of_earlier_run(url: str, marker: str, key: str, overwrite: bool, known: tuple[str, ...]) -> list[str]:
    """The entries that an earlier run left in an output folder, sorted; UserError where it is not to be claimed."""
    if not exists(url):
        return []
    if not is_directory(url):
        raise UserError(f"{key}={url}: is a file; name a folder")
    fs, path = locate(url)
    entries = {posixpath.basename(entry.rstrip("/")) for entry in fs.ls(path, detail=False)}
    begun = OURS in entries
    if begun and marker in entries and not overwrite:
        raise UserError(f"{key}={url}: is finished already; overwrite=true writes it again, from the start")
    own = {entry for entry in entries if any(fnmatch.fnmatch(entry, pattern) for pattern in known)}
    strange = sorted(entry for entry in (entries - own if begun else entries) if not entry.startswith("."))
    if strange:
        raise UserError(f"{key}={url}: holds {strange[0]}, which is not of an earlier run; name another folder")
    return sorted(own)


def _leave_mark(url: str, key: str) -> None:
    with writing_to(f"{key}={url}"):
        write_bytes(join(url, OURS), b"")
