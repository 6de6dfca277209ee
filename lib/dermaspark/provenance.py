"""What the figures rest on: which photographs came into them, and what has to be said of that in plain words."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any, NamedTuple

FOUND, GONE, OUTSIDE = "found", "gone", "outside"
USED = {
    "train": "for training",
    "val": "for validation",
    "test": "for test",
    "out_of_fold": "scored out of fold",
    OUTSIDE: "of the outside test",
}
TABLE = "the groups table"  # among what photographs are grouped by
LEAKED = "test_photographs_sharing_a_group_with_training_as_published"
CLEAN = "share_of_test_photographs_that_are_clean"
SAID = {*("policy", "description", "grouped_by", "groups", "folds", "fold", "left_out", "source", LEAKED, CLEAN)}
CLOSE, PARTLY = 0.5, 0.2  # Cramér's V from which on source and class go together closely, and in part


class Step(NamedTuple):
    """A part of the photographs."""

    text: str
    n: int
    kind: str  # FOUND, GONE, a split, or the key of a count that is none of these


class Remark(NamedTuple):
    text: str
    alarm: bool = False


def is_naive(document: Mapping[str, Any]) -> bool:
    """Whether copies and photographs of one lesion may stand on both sides, by the dataset's or the model's split."""
    protocols = [document["protocol"]]
    if OUTSIDE not in document["splits"]:  # how the model's own photographs were divided is nothing to others
        protocols.append(_mapping(document["model"]).get("protocol", ""))
    policies = [of.get("policy", "") if isinstance(of, Mapping) else str(of) for of in protocols]
    return any(policy.replace("_", " ").startswith("as published") for policy in policies)


def lesions_are_known(document: Mapping[str, Any]) -> bool:
    """Whether a table says which photographs are of one lesion; else the groups are copies at most."""
    protocol = _mapping(document["protocol"])
    return TABLE in (protocol.get("grouped_by") or [protocol.get("lesions")])


def steps(document: Mapping[str, Any]) -> list[Step]:
    """All photographs that were found, then what became of them; none where the document does not say.

    The parts add up to the first: found = left out + set aside + used.
    """
    counts, protocol = document["dataset"].get("counts"), _mapping(document["protocol"])
    if not counts:
        return []
    reasons = protocol.get("left_out", {})
    gone = [Step("set aside: can't be read", counts["unreadable"], GONE)] if "unreadable" in counts else []
    gone += [Step(f"left out: {reason}", n, GONE) for reason, n in reasons.items()]
    if not reasons and "left_out" in counts:
        gone.append(Step("left out by policy", counts["left_out"], GONE))
    used = [Step(text, counts[split], split) for split, text in USED.items() if split in counts]
    known = {FOUND, "unreadable", "left_out", *USED}
    used += [Step(key.replace("_", " "), n, key) for key, n in counts.items() if key not in known]
    if FOUND not in counts:
        return gone + used
    rest = counts[FOUND] - sum(step.n for step in gone + used)
    return [Step("found", counts[FOUND], FOUND), *gone, *([Step("not used", rest, GONE)] if rest > 0 else []), *used]


def remarks(document: Mapping[str, Any]) -> list[Remark]:
    """What a reader has to know before the figures, in sentences."""
    protocol, naive = document["protocol"], is_naive(document)
    if not isinstance(protocol, Mapping):
        return [Remark(_sentence(str(protocol)))] if protocol and protocol != "as published" else []
    found = []
    if protocol.get("description") and not naive:
        found.append(Remark(_sentence(protocol["description"])))
    found += _on_shared_classes(_mapping(protocol.get("labels")))
    found += _on_groups(protocol)
    if protocol.get("fold") is not None:
        text = f"Fold {protocol['fold'] + 1} of {protocol['folds']} of a cross-validation: its test photographs are a "
        found.append(Remark(text + "part of all, and no group of theirs was trained on."))
    elif protocol.get("folds"):
        text = f"Cross-validation in {protocol['folds']} folds"
        found.append(Remark(f"{text}: each photograph is scored by the model that did not see its group."))
    elif protocol.get(LEAKED) is not None:
        found.append(_on_leaks(protocol, document["dataset"].get("counts", {}).get("test")))
    return found + _on_training(document) + _on_confounds(protocol, len(document["classes"]))


def unsaid(document: Mapping[str, Any]) -> dict[str, Any]:
    """What the protocol holds beside that, to be listed as it is."""
    return {key: value for key, value in _mapping(document["protocol"]).items() if key not in SAID}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def is_of_another_dataset(document: Mapping[str, Any]) -> bool:
    """Whether the model was trained on another dataset than the one that is scored."""
    trained, here = _mapping(document["model"]).get("dataset"), document["dataset"].get("id")
    return bool(trained and here and trained != here)


def leaks_are_kept(document: Mapping[str, Any]) -> bool:
    """Whether test photographs share groups with training photographs; folds, whose test is another, share none."""
    protocol = _mapping(document["protocol"])
    return not protocol.get("folds") and bool(protocol.get(CLEAN, 1) < 1)


def _on_training(document: Mapping[str, Any]) -> list[Remark]:
    if OUTSIDE in document["splits"]:
        text = (
            "Whether any of them, or others of the same lesions, were among the photographs that the model was trained "
        )
        return [Remark(text + "on was not looked for.")]
    if not is_of_another_dataset(document):
        return []
    text = "The model was trained on another dataset than this one. Whether photographs of this one, or others of the "
    return [Remark(text + "same lesions, were among those it was trained on was not looked for.", alarm=True)]


def _on_shared_classes(labels: Mapping[str, Any]) -> list[Remark]:
    """Of an outside test whose folders share a class that is right: each counts as the other's mistakes."""
    sharing = sorted({name for a, b in combinations(labels, 2) if set(labels[a]) & set(labels[b]) for name in (a, b)})
    if not sharing:
        return []
    text = f"The folders {', '.join(sharing)} share classes that are right: a photograph of one that is called by such "
    text += "a class is right, and still counts among the others' mistakes. So their specificity, precision and AUC, "
    text += "and the Brier score, are worse than the model is; accuracy and sensitivity are not."
    return [Remark(text, alarm=True)]


def _on_groups(protocol: Mapping[str, Any]) -> list[Remark]:
    linked = protocol.get("grouped_by")
    if not linked:
        return []
    joined = f"{', '.join(linked[:-1])} and {linked[-1]}" if len(linked) > 1 else linked[0]
    text = f"Photographs joined by {joined} are one group"
    text += f": {protocol['groups']:,} groups in all." if "groups" in protocol else "."
    if protocol.get("policy") != "keep":
        text += " No group stands on two sides of the split."
    found = [Remark(text)]
    if TABLE not in linked:
        text = "No table of lesions or patients was given, so photographs of one lesion that are not copies of one "
        found.append(Remark(text + "another may still stand on both sides."))
    return found


def _on_leaks(protocol: Mapping[str, Any], test: int | None) -> Remark:
    leaked, clean = protocol[LEAKED], protocol.get(CLEAN)
    share = f" of {test:,} test photographs ({leaked / test:.1%})" if test else " test photographs"
    text = f"In the folders as published, {leaked:,}{share} share a group with training photographs."
    if clean is None:
        return Remark(text)
    if clean < 1:
        text += f" They are kept: only {clean:.1%} of the test photographs are clean, and the figures are too high."
        return Remark(text, alarm=True)
    if leaked:
        text += " Those training photographs are left out here:"
    return Remark(f"{text} {clean:.0%} of the test photographs are clean.")


def _on_confounds(protocol: Mapping[str, Any], classes: int) -> list[Remark]:
    found = []
    source = _mapping(protocol.get("source"))
    chance = 1 / max(classes, 1)
    if source.get("cramers_v") is not None:
        v = source["cramers_v"]
        how = "go closely together" if v >= CLOSE else "go together in part" if v >= PARTLY else "hardly go together"
        text = f"Source and class {how} (Cramér's V {v:.2f}; at 1 the one tells the other)"
        if source.get("balanced_accuracy") is not None:
            text += (
                f": guessing by the source alone reaches a balanced accuracy of {source['balanced_accuracy']:.1%} at "
            )
            text += f"most, against {source.get('chance') or chance:.1%} by chance"
        text += "."
        if v >= PARTLY:
            text += " A model can score by knowing the archive instead of the lesion, so look at the figures of each "
            text += "source, and test it on photographs from elsewhere."
        found.append(Remark(text, alarm=v >= CLOSE))
    return found


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
