#!/usr/bin/env python3
"""Writes xgboost_trees.json: a small table and the first trees that XGBoost's `hist` grows on it.

    pip install numpy xgboost && python3 tests/reference/xgboost_trees.py > tests/reference/xgboost_trees.json

Every column has fewer distinct values than bins, so that both sides may split between the same values, and the
labels are drawn so that no two splits of a node gain the same. A test of the crate auspex-ml reads the file.
"""

import json

import numpy as np
import xgboost as xgb

N_ROWS, N_COLUMNS, N_VALUES = 600, 5, 150
PARAMETERS = {"tree_method": "hist", "max_depth": 4, "eta": 0.3, "lambda": 1.0, "min_child_weight": 1.0, "max_bin": 256, "nthread": 1}
N_TREES = 3


def node(tree):
    """XGBoost's node as [feature, threshold (less goes left), gain, left, right] or [value of the leaf]."""
    if "leaf" in tree:
        return [tree["leaf"]]
    children = {child["nodeid"]: child for child in tree["children"]}
    left, right = children[tree["yes"]], children[tree["no"]]
    return [int(tree["split"][1:]), tree["split_condition"], tree["gain"], node(left), node(right)]


def trees(columns, label, objective, base_score):
    data = xgb.QuantileDMatrix(columns.T, label, max_bin=256)
    model = xgb.train(PARAMETERS | {"objective": objective, "base_score": base_score}, data, num_boost_round=N_TREES)
    return [node(json.loads(text)) for text in model.get_dump(dump_format="json", with_stats=True)]


def main():
    rng = np.random.default_rng(5)
    # Halves are exact in single precision and in text.
    columns = rng.integers(0, N_VALUES, (N_COLUMNS, N_ROWS)) / 2
    z = columns[0] * columns[1] / 1000 + np.sin(columns[2] / 8) + rng.normal(size=N_ROWS)
    number = np.round(z * 1024) / 1024
    label = (rng.random(N_ROWS) < 1 / (1 + np.exp(3 - z))).astype(float)
    cases = {
        "squared_error": (number, "reg:squarederror", float(np.mean(number))),
        "logistic": (label, "binary:logistic", float(np.mean(label))),
    }
    out = {"xgboost": xgb.__version__, "columns": columns.tolist()}
    for name, (labels, objective, base) in cases.items():
        out[name] = {"labels": labels.tolist(), "trees": trees(columns, labels, objective, base)}
    print(json.dumps(out, separators=(",", ":")))


if __name__ == "__main__":
    main()
