"""Figures counted in Spark equal those counted in one place, for any number of partitions."""

import logging
from typing import Any

import numpy as np
import pandas as pd
import pytest
from dermaspark import bootstrap
from dermaspark.errors import UserError
from dermaspark.labels import LabelMap
from dermaspark.metrics import document, figures
from dermaspark.randomness import generator
from dermaspark.sums import count, to_prior
from dermaspark.tally import tally
from pyspark.sql import SparkSession
from sklearn.metrics import log_loss, roc_auc_score

CLASSES = ["melanoma", "nevus, common", "vascular <lesion>"]
PRIOR = np.array([0.2, 0.7, 0.1])
COLUMNS = ["source", "sex", "age", "lesion", "size in mm.", "empty"]
SCHEMA = (
    "split string, status string, label string, probabilities array<double>, source string, sex string, "
    "age string, lesion string, `size in mm.` double, empty string, id string, group string"
)
ABOUT: dict[str, Any] = {"dataset": {}, "model": {}, "protocol": "", "created": ""}


def predictions(n: int = 600) -> pd.DataFrame:
    """n rows that count; all others are set aside for one reason or another."""
    rng = generator(3, "predictions", str(n))
    table = pd.DataFrame(
        {
            "split": rng.choice(["train", "val", "test"], n, p=[0.6, 0.2, 0.2]),
            "status": "ok",
            "label": rng.choice(CLASSES, n, p=PRIOR),
            "probabilities": rng.dirichlet(np.ones(3), n).tolist(),
            "source": rng.choice(["HAM10000", "BCN"], n),
            "sex": rng.choice(["male", "female", None], n),
            "age": rng.choice([None, *(f"{age}.0" for age in range(0, 90, 5))], n),
            "lesion": [f"lesion {k}" for k in range(n)],
            "size in mm.": rng.choice([1.5, 2.5, np.nan], n),
            "empty": None,
            "id": [f"photograph {k}" for k in range(n)],
            "group": [None if k % 7 == 0 else f"group {k // 3}" for k in range(n)],
        }
    )
    return table.astype(object).where(table.notna(), None)


def counted(spark: SparkSession, table: pd.DataFrame, partitions: int = 2, **settings: Any) -> dict[str, Any]:
    rows = [tuple(list(v) if isinstance(v, np.ndarray) else v for v in row) for row in table.itertuples(index=False)]
    frame = spark.createDataFrame(rows, SCHEMA).repartition(partitions)
    return document(tally(frame, CLASSES, COLUMNS, PRIOR, **settings), **ABOUT, wanted_risk=0.5)


def in_one_place(table: pd.DataFrame, prior: np.ndarray | None = None) -> dict[str, Any]:
    truth = table["label"].map(CLASSES.index).to_numpy(np.int64)
    probabilities = np.stack(table["probabilities"].to_list())
    return figures(
        count(truth, probabilities if prior is None else to_prior(probabilities, prior, np.ones(len(prior)))), CLASSES
    )


def test_figures_are_the_same_to_the_last_bit_for_any_number_of_partitions(spark: SparkSession) -> None:
    table = predictions()
    once = counted(spark, table, 1)
    assert counted(spark, table, 3) == once
    assert counted(spark, table.sample(frac=1, random_state=1), 8) == once


def test_every_split_prior_and_part_has_the_figures_of_its_own_rows(spark: SparkSession) -> None:
    table = predictions()
    found = counted(spark, table)["splits"]
    assert list(found) == ["train", "val", "test"]
    for split, of in found.items():
        rows = table[table["split"] == split]
        expected = in_one_place(rows)
        assert {key: of[key] for key in expected} == expected
        assert of["priors"]["uniform"] == in_one_place(rows, PRIOR)
        assert set(of["by"]) == {"source", "sex", "age", "size in mm."}
        for name, part in of["by"]["source"].items():
            assert part == in_one_place(rows[rows["source"] == name])
        assert of["by"]["sex"]["unknown"] == in_one_place(rows[rows["sex"].isna()])
        assert sum(part["n"] for part in of["by"]["age"].values()) == len(rows)


def test_many_sources_are_the_largest_and_the_others_and_many_values_are_left_out(spark, caplog) -> None:
    table = predictions()
    table["source"] = [f"clinic {min(k, k % 40)}" for k in range(len(table))]
    table.loc[table["source"] == "clinic 7", "source"] = "clinic 3"
    table["sex"] = [f"said {k % 40}" for k in range(len(table))]
    with caplog.at_level(logging.WARNING, "dermaspark"):
        found = counted(spark, table)["splits"]
    for split, of in found.items():
        rows = table[table["split"] == split]
        sizes = table["source"].value_counts()
        largest = sorted(sizes.index, key=lambda name: (-sizes[name], name))[:19]
        assert set(of["by"]["source"]) <= {*largest, "other"}
        assert of["by"]["source"]["other"] == in_one_place(rows[~rows["source"].isin(largest)])
        assert of["by"]["source"]["clinic 3"] == in_one_place(rows[rows["source"] == "clinic 3"])
        assert "sex" not in of["by"]
    assert "no figures by sex: it has 40 values, more than 20" in caplog.text


def test_a_split_has_intervals_by_group_a_threshold_and_malignancy(spark: SparkSession) -> None:
    table = predictions()
    found = counted(spark, table, label_map=LabelMap.of_classes(CLASSES, ["Melanoma"]))
    fitted = found["abstaining"]
    assert fitted["fitted_on"] == "val"
    for split, of in found["splits"].items():
        rows = table[table["split"] == split]
        truth = rows["label"].map(CLASSES.index).to_numpy(np.int64)
        probabilities = np.stack(rows["probabilities"].to_list())
        right, confidence = probabilities.argmax(axis=1) == truth, probabilities.max(axis=1)
        groups = rows["group"].fillna(rows["id"]).tolist()
        assert of["clustered_ci95"] == bootstrap.figures(bootstrap.count(truth, right, groups), CLASSES)
        accepted = confidence >= fitted["threshold"]
        assert of["abstaining"]["accepted"] == accepted.sum()
        assert of["abstaining"]["risk"] == pytest.approx(1 - right[accepted].mean())
        missed = accepted & (truth == 0) & (probabilities.argmax(axis=1) != 0)
        assert of["abstaining"]["missed_malignancies"] == missed.sum()
        assert of["malignancy"]["auc"] == pytest.approx(roc_auc_score(truth == 0, probabilities[:, 0]), abs=1e-3)
        assert of["by"]["sex"]["male"]["malignancy"]["n_malignant"] == ((truth == 0) & (rows["sex"] == "male")).sum()


def test_a_given_prior_stands_beside_the_uniform_one(spark: SparkSession) -> None:
    table, given = predictions(100), np.array([0.6, 0.3, 0.1])
    for split, of in counted(spark, table, given=given)["splits"].items():
        rows = table[table["split"] == split]
        adjusted = np.stack(rows["probabilities"].to_list()) / PRIOR * given  # the logits plus log(given / training)
        adjusted /= adjusted.sum(axis=1, keepdims=True)
        right = adjusted.argmax(axis=1) == rows["label"].map(CLASSES.index).to_numpy()
        assert list(of["priors"]) == ["uniform", "given"]
        assert of["priors"]["given"]["accuracy"] == right.mean()
        truth = rows["label"].map(CLASSES.index)
        assert of["priors"]["given"]["log_loss"] == pytest.approx(log_loss(truth, adjusted, labels=[0, 1, 2]), abs=1e-9)


def test_what_is_said_to_be_unknown_is_unknown(spark: SparkSession) -> None:
    table = predictions(100)
    table["age"] = ["Unknown" if k % 3 == 0 else f"{k}.0" for k in range(100)]
    by = counted(spark, table)["splits"]["train"]["by"]["age"]
    assert set(by) == {*(f"{low}-{low + 9}" for low in range(0, 100, 10)), "unknown"}
    assert all(part["n"] and len(part["accuracy_ci95"]) == 2 for part in by.values())


def test_columns_are_cut_into_few_parts_that_mean_something(spark: SparkSession) -> None:
    table = predictions()
    by = counted(spark, table)["splits"]["train"]["by"]
    decades = [f"{low}-{low + 9}" for low in range(0, 90, 10)]
    assert set(by["age"]) == {*decades, "unknown"}
    forties = (table["split"] == "train") & table["age"].isin(["40.0", "45.0"])
    assert by["age"]["40-49"]["n"] == forties.sum()
    assert set(by["size in mm."]) == {"1.5", "2.5", "unknown"}
    assert "lesion" not in by  # more values than anyone reads
    assert "empty" not in by


def test_rows_without_figures_are_counted_by_reason(spark: SparkSession) -> None:
    table = predictions(100)
    extra = table.head(10).copy()
    extra["split"] = "test"
    extra.loc[:2, ["status", "probabilities"]] = ["truncated", None]
    extra.loc[3:4, "label"] = None
    extra.loc[5:5, "label"] = "wart"
    extra.loc[6:6, ["status", "split", "probabilities"]] = ["empty file", None, None]
    extra.loc[7:, ["status", "split", "label", "probabilities"]] = ["truncated", "outside", None, None]
    found = counted(spark, pd.concat([table, extra], ignore_index=True))["splits"]
    assert found["test"]["set_aside"] == {
        "not scored": 3,
        "no label": 2,
        "label is not a class of the model": 1,
        "probabilities are not finite": 0,
    }
    assert found["test"]["n"] == (table["split"] == "test").sum()
    assert list(found) == ["train", "val", "test", "outside"]
    assert (found["outside"]["n"], found["outside"]["set_aside"]["not scored"]) == (0, 3)
    assert found["outside"]["priors"]["uniform"]["accuracy"] is None


def test_a_model_that_diverged_is_named_and_not_reported(spark: SparkSession) -> None:
    table = predictions(50)
    table.at[7, "probabilities"] = [float("nan"), 0.5, 0.5]
    with pytest.raises(UserError, match=r"1 photographs of \w+ .*not finite"):
        counted(spark, table)
