"""What is done with a leak and with a label conflict, and what is said of it."""

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

LEAK = "its group has test photographs"
CONFLICT = "its group stands under two labels"

DESCRIPTIONS = {
    "drop": "training photographs that share a group with a test photograph, or whose group stands under two labels, "
    "are left out",
    "keep": "leaks and label conflicts are kept; groups stay whole where training photographs are divided",
    "relabel": "training photographs are relabelled by a table; leaks and the conflicts that remain are left out",
    "as_published": "NAIVE, as published: copies and photographs of one lesion may stand on both sides of a split",
}


def judge(members: DataFrame, policy: str) -> DataFrame:
    """Why each photograph is left out, null where it is not; test photographs never are.

    Args:
        members: columns id, group, given_split and class_name.

    Returns:
        columns id, group, given_split, class_name, stratum (the class by which its group is divided, the same for
        the whole group), leaked (its group is on both sides) and reason.
    """
    group = Window.partitionBy("group")
    on_both_sides = F.min("given_split").over(group) != F.max("given_split").over(group)
    conflict = F.min("class_name").over(group) != F.max("class_name").over(group)
    training = F.col("given_split") == "train"
    reason = F.lit(None).cast("string")
    if policy in ("drop", "relabel"):
        reason = F.when(training & on_both_sides, LEAK).when(training & conflict, CONFLICT)
    return members.select(
        *("id", "group", "given_split", "class_name"),
        F.min("class_name").over(group).alias("stratum"),
        on_both_sides.alias("leaked"),
        reason.alias("reason"),
    )
