"""Finding photographs: every one that is there, by its full URL, or a refusal that names the folder."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import fsspec
import pytest
from dermaspark.catalog import file_rows
from dermaspark.errors import UserError
from dermaspark.prediction import find_roots
from fsspec.implementations.memory import MemoryFileSystem


class Hosted(MemoryFileSystem):
    """A file system whose paths lack the host that its URLs name, as HDFS has it."""

    protocol = "hosted"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return MemoryFileSystem._strip_protocol("/" + path.removeprefix("hosted://host:8020").lstrip("/"))


@pytest.fixture
def hosted() -> Iterator[None]:
    fsspec.register_implementation("hosted", Hosted, clobber=True)
    fs = fsspec.filesystem("hosted")
    for name in ("nevus/a.jpg", "nevus/below/b.png", "nevus/notes.txt"):
        fs.pipe(f"/isic/{name}", b"x")
    yield
    fs.rm("/isic", recursive=True)


def kinds(url: str) -> dict[str, str]:
    return {row.path: row.kind for rows in file_rows(url, lambda path: {"path": path}) for row in rows.itertuples()}


def test_urls_of_another_file_system_keep_what_its_paths_lack(hosted):
    url = "hosted://host:8020/isic"
    below = {"a.jpg": "photograph", "below/b.png": "photograph", "notes.txt": "other"}
    assert kinds(url) == {f"{url}/nevus/{name}": kind for name, kind in below.items()}
    assert kinds(f"{url}/nevus/a.jpg") == {f"{url}/nevus/a.jpg": "photograph"}
    assert find_roots(f"{url}/nevus/*.jpg") == [f"{url}/nevus/a.jpg"]


@pytest.mark.parametrize("at", ["file://{}", "memory:/{}"])
def test_hidden_files_and_what_lies_below_hidden_folders_are_passed_over(tmp_path, at):
    url = at.format(tmp_path)
    for name in ("a.jpg", ".b.jpg", ".thumbnails/c.jpg", "d.e/f.jpg", ".ipynb_checkpoints/deep/g.jpg"):
        with fsspec.open(f"{url}/{name}", "wb", auto_mkdir=True) as file:
            file.write(b"x")
    assert set(kinds(url)) == {f"{url}/a.jpg", f"{url}/d.e/f.jpg"}
    assert set(kinds(f"{url}/.thumbnails")) == {f"{url}/.thumbnails/c.jpg"}


def test_links_to_folders_are_followed_and_end_where_they_lead_back(tmp_path):
    for name in ("far/b.jpg", "set/a.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "far")
    (tmp_path / "set" / "loop").symlink_to(tmp_path / "set")
    (tmp_path / "far" / "back").symlink_to(tmp_path / "set")
    url = f"file://{tmp_path}/set"
    assert set(kinds(url)) == {f"{url}/a.jpg", f"{url}/linked/b.jpg"}


@pytest.fixture
def locked() -> Iterator[Path]:
    """A folder that this process may not list, below one that it may."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        inner = Path(folder, "locked")
        inner.mkdir(mode=0)
        root = os.geteuid() == 0  # whom no mode stops
        if root:
            os.seteuid(65534)
        try:
            yield inner
        finally:
            if root:
                os.seteuid(0)
            inner.chmod(0o755)


def test_a_folder_that_cannot_be_listed_is_refused_by_name(locked):
    with pytest.raises(UserError, match=f"{locked}: can't be listed \\(Permission denied\\)"):
        kinds(f"file://{locked.parent}")


class Locked(MemoryFileSystem):
    """A file system with a folder that may not be listed."""

    protocol = "locked"
    store: ClassVar[dict] = {}
    pseudo_dirs: ClassVar[list] = [""]

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return MemoryFileSystem._strip_protocol("/" + path.removeprefix("locked://").lstrip("/"))

    def ls(self, path, detail=True, **kwargs):
        if path.rstrip("/").endswith("/locked"):
            raise PermissionError(13, "Permission denied", path)
        return super().ls(path, detail=detail, **kwargs)


def test_nor_is_one_below_it_elsewhere_passed_over():
    fsspec.register_implementation("locked", Locked, clobber=True)
    fsspec.filesystem("locked").pipe({"/set/nevus/a.jpg": b"x", "/set/nevus/locked/b.jpg": b"x"})
    with pytest.raises(UserError, match="/set/nevus/locked: can't be listed"):
        kinds("locked://set")


def test_what_is_neither_file_nor_folder_is_found_and_left_to_reading(tmp_path):
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "gone.jpg")
    assert kinds(f"file://{tmp_path}/dangling.jpg") == {f"file://{tmp_path}/dangling.jpg": "photograph"}


def test_a_glob_passes_over_what_is_hidden_unless_it_names_it(tmp_path):
    for name in ("a.jpg", ".b.jpg", ".thumbnails/c.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert find_roots(f"{tmp_path}/*") == [f"file://{tmp_path}/a.jpg"]
    assert find_roots(f"{tmp_path}/**/*.jpg") == [f"file://{tmp_path}/a.jpg"]
    assert find_roots(f"{tmp_path}/.thumbnails/*") == [f"file://{tmp_path}/.thumbnails/c.jpg"]


@pytest.mark.parametrize("url", ["file:///no/such/folder", "memory://no/such/folder"])
def test_a_folder_that_this_machine_does_not_see_is_refused_by_name(url):
    with pytest.raises(UserError, match="/no/such/folder: can't be listed"):
        kinds(url)
