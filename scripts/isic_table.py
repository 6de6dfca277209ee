"""Owns what the ISIC Archive's metadata table says: which class an image is of, and which images belong together.

Rows are those of the archive's own client (`isic metadata download`): isic_id, attribution, copyright_license,
and whatever the images chosen have of pixels_x, pixels_y, image_type, diagnosis_1 to diagnosis_5, lesion_id,
patient_id, age_approx, sex, anatom_site_general and more. A column that no image has is not in the table.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

Row = Mapping[str, str]  # of the archive's table, by column

# A diagnosis in any of the archive's columns, in lower case, and the class folder that it goes to. The most
# specific diagnosis of an image that stands here decides; None: known, and none of the nine.
CLASS_OF_DIAGNOSIS: dict[str, str | None] = {
    # The hierarchy of today (diagnosis_1 to diagnosis_5; what lies below an entry goes where it goes).
    "solar or actinic keratosis": "actinic keratosis",
    "basal cell carcinoma": "basal cell carcinoma",
    "dermatofibroma": "dermatofibroma",
    "malignant melanocytic proliferations (melanoma)": "melanoma",
    "melanoma metastasis": None,  # without the marks of a melanoma of the skin; the flat list, too, had it apart
    "nevus": "nevus",
    "pigmented benign keratosis": "pigmented benign keratosis",
    "seborrheic keratosis": "seborrheic keratosis",
    "squamous cell carcinoma in situ": "squamous cell carcinoma",
    "squamous cell carcinoma, invasive": "squamous cell carcinoma",
    "squamous cell carcinoma, nos": "squamous cell carcinoma",
    "benign soft tissue proliferations - vascular": "vascular lesion",
    "nevus anemicus": None,  # pale skin, of which no vessel is seen
    "hemorrhagic lesions": "vascular lesion",  # as in HAM10000 (Tschandl et al., 2018)
    # The flat list that it replaced (diagnosis), where it has other names.
    "actinic keratosis": "actinic keratosis",
    "melanoma": "melanoma",
    "nevus spilus": "nevus",
    "squamous cell carcinoma": "squamous cell carcinoma",
    "vascular lesion": "vascular lesion",
    "angioma": "vascular lesion",
    "angiokeratoma": "vascular lesion",
    "pyogenic granuloma": "vascular lesion",
}
CLASSES = tuple(sorted({name for name in CLASS_OF_DIAGNOSIS.values() if name}))

LEVELS = tuple(f"diagnosis_{level}" for level in (5, 4, 3, 2, 1))  # the most specific first
COPIED = {  # columns of the groups table, and the archive's that they come from, the first that has a value
    "lesion_id": ("lesion_id",),
    "patient_id": ("patient_id",),
    "source": ("attribution",),
    "license": ("copyright_license",),
    "age": ("age_approx",),
    "sex": ("sex",),
    "site": ("anatom_site_general", "anatom_site_1"),
    "image_type": ("image_type",),
    "confirmed_by": ("diagnosis_confirm_type",),
}
GROUP_COLUMNS = ("image_id", "group", *COPIED)


class Image(NamedTuple):
    """An image of the archive and where it goes."""

    class_name: str
    size: tuple[int, int] | None  # width and height in pixels, where the archive gives them


class Arrangement(NamedTuple):
    """What becomes of a metadata table: every isic_id of it is in `images` or in `left_out`."""

    images: dict[str, Image]  # by isic_id
    groups: list[dict[str, str]]  # GROUP_COLUMNS, a row for each of `images`
    left_out: dict[str, str]  # isic_id: its diagnosis


def read(file: Path) -> list[Row]:
    """The rows of the archive's table, sorted by isic_id, an image once.

    Raises:
        ValueError: no such column, or an isic_id that is none (it will be a file name).
    """
    with file.open(encoding="utf-8", newline="") as stream:
        rows = {row.get("isic_id") or "": row for row in csv.DictReader(stream)}
    for isic_id in rows:
        if not re.fullmatch(r"ISIC_\d+", isic_id):
            raise ValueError(f"isic_id {isic_id!r} is none of the archive's (ISIC_ and digits)")
    return [rows[isic_id] for isic_id in sorted(rows)]


def arrange(rows: Sequence[Row], classes: Iterable[str] = CLASSES) -> Arrangement:
    """Images of `classes` by their class, the groups table of them, and the rest by diagnosis."""
    wanted = set(classes)
    images, left_out = {}, {}
    for row in rows:
        name = class_of(row)
        if name in wanted:
            images[row["isic_id"]] = Image(name, _size(row))
        else:
            left_out[row["isic_id"]] = diagnosis(row)
    return Arrangement(images, [row for row in groups_table(rows) if row["image_id"] in images], left_out)


def class_of(row: Row) -> str | None:
    """The class of an image: by the most specific diagnosis that has one; the flat one only where no other is."""
    named = [row[level].lower() for level in LEVELS if row.get(level)] or [(row.get("diagnosis") or "").lower()]
    return next((CLASS_OF_DIAGNOSIS[name] for name in named if name in CLASS_OF_DIAGNOSIS), None)


def diagnosis(row: Row) -> str:
    """The most specific diagnosis that the archive gives."""
    return next((row[column] for column in (*LEVELS, "diagnosis") if row.get(column)), "no diagnosis")


def groups_table(rows: Sequence[Row]) -> list[dict[str, str]]:
    """GROUP_COLUMNS of each row; the group is the patient where known, else the lesion, else empty.

    A patient who is named with one image of a lesion is known for all of them.
    """
    patients = {row["lesion_id"]: row["patient_id"] for row in rows if row.get("lesion_id") and row.get("patient_id")}
    table = []
    for row in rows:
        copied = {name: _plain(next(filter(None, map(row.get, columns)), "")) for name, columns in COPIED.items()}
        lesion = copied["lesion_id"]
        copied["patient_id"] = copied["patient_id"] or patients.get(lesion, "")
        table.append({"image_id": row["isic_id"], "group": copied["patient_id"] or lesion, **copied})
    return table


def summary(arrangement: Arrangement) -> str:
    """Counts by class, by licence and, of what is left out, by diagnosis."""
    classes = [image.class_name for image in arrangement.images.values()]
    licences = [row["license"] or "none given" for row in arrangement.groups]
    left_out = arrangement.left_out.values()
    return (
        f"Photographs by class ({len(classes)})\n{_counted(classes)}\nLicences\n{_counted(licences)}\n"
        f"Left out, by diagnosis ({len(left_out)})\n{_counted(left_out)}"
    )


def about(arrangement: Arrangement, request: str) -> str:
    """The page that lies with the photographs: what was asked for, what there is, and whose it is."""
    sources = _counted(row["source"] for row in arrangement.groups)
    return (
        "Photographs of the ISIC Archive, fetched by scripts/fetch_isic.py. They stay under the licences below, most\n"
        "of which ask that their sources be named: groups.csv has licence and source of each.\n\n"
        f"Asked for\n{request}\n{summary(arrangement)}\nSources\n{sources}"
    )


def _counted(values: Iterable[str]) -> str:
    """A line for each value with the number of it, the most common first."""
    most_common = sorted(Counter(values).items(), key=lambda item: (-item[1], item[0]))
    return "".join(f"  {count:7d}  {value}\n" for value, count in most_common)


def _plain(value: str) -> str:
    """A value that Spark's reader of CSV takes as it is: it has its own mind about quotes and line ends."""
    return " ".join(value.replace('"', "'").replace("\\", "/").split())


def _size(row: Row) -> tuple[int, int] | None:
    width, height = row.get("pixels_x"), row.get("pixels_y")
    return (int(width), int(height)) if width and height else None
