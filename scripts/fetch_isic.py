"""Owns the way from the ISIC Archive to class folders: photographs by diagnosis, and a table of who is whose.

    python scripts/fetch_isic.py OUT_DIR [--collections ID,ID] [--search QUERY] [--limit N] [--classes nine]

For instance HAM10000: --collections 212 (`isic collection list` has the numbers), or all that was taken through a
dermatoscope: --search image_type:dermoscopic. The archive's own client is needed: `pip install isic-cli`. OUT_DIR gets
<class>/<isic_id>.jpg, groups.csv (for input.groups), left_out.csv, the archive's metadata.csv and a README.txt with
licences and sources. It is made as OUT_DIR.partial and takes its name when all of it is there and decodes; the same
command goes on with a run that was cut off, and fetches again what is damaged in a finished one.
"""

import argparse
import csv
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

from dermaspark.config import Input
from dermaspark.errors import UserError
from dermaspark.photo import decode, inspect
from dermaspark.photo_file import Unreadable
from isic_table import CLASSES, GROUP_COLUMNS, Arrangement, Image, about, arrange, read, summary

IMAGES_PER_CALL = 100  # of the client: their ids go into one address, which servers take up to some 4,000 characters
REQUEST, METADATA, GROUPS, LEFT_OUT, README = "request.txt", "metadata.csv", "groups.csv", "left_out.csv", "README.txt"
STAGING = ".staging"  # in the unfinished set: where the client writes
NAMED_AT_MOST = 5  # images in an error message


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Fetch photographs from the ISIC Archive into class folders.")
    parser.add_argument("out_dir", type=Path, help="gets <class>/, groups.csv and README.txt")
    parser.add_argument("--collections", default="", metavar="ID,ID", help="`isic collection list` shows them")
    parser.add_argument("--search", default="", metavar="QUERY", help="e.g. 'image_type:dermoscopic AND sex:male'")
    parser.add_argument("--limit", type=_count, metavar="N", help="look at the first N images only")
    parser.add_argument("--classes", type=_classes, default=CLASSES, metavar="NAME,NAME", help="default: nine, all")
    options = parser.parse_args(arguments)
    asked = {"--collections": options.collections, "--search": options.search, "--limit": str(options.limit or "")}
    try:
        fetch(options.out_dir, {option: value for option, value in asked.items() if value}, options.classes)
    except (UserError, OSError) as error:
        print(f"fetch_isic: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("fetch_isic: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def fetch(out_dir: Path, asked: Mapping[str, str], classes: Sequence[str]) -> None:
    """Makes `out_dir` of the images of `classes` among those that the client's options `asked` choose.

    Raises:
        UserError: `out_dir` holds something else, the client is missing or fails, or images did not arrive whole.
    """
    place = out_dir.resolve()
    partial = place.with_name(f"{place.name}.partial")
    request = "".join(f"{option} {value}\n" for option, value in asked.items()) + f"--classes {','.join(classes)}\n"
    for folder in (place, partial):
        _refuse_another(folder, request)
    if (place / README).is_file():
        arrangement = _arranged(place, classes)
        if not _missing(place, arrangement.images):
            print(f"{out_dir} holds these {len(arrangement.images)} photographs already: nothing to do")
            return
        place.replace(partial)
    partial.mkdir(parents=True, exist_ok=True)
    (partial / README).unlink(missing_ok=True)
    _write(partial / REQUEST, request)
    _fetch_metadata(partial, asked)
    arrangement = _arranged(partial, classes)
    print(summary(arrangement))
    _fetch_images(partial, arrangement.images)
    _finish(partial, arrangement, request)
    partial.replace(place)
    print(f"{out_dir} is complete; now: input.path={out_dir} input.groups={out_dir / GROUPS}")


def _count(text: str) -> int:
    if (count := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text}: at least one image")
    return count


def _classes(text: str) -> tuple[str, ...]:
    if text == "nine":
        return CLASSES
    names = tuple(sorted({name.strip() for name in text.split(",")}))
    if unknown := [name for name in names if name not in CLASSES]:
        raise argparse.ArgumentTypeError(f"no class {', '.join(unknown)}; there are: {', '.join(CLASSES)}")
    return names


def _refuse_another(folder: Path, request: str) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    file = folder / REQUEST
    if not file.is_file():
        raise UserError(f"{folder}: holds something else than photographs fetched here; name another folder")
    if (other := file.read_text(encoding="utf-8")) != request:
        raise UserError(f"{folder}: was asked for with {' '.join(other.split())}; name another folder or remove it")


# ----------------------------------------------------------------------------------------------- from the archive


def _fetch_metadata(folder: Path, asked: Mapping[str, str]) -> None:
    if (folder / METADATA).is_file():
        return
    print(
        "asking the archive for its metadata (minutes for many images; out of reach, the client tries for half an hour)"
    )
    staged = folder / STAGING / "chosen.csv"
    staged.parent.mkdir(exist_ok=True)
    _isic("metadata", "download", *(part for item in asked.items() for part in item), "--outfile", str(staged))
    if not staged.is_file() or not staged.stat().st_size:  # how the client says that there are none
        options = " ".join(f"{option} {value}" for option, value in asked.items())
        raise UserError(f"the archive has no image that fits {options or 'nothing asked for'}; ask for others")
    staged.replace(folder / METADATA)


def _fetch_images(folder: Path, images: Mapping[str, Image]) -> None:
    """Fetches what is missing or damaged, by its id; an image stands in its class folder only when it decodes."""
    staging = folder / STAGING
    staging.mkdir(exist_ok=True)
    _place(staging, folder, images)  # what a run that was cut off had fetched
    missing = _missing(folder, images)
    print(f"{len(images) - len(missing)} of {len(images)} images are here already")
    lost: list[str] = []
    with tqdm(total=len(images), initial=len(images) - len(missing), unit=" images", disable=None) as progress:
        for start in range(0, len(missing), IMAGES_PER_CALL):
            batch = missing[start : start + IMAGES_PER_CALL]
            chosen = " OR ".join(f"isic_id:{isic_id}" for isic_id in batch)
            try:
                _isic("image", "download", "--search", chosen, str(staging))
            finally:
                placed = _place(staging, folder, images)
                progress.update(len(placed))
            lost += [isic_id for isic_id in batch if isic_id not in placed]
    if lost:  # the client skips what it can't fetch and says nothing
        named = ", ".join(lost[:NAMED_AT_MOST]) + (", ..." if len(lost) > NAMED_AT_MOST else "")
        raise UserError(f"{len(lost)} images did not arrive whole ({named}); the same command tries these again")


def _isic(*arguments: str) -> None:
    """Runs the archive's client. Raises UserError where it is missing or fails."""
    client = shutil.which("isic") or shutil.which("isic", path=str(Path(sys.executable).parent))
    if client is None:
        raise UserError("the ISIC Archive's client is not installed: pip install isic-cli")
    # No input: after a failure, or on a full disk, it would wait for an answer.
    done = subprocess.run(
        [client, *arguments], stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace"
    )
    if done.returncode:
        raise UserError(f"isic {' '.join(arguments[:2])} failed, status {done.returncode}: {_reason(done.stderr)}")


def _reason(stderr: str) -> str:
    """What the client says went wrong: its last line with an error, and the next where that one ends in a colon."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()] or ["no message"]
    last = max((i for i, line in enumerate(lines) if "error" in line.lower()), default=len(lines) - 1)
    return " ".join(lines[last : last + 2]) if lines[last].endswith(":") else lines[last]


# --------------------------------------------------------------------------------------------------- on the disk


def _arranged(folder: Path, classes: Sequence[str]) -> Arrangement:
    try:
        arrangement = arrange(read(folder / METADATA), classes)
    except ValueError as error:
        raise UserError(f"{folder / METADATA}: {error}") from error
    if not arrangement.images:
        raise UserError(
            f"{folder / METADATA}: none of its {len(arrangement.left_out)} images is of {', '.join(classes)}"
        )
    return arrangement


def _place(staging: Path, folder: Path, images: Mapping[str, Image]) -> set[str]:
    """Moves the images that are whole to their class folders and removes the others; returns the ids of the first."""
    staged = [file for file in staging.glob("ISIC_*") if file.stem in images]
    placed = set()
    for file, whole in zip(staged, _whole(staged, images), strict=True):
        if whole:
            to = folder / images[file.stem].class_name / f"{file.stem}{file.suffix.lower()}"
            to.parent.mkdir(exist_ok=True)
            file.replace(to)
            placed.add(file.stem)
        else:
            file.unlink()
    return placed


def _missing(folder: Path, images: Mapping[str, Image]) -> list[str]:
    """The ids of the images that don't stand whole in their class folders.

    Raises:
        UserError: an image in a class folder that the set does not have there.
    """
    standing = [file for name in CLASSES for file in (folder / name).glob("ISIC_*")]
    for file in standing:
        if file.stem not in images or images[file.stem].class_name != file.parent.name:
            raise UserError(f"{file}: not one of this set's photographs; take it away")
    whole = {file.stem for file, whole in zip(standing, _whole(standing, images), strict=True) if whole}
    return [isic_id for isic_id in images if isic_id not in whole]


def _whole(files: Sequence[Path], images: Mapping[str, Image]) -> list[bool]:
    """Whether each file decodes, in threads (Pillow lets them run), and has the size that the archive gives."""

    def whole(file: Path) -> bool:
        data, size = file.read_bytes(), images[file.stem].size
        max_pixels = size[0] * size[1] if size else Input().max_pixels
        try:
            decode(data, 1, 1, max_pixels)
            header = inspect(data, max_pixels)
        except Unreadable:
            return False
        return size is None or sorted(size) == sorted((header.width, header.height))  # turned, maybe, by EXIF

    with ThreadPoolExecutor() as threads:
        checked = threads.map(whole, files)
        return list(tqdm(checked, "checking", len(files), disable=None if len(files) > IMAGES_PER_CALL else True))


def _finish(folder: Path, arrangement: Arrangement, request: str) -> None:
    """The tables, and last the page that says what this is."""
    _write_table(folder / GROUPS, GROUP_COLUMNS, (row.values() for row in arrangement.groups))
    _write_table(folder / LEFT_OUT, ("isic_id", "diagnosis"), arrangement.left_out.items())
    shutil.rmtree(folder / STAGING)
    _write(folder / README, about(arrangement, request))


def _write_table(file: Path, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([columns, *rows])


def _write(file: Path, text: str) -> None:
    """All of the text or no file."""
    half = file.with_name(f".{file.name}.half")
    half.write_text(text, encoding="utf-8")
    half.replace(file)


if __name__ == "__main__":
    sys.exit(main())
