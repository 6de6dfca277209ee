"""What is done with a leak and with a label conflict, and what is said of it."""

import pandas as pd

LEAK = "its group has test photographs"
CONFLICT = "its group stands under two labels"

DESCRIPTIONS = {
    "drop": "training photographs that share a group with a test photograph, or whose group stands under two labels, "
    "are left out",
    "keep": "leaks and label conflicts are kept; groups stay whole where training photographs are divided",
    "relabel": "training photographs are relabelled by a table; leaks and the conflicts that remain are left out",
    "as_published": "NAIVE, as published: copies and photographs of one lesion may stand on both sides of a split",
}


def judge(members: pd.DataFrame, policy: str) -> pd.DataFrame:
    """`members`, judged by `policy`: why each photograph is left out, null where it is not; test photographs never are.

    Args:
        members: columns id, group, given_split and class_name, the groups whole.

    Returns:
        with columns stratum (the class by which its group is divided, the same for the whole group), leaked (its
        group is on both sides) and reason.
    """
    group = members.groupby("group")
    on_both_sides = group["given_split"].transform("nunique") > 1
    conflict = group["class_name"].transform("nunique") > 1
    first = members.sort_values("class_name").groupby("group")["class_name"].transform("first")
    judged = members.assign(stratum=first, leaked=on_both_sides, reason=None)
    if policy in ("drop", "relabel"):
        training = members["given_split"] == "train"
        judged.loc[training & conflict, "reason"] = CONFLICT
        judged.loc[training & on_both_sides, "reason"] = LEAK
    return judged
