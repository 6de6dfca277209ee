"""A metrics document for the terminal, and what the page shares with it: short names, the headline."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH = 100  # columns
NAME_WIDTH = 34
HEADLINES = (
    "test",
    "outside",
    "out_of_fold",
    "val",
    "train",
)  # what a report is about: the first that is there


def as_text(document: Mapping[str, Any]) -> str:
    """Every split in a line, then the classes and the confusion matrix of the headline split."""
    parts = [_splits(document["splits"])]
    split = headline_split(document)
    if split is not None:
        figures = document["splits"][split]
        rows, columns = short_names(figures["rows"]), short_names(figures["columns"])
        parts.append(f"{split}, by class\n" + _classes(figures["per_class"], rows))
        parts.append(f"{split}, confusion (rows: truth)\n" + _confusion(figures["confusion_matrix"], rows, columns))
    return "\n\n".join(parts)


def headline_split(document: Mapping[str, Any]) -> str | None:
    """The split that the headline is about; None where nothing was scored."""
    splits = document["splits"]
    return next((name for name in HEADLINES if name in splits and splits[name]["n"]), None)


def short_names(names: Sequence[str]) -> list[str]:
    """A code of at most four letters for each name: initials, or the first letters of a single word."""
    codes: list[str] = []
    for name in names:
        words = re.findall(r"\w+", name.replace("_", " ")) or ["?"]
        code = "".join(word[0] for word in words[:4]) if len(words) > 1 else words[0][:3]
        number = 2
        unique = code = code.upper()
        while unique in codes:
            unique, number = f"{code[: 4 - len(str(number))]}{number}", number + 1
        codes.append(unique)
    return codes


def shown(value: float | None, digits: int = 3) -> str:
    """A figure as it is read; a dash where it is not defined."""
    return "-" if value is None else f"{value:.{digits}f}"


def cut(name: str, width: int) -> str:
    return name if len(name) <= width else name[: width - 1] + "…"


def _splits(splits: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [["split", "n", "accuracy", "95 % interval", "balanced", "macro AUC", "log loss", "ECE"]]
    for name, of in splits.items():
        low, high = of["accuracy_ci95"] or (None, None)
        figures = [shown(of[key]) for key in ("balanced_accuracy", "macro_auc", "log_loss", "ece")]
        rows.append([name, str(of["n"]), shown(of["accuracy"]), f"{shown(low)} - {shown(high)}", *figures])
    return aligned(rows)


def _classes(per_class: Mapping[str, Mapping[str, Any]], codes: Sequence[str]) -> str:
    rows = [["class", "code", "n", "sensitivity", "specificity", "precision", "F1", "AUC"]]
    for (name, of), code in zip(per_class.items(), codes, strict=True):
        keys = ("sensitivity", "specificity", "precision", "f1", "auc")
        rows.append([cut(name, NAME_WIDTH), code, str(of["n"]), *(shown(of[key]) for key in keys)])
    return aligned(rows)


def _confusion(matrix: Sequence[Sequence[int]], rows: Sequence[str], columns: Sequence[str]) -> str:
    text = aligned([["", *columns], *([code, *map(str, row)] for code, row in zip(rows, matrix, strict=True))])
    fits = max(map(len, text.splitlines())) <= WIDTH
    return text if fits else f"{len(columns)} classes are too many for a terminal: see report.html"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns two spaces apart, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(cell.rjust(width) if place else cell.ljust(width) for place, (cell, width) in enumerate(row))
        for row in (list(zip(row, widths, strict=True)) for row in rows)
    )
    return "\n".join(line.rstrip() for line in lines)
