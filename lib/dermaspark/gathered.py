"""Groups of photographs so few that one process holds what is known of them: executors are asked to decode, no more."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermaspark.alignment import Likeness, compare
from dermaspark.candidates import CHUNK, meet_at_once
from dermaspark.fingerprint import thumbnails_of
from dermaspark.groups import first_joined

LIMIT = 12_000  # photographs, HAM10000 and some more: 10 to 13 kB of memory each
NO_LINKS = pd.DataFrame(columns=["id_a", "id_b"])

Links = NDArray[np.int64]  # (n, 2), rows of a table
Decode = Callable[[pd.DataFrame], pd.DataFrame]


def group_all(known: pd.DataFrame, near: bool, decode: Decode, linked: pd.DataFrame) -> pd.DataFrame:
    """`id` and `group` of each photograph: what `suspects` and `groups` find on executors, by the same rules.

    Args:
        known: columns id, number (of its own), size, coding, byte_hash and sketch of all photographs.
        near: whether near copies count as copies.
        decode: gives, for rows of `known`, id, pixel_hash and thumbnail of those that can be decoded in full.
        linked: more links, columns id_a and id_b.
    """
    known = known.sort_values("id", ignore_index=True)
    ids = pd.Index(known["id"])
    files = known.drop_duplicates("byte_hash")
    alike = np.empty((0, 2), np.int64)
    if near:
        met = meet_at_once(thumbnails_of(files["sketch"]), files["number"].to_numpy())
        alike = files.index.to_numpy()[met]
        alike = alike[_likeness(files["sketch"], alike, lambda found: found.may_be_copy)]
    of_one_sketch = files.duplicated(["size", "sketch"], keep=False)
    of_two_codings = files.groupby("size")["coding"].transform("nunique") > 1
    suspects = files[of_one_sketch | of_two_codings | files.index.isin(alike.ravel())]
    whole = decode(suspects)
    whole.index = pd.Index(ids.get_indexer(whole["id"]))
    alike = alike[np.isin(alike, whole.index).all(axis=1)]
    near_copies = alike[_likeness(whole["thumbnail"], alike, lambda found: found.is_copy)]
    given = np.stack([ids.get_indexer(linked["id_a"]), ids.get_indexer(linked["id_b"])], axis=1)
    links = [_to_the_first(known["byte_hash"]), _to_the_first(whole["pixel_hash"]), near_copies, given]
    low, high = np.concatenate(links).T
    return pd.DataFrame({"id": ids, "group": ids[first_joined(low, high, len(ids))]})


def _likeness(
    pictures: "pd.Series[bytes]", pairs: Links, criterion: Callable[[Likeness], NDArray[np.bool_]]
) -> NDArray[np.bool_]:
    """Which pairs, of the index of `pictures`, are so alike that they meet `criterion`."""
    found = np.zeros(len(pairs), bool)
    for start in range(0, len(pairs), CHUNK):
        first, second = (thumbnails_of(pictures.loc[side]) for side in pairs[start : start + CHUNK].T)
        found[start : start + CHUNK] = criterion(compare(first, second))
    return found


def _to_the_first(values: "pd.Series[str]") -> Links:
    """Each row of a value with the first row of the same value."""
    rows = values.index.to_series()
    return np.stack([rows.groupby(values.to_numpy()).transform("min"), rows], axis=1)
