"""The promises of the way from the ISIC Archive: every image accounted for, whole or absent, each fetched once.

A small program stands in for the archive and its client: what it answers is a recorded table (made-up rows in the
columns that the client writes) and flat pictures.
"""

import csv
import json
import os
import sys
from pathlib import Path

import fetch_isic
import pytest
from isic_table import CLASSES, arrange
from PIL import Image
from recorded import PHOTOGRAPHS, RECORDED, ROWS

# As isic-cli 12.4 behaves: the whole table or none; an image that it can't get is skipped in silence; files appear
# whole under their names; a failure is a line on stderr and an exit status.
CLIENT = r"""
import csv, json, os, shutil, sys
from pathlib import Path
archive = Path(os.environ["FAKE_ARCHIVE"])
noun, verb, *rest = sys.argv[1:]
with open(archive / "calls.jsonl", "a") as log:
    print(json.dumps(sys.argv[1:]), file=log)
options, places = {}, []
while rest:
    part = rest.pop(0)
    if part.startswith("-"):
        options[part] = rest.pop(0)
    else:
        places.append(part)
assert verb == "download" and set(options) <= {"--search", "--collections", "--limit", "--outfile"}
print("If you have been granted special permissions, logging in might return more data.", file=sys.stderr)
if noun == "metadata":
    with open(archive / "metadata.csv", encoding="utf-8", newline="") as stream:
        header, *rows = csv.reader(stream)
    rows = [] if options.get("--search") == "sex:nobody" else rows
    with open(options["--outfile"], "w", encoding="utf-8", newline="") as stream:
        if (archive / "refuses").exists():
            sys.exit("Usage: isic ...\n\nError: Invalid value for '--search':\n\nNo such field.\nHelp is in the manual")
        if rows:
            csv.writer(stream).writerows([header, *rows[: int(options.get("--limit", 0)) or None]])
else:
    place = Path(places[0])
    place.mkdir(exist_ok=True)
    for term in options["--search"].split(" OR "):
        isic_id = term.removeprefix("isic_id:")
        left = archive / "images left"
        if left.exists():
            if left.read_text() == "0":
                (place / ".isic-partial.1.abc").write_bytes(b"half")
                sys.exit("Traceback\nConnectionError: no route to the archive\nAborted!")
            left.write_text(str(int(left.read_text()) - 1))
        if (archive / f"{isic_id}.jpg").exists():
            shutil.copy(archive / f"{isic_id}.jpg", place)
    (place / "metadata.csv").write_text("isic_id\n")
    (place / "attribution.txt").write_text("Anonymous")
    (place / "licenses").mkdir(exist_ok=True)
"""


class Archive:
    """The stand-in: its folder, and what was asked of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def calls(self) -> list[list[str]]:
        log = self.folder / "calls.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    @property
    def fetched(self) -> list[str]:
        """The ids asked for, in order, however often."""
        searches = [call[call.index("--search") + 1] for call in self.calls if call[0] == "image"]
        return [term.removeprefix("isic_id:") for search in searches for term in search.split(" OR ")]

    def forget(self) -> None:
        (self.folder / "calls.jsonl").unlink()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for i, row in enumerate(ROWS):
        size = (int(row["pixels_x"]), int(row["pixels_y"]))
        Image.new("RGB", size, (200, 100 + i, 90)).save(folder / f"{row['isic_id']}.jpg")
    return folder


@pytest.fixture
def archive(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    folder = tmp_path / "archive"
    folder.mkdir()
    for file in pictures.iterdir():
        (folder / file.name).symlink_to(file)
    (folder / "metadata.csv").write_bytes(RECORDED.read_bytes())
    client = tmp_path / "bin" / "isic"
    client.parent.mkdir()
    client.write_text(f"#!{sys.executable} -SE\n{CLIENT}")
    client.chmod(0o755)
    monkeypatch.setenv("PATH", str(client.parent), prepend=os.pathsep)
    monkeypatch.setenv("FAKE_ARCHIVE", str(folder))
    monkeypatch.setattr(fetch_isic, "IMAGES_PER_CALL", 10)
    return Archive(folder)


def damage(file: Path) -> None:
    """Cuts the file short (a new one, where it is a link)."""
    data = file.read_bytes()
    file.unlink()
    file.write_bytes(data[: len(data) // 2])


def run(out: Path, *options: str) -> int:
    return fetch_isic.main([str(out), *options])


def photographs(out: Path) -> dict[str, str]:
    """Class by isic_id of what stands in the class folders."""
    return {file.stem: file.parent.name for name in CLASSES for file in (out / name).glob("*")}


def table(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_set_has_its_photographs_its_tables_and_a_page_with_counts(archive, tmp_path, capsys) -> None:
    out = tmp_path / "set"
    asked = ["--collections", "212,70", "--search", "sex:male OR sex:female"]
    assert run(out, *asked) == 0
    assert photographs(out) == {isic_id: image.class_name for isic_id, image in arrange(ROWS).images.items()}
    assert archive.calls[0][:6] == ["metadata", "download", *asked]
    assert len(archive.calls) == 1 + 3  # ten images a call
    assert sorted(archive.fetched) == sorted(photographs(out))  # nothing that is left out, nothing twice

    assert [row["image_id"] for row in table(out / "groups.csv")] == sorted(photographs(out))
    assert len(table(out / "left_out.csv")) == len(ROWS) - PHOTOGRAPHS
    assert (out / "metadata.csv").read_bytes() == RECORDED.read_bytes()
    licences = [row["license"] for row in table(out / "groups.csv")]
    said, page = capsys.readouterr().out, (out / "README.txt").read_text()
    for line in ("5  melanoma", f"{licences.count('CC-0')}  CC-0", "2  Solar lentigo"):
        assert f" {line}\n" in said and f" {line}\n" in page
    assert "--collections 212,70" in page and "Hospital Clínic" in page
    names = {"README.txt", "request.txt", "metadata.csv", "groups.csv", "left_out.csv", *CLASSES}
    assert {file.name for file in out.iterdir()} == names
    assert {file.name for file in tmp_path.iterdir()} == {"set", "archive", "bin"}


def test_limit_and_classes_are_kept_to(archive, tmp_path) -> None:
    out = tmp_path / "set"
    assert run(out, "--limit", "12", "--classes", "melanoma,basal cell carcinoma") == 0
    assert archive.calls[0][2:4] == ["--limit", "12"]
    assert sorted(photographs(out).values()) == ["basal cell carcinoma"] + ["melanoma"] * 5
    assert len(table(out / "left_out.csv")) == 6
    with pytest.raises(SystemExit):
        run(tmp_path / "other", "--classes", "freckle")


def test_a_finished_set_is_checked_and_left_alone(archive, tmp_path, capsys) -> None:
    out = tmp_path / "set"
    assert run(out) == 0
    archive.forget()
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*")}
    assert run(out) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert archive.calls == []
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*")} == before


def test_a_damaged_and_a_lost_photograph_of_a_finished_set_are_fetched_again_and_no_other(archive, tmp_path) -> None:
    out = tmp_path / "set"
    assert run(out) == 0
    archive.forget()
    damage(out / "nevus" / "ISIC_9000001.jpg")
    (out / "melanoma" / "ISIC_9000006.jpg").unlink()
    assert run(out) == 0
    assert [call[0] for call in archive.calls] == ["image"]
    assert sorted(archive.fetched) == ["ISIC_9000001", "ISIC_9000006"]
    assert len(photographs(out)) == PHOTOGRAPHS
    assert (out / "nevus" / "ISIC_9000001.jpg").read_bytes() == (archive.folder / "ISIC_9000001.jpg").read_bytes()


def test_a_run_that_failed_half_way_leaves_no_set_and_the_same_command_goes_on(archive, tmp_path, capsys) -> None:
    out = tmp_path / "set"
    (archive.folder / "images left").write_text("14")
    assert run(out) == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert message == "fetch_isic: isic image download failed, status 1: ConnectionError: no route to the archive"
    assert not out.exists()
    assert len(photographs(tmp_path / "set.partial")) == 14
    asked_before = archive.fetched

    (archive.folder / "images left").unlink()
    archive.forget()
    assert run(out) == 0
    assert [call[0] for call in archive.calls] == ["image", "image"]  # the table is not fetched again
    assert not set(archive.fetched) & set(asked_before[:14])
    assert len(photographs(out)) == PHOTOGRAPHS
    assert not (tmp_path / "set.partial").exists()


def test_images_that_an_end_without_warning_left_in_staging_are_used_where_whole(archive, tmp_path) -> None:
    out, staging = tmp_path / "set", tmp_path / "set.partial" / fetch_isic.STAGING
    (archive.folder / "images left").write_text("0")
    assert run(out) == 1
    (archive.folder / "images left").unlink()
    archive.forget()
    for isic_id in ("ISIC_9000001", "ISIC_9000002"):
        (staging / f"{isic_id}.jpg").write_bytes((archive.folder / f"{isic_id}.jpg").read_bytes())
    damage(staging / "ISIC_9000002.jpg")
    assert run(out) == 0
    assert "ISIC_9000001" not in archive.fetched and "ISIC_9000002" in archive.fetched


@pytest.mark.parametrize("defect", ["absent", "cut short", "of another size", "no image"])
def test_no_set_is_finished_while_an_image_is_not_whole(archive, tmp_path, capsys, defect) -> None:
    out, file = tmp_path / "set", archive.folder / "ISIC_9000012.jpg"
    whole = file.read_bytes()
    if defect == "cut short":
        damage(file)
    else:
        file.unlink()
    if defect == "of another size":
        Image.new("RGB", (300, 225)).save(file)
    if defect == "no image":
        file.write_text("<html>please log in</html>")
    assert run(out) == 1
    assert "1 images did not arrive whole (ISIC_9000012)" in capsys.readouterr().err
    assert not out.exists()
    assert "ISIC_9000012" not in photographs(tmp_path / "set.partial")
    file.unlink(missing_ok=True)
    file.write_bytes(whole)
    archive.forget()
    assert run(out) == 0
    assert archive.fetched == ["ISIC_9000012"]


def test_half_a_table_is_not_taken_for_the_table(archive, tmp_path, capsys) -> None:
    out = tmp_path / "set"
    (archive.folder / "refuses").touch()
    assert run(out) == 1
    said = "isic metadata download failed, status 1: Error: Invalid value for '--search': No such field.\n"
    assert capsys.readouterr().err == f"fetch_isic: {said}"
    (archive.folder / "refuses").unlink()
    assert run(out) == 0
    assert len(photographs(out)) == PHOTOGRAPHS


def test_a_choice_without_images_and_one_without_classes_are_said(archive, tmp_path, capsys) -> None:
    assert run(tmp_path / "none", "--search", "sex:nobody") == 1
    assert "no image that fits --search sex:nobody" in capsys.readouterr().err
    assert run(tmp_path / "few", "--limit", "1", "--classes", "melanoma") == 1
    assert "none of its 1 images is of melanoma" in capsys.readouterr().err


def test_a_folder_that_holds_something_else_is_left_as_it_is(archive, tmp_path, capsys) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "mine.txt").write_text("mine")
    assert run(tmp_path / "mine") == 1
    assert "holds something else" in capsys.readouterr().err
    out = tmp_path / "set"
    assert run(out, "--limit", "3") == 0
    archive.forget()
    assert run(out, "--limit", "4") == 1
    assert "was asked for with --limit 3" in capsys.readouterr().err
    (out / "melanoma").mkdir()
    (out / "melanoma" / "ISIC_9000001.jpg").write_bytes((out / "nevus" / "ISIC_9000001.jpg").read_bytes())
    assert run(out, "--limit", "3") == 1
    assert "melanoma/ISIC_9000001.jpg: not one of this set's photographs" in capsys.readouterr().err
    assert archive.calls == []


def test_without_the_client_one_line_says_how_to_get_it(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert run(tmp_path / "set") == 1
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1 and "pip install isic-cli" in errors
