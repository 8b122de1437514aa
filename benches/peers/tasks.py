"""The benchmark's tasks as data: tables, statements of Auspex, peers, and the bars to reach.

A task's statements run in one process on a fresh warehouse; `{table}` is the Parquet file. `prepare` runs before,
unmeasured. A statement whose column is `quality` or `training_ms` gives that figure to the runner.
"""

from dataclasses import dataclass, field

SPLIT = "data_split_method = 'CUSTOM', data_split_col = 'is_eval'"
LABEL = f"input_label_cols = ['label'], {SPLIT}"
# As LEAVES, BINS, TREES and LEARN_RATE of tree_peer.py.
BOOSTED = (
    f"model_type = 'boosted_tree_classifier', {LABEL}, max_iterations = {{trees}}, learn_rate = 0.1, "
    "grow_policy = 'loss_guide', max_leaves = 31, max_bin = 255, max_tree_depth = 0, early_stop = FALSE"
)
FOREST = (
    f"model_type = 'random_forest_classifier', {LABEL}, num_parallel_tree = 100, max_tree_depth = 15, "
    "max_bin = 255, subsample = 0.8, colsample_bynode = 0.8"
)
TREES = 100
# The growing of the trees alone, by Auspex's own clock: wall time, so equal to CPU time at best on one thread.
TRAINING = "SELECT sum(duration_ms) AS training_ms FROM ML.TRAINING_INFO(MODEL m)"
AUC = "SELECT roc_auc AS quality FROM ML.EVALUATE(MODEL m)"


@dataclass(frozen=True)
class Bar:
    """A figure of Auspex over the best of the peers (`quality`: their difference), and what to reach."""

    name: str
    # wall, cpu, peak, training (ours by TRAINING_INFO, the peer's CPU time), growing (CPU time of both, see `one_tree`),
    # quality, speedup (wall of one thread / wall of two), training speedup, limited (wall / wall unlimited).
    figure: str
    limit: float
    # Peers whose name starts with one of these; of several the best in this figure counts.
    against: tuple = ()
    threads: int | None = 2
    at_least: bool = False


@dataclass(frozen=True)
class Task:
    """What both sides do on one table."""

    shape: str
    statements: tuple
    peer: str = "sklearn_peer.py"
    prepare: tuple = ()
    # Rows of the table that `prepare` learns from, at most.
    prepare_rows: int | None = None
    # None: as many as each system likes.
    threads: tuple = (None,)
    # As `statements` with one tree: the difference in CPU time is the growing of the others.
    one_tree: tuple = ()
    # Also with a memory limit of this many bytes a row, with the same model to the bit.
    limit_bytes_a_row: float | None = None
    bars: tuple = field(default=())


def boosted(features, trees=TREES):
    options = BOOSTED.format(trees=trees)
    return f"CREATE MODEL m OPTIONS ({options}) AS SELECT {features} FROM '{{table}}'"


TASKS = {
    "linear": Task(
        "boundary",
        (
            f"CREATE MODEL m OPTIONS (model_type = 'linear_reg', input_label_cols = ['y'], {SPLIT}) AS SELECT * EXCEPT (label) FROM '{{table}}'",
            "SELECT r2_score AS quality FROM ML.EVALUATE(MODEL m)",
        ),
    ),
    "logistic": Task(
        "boundary",
        (
            f"CREATE MODEL m OPTIONS (model_type = 'logistic_reg', input_label_cols = ['label'], l2_reg = 1.0, {SPLIT}) AS SELECT * EXCEPT (y) FROM '{{table}}'",
            AUC,
        ),
    ),
    "kmeans": Task(
        "blobs",
        (
            "CREATE MODEL m OPTIONS (model_type = 'kmeans', num_clusters = 8, standardize_features = FALSE, "
            "early_stop = FALSE, max_iterations = 300) AS SELECT * EXCEPT (is_eval) FROM '{table}' WHERE NOT is_eval",
            "SELECT mean_squared_distance AS quality FROM ML.EVALUATE(MODEL m, (SELECT * FROM '{table}' WHERE is_eval))",
        ),
    ),
    "boosted": Task(
        "boundary",
        (boosted("* EXCEPT (y)"), TRAINING, AUC),
        peer="tree_peer.py",
        threads=(1, 2),
        one_tree=(boosted("* EXCEPT (y)", trees=1), TRAINING, AUC),
        bars=(
            Bar("training alone / LightGBM's CPU time", "training", 0.9, ("lightgbm",), threads=1),
            Bar("growing, CPU / LightGBM's CPU time", "growing", 0.9, ("lightgbm",), threads=1),
            Bar("AUC - LightGBM's", "quality", -0.001, ("lightgbm",), threads=1, at_least=True),
            Bar("wall / best of LightGBM, XGBoost", "wall", 0.7, ("lightgbm", "xgboost")),
            Bar("peak / best of LightGBM, XGBoost", "peak", 0.35, ("lightgbm", "xgboost")),
            Bar("two threads against one, whole process", "speedup", 1.8, at_least=True),
            Bar("two threads against one, training alone", "training speedup", 1.8, at_least=True),
        ),
    ),
    "airline": Task(
        "airline",
        (boosted("*"), TRAINING, AUC),
        peer="tree_peer.py",
        threads=(2,),
        bars=(
            Bar("wall / LightGBM", "wall", 0.8, ("lightgbm",)),
            Bar("AUC - LightGBM's", "quality", -0.001, ("lightgbm",), at_least=True),
        ),
    ),
    "sparse": Task(
        "indicators",
        (boosted("*"), TRAINING, AUC),
        peer="tree_peer.py",
        threads=(2,),
        bars=(
            Bar("wall / best of LightGBM, XGBoost", "wall", 0.7, ("lightgbm", "xgboost")),
            Bar("AUC - best of both", "quality", -0.001, ("lightgbm", "xgboost"), at_least=True),
        ),
    ),
    "forest": Task(
        "boundary",
        (f"CREATE MODEL m OPTIONS ({FOREST}) AS SELECT * EXCEPT (y) FROM '{{table}}'", TRAINING, AUC),
        peer="tree_peer.py",
        threads=(2,),
        bars=(
            Bar("wall / best of all", "wall", 0.5, ("",)),
            Bar("AUC - best of all", "quality", -0.001, ("",), at_least=True),
        ),
    ),
    "scoring": Task(
        "boundary",
        # Written as Parquet into the warehouse; the judge of tree_peer.py reads it from there.
        ("CREATE TABLE scored AS SELECT is_eval, label, PREDICT_PROBA(m, 1 USING *) AS p FROM '{table}'",),
        peer="tree_peer.py",
        prepare=(boosted("* EXCEPT (y)"),),
        prepare_rows=1_000_000,
        threads=(2,),
        bars=(Bar("wall / LightGBM", "wall", 0.5, ("lightgbm",)),),
    ),
    "limited": Task(
        "boundary",
        (boosted("* EXCEPT (y)"), TRAINING, AUC),
        peer="",
        threads=(2,),
        # A third of the bins: 28 columns of one byte.
        limit_bytes_a_row=28 / 3,
        bars=(Bar("wall under the limit / unlimited", "limited", 3.0),),
    ),
}
