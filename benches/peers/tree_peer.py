"""One process of a tree library: reads a Parquet file, learns or scores, and prints what it measured as JSON.

    tree_peer.py solvers TASK                                the task's solvers, the fastest first
    tree_peer.py TASK SOLVER TABLE [--threads N]             learn, and judge on the held-out fifth
    tree_peer.py prepare TASK SOLVER TABLE --model FILE      learn and save, for `scoring`
    tree_peer.py scoring SOLVER TABLE --model FILE --out FILE   score every row into a Parquet file
    tree_peer.py judge FILE...                               the quality of such files, whoever wrote them

Every library gets the same trees, leaves, depth, bins, learning rate and regularisation (XGBoost's defaults:
l2 = 1, at least 1 of hessian in a leaf), the other options at its own defaults. `train_cpu_s` and `train_wall_s`
are the growing of the trees alone: without reading, without the making of bins and without judging.
"""

import argparse
import json
import os
import time

TREES, LEAVES, BINS, LEARN_RATE = 100, 31, 255, 0.1
FOREST_DEPTH, SUBSAMPLE, COLSAMPLE_BYNODE = 15, 0.8, 0.8
NOT_FEATURES = ("y", "label", "is_eval")

# Each task with the solvers that are worth trying, the fastest first: the runner gives up on what falls far behind.
# `lightgbm-arrow` hands Arrow columns to LightGBM as they are; `lightgbm` fills a matrix of f32 batch by batch.
SOLVERS = {
    "boosted": ["lightgbm", "lightgbm-arrow", "xgboost", "hist-gradient-boosting"],
    "airline": ["lightgbm", "lightgbm-arrow", "xgboost", "hist-gradient-boosting"],
    "sparse": ["lightgbm", "xgboost"],
    "forest": ["xgboost", "lightgbm", "random-forest"],
    "scoring": ["lightgbm", "lightgbm-arrow", "xgboost"],
}


class Codes:
    """Numbers for the texts of a column, in the order in which they appear."""

    def __init__(self):
        self.code_of = {}

    def encode(self, column):
        import numpy as np

        column = column.dictionary_encode() if not hasattr(column, "dictionary") else column
        words = column.dictionary.to_pylist()
        codes = np.array([self.code_of.setdefault(word, len(self.code_of)) for word in words])
        return codes[column.indices.to_numpy(zero_copy_only=False)]


class Reader:
    """The rows of a Parquet file in batches of f32 matrices; texts become numbers on the way."""

    def __init__(self, path):
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = pq.read_schema(path)
        self.path = path
        self.features = [name for name in schema.names if name not in NOT_FEATURES]
        self.texts = [name for name in self.features if pa.types.is_string(schema.field(name).type)]
        self.categorical = [idx for idx, name in enumerate(self.features) if name in self.texts]
        self.codes = {name: Codes() for name in self.texts}

    def column(self, batch, name):
        return self.codes[name].encode(batch[name]) if name in self.codes else batch[name].to_numpy(zero_copy_only=False)

    def batches(self):
        """(features, label, is_eval) of up to 262,144 rows each."""
        import numpy as np
        import pyarrow.parquet as pq

        file = pq.ParquetFile(self.path, read_dictionary=self.texts)
        for batch in file.iter_batches(262_144, columns=[*self.features, "label", "is_eval"]):
            x = np.empty((len(batch), len(self.features)), dtype=np.float32)
            for idx, name in enumerate(self.features):
                x[:, idx] = self.column(batch, name)
            yield x, batch["label"].to_numpy(), batch["is_eval"].to_numpy(zero_copy_only=False)

    def split(self):
        """(x, label) of the training rows and of the held-out rows, each filled in once and in place."""
        import numpy as np
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        marks = pq.read_table(self.path, columns=["is_eval"])["is_eval"]
        n_eval = pc.sum(marks).as_py()
        parts = []
        for n in (len(marks) - n_eval, n_eval):
            parts.append([np.empty((n, len(self.features)), dtype=np.float32), np.empty(n, dtype=np.int32), 0])
        for x, label, is_eval in self.batches():
            for part, rows in zip(parts, (~is_eval, is_eval)):
                start, end = part[2], part[2] + int(rows.sum())
                part[0][start:end], part[1][start:end], part[2] = x[rows], label[rows], end
        return [(x, label) for x, label, _ in parts]

    def split_arrow(self):
        """As `split`, with a pyarrow table of the columns as they are instead of a matrix."""
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        parts = []
        for wanted in (False, True):
            columns = [*self.features, "label"]
            table = pq.read_table(self.path, columns=columns, filters=pc.field("is_eval") == wanted, read_dictionary=self.texts)
            for idx, name in enumerate(self.features):
                if name in self.codes:
                    chunks = [pa.array(self.codes[name].encode(chunk), pa.int32()) for chunk in table[name].chunks]
                    table = table.set_column(idx, name, pa.chunked_array(chunks, pa.int32()))
            parts.append((table.select(self.features), table["label"].to_numpy()))
        return parts


class Clock:
    """CPU and wall time of a block, all threads together."""

    def __enter__(self):
        self.start = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_):
        self.cpu = time.process_time() - self.start[0]
        self.wall = time.perf_counter() - self.start[1]


def lightgbm_params(task, threads):
    params = {
        "objective": "binary", "max_bin": BINS, "lambda_l2": 1.0, "min_sum_hessian_in_leaf": 1.0,
        "min_data_in_leaf": 1, "num_threads": threads or 0, "seed": 0, "verbosity": -1,
    }  # fmt: skip
    if task == "forest":
        # Bounded, since the histograms of 32,768 leaves would take gigabytes.
        forest = {"boosting": "rf", "num_leaves": 2**FOREST_DEPTH, "max_depth": FOREST_DEPTH, "histogram_pool_size": 1024}
        rows = {"bagging_freq": 1, "bagging_fraction": SUBSAMPLE, "feature_fraction_bynode": COLSAMPLE_BYNODE}
        return params | forest | rows
    return params | {"num_leaves": LEAVES, "learning_rate": LEARN_RATE}


def learn_lightgbm(task, train, reader, threads):
    import lightgbm as lgb

    params = lightgbm_params(task, threads)
    x, label = train
    with Clock() as binning:
        data = lgb.Dataset(x, label, params=params, categorical_feature=reader.categorical, free_raw_data=True).construct()
    # The binned copy is all that LightGBM needs from here on.
    train.clear()
    del x
    with Clock() as training:
        model = lgb.train(params, data, num_boost_round=TREES)
    return model, binning, training


def learn_xgboost(task, train, reader, threads):
    import xgboost as xgb

    params = {"objective": "binary:logistic", "tree_method": "hist", "max_bin": BINS, "nthread": threads or 0, "seed": 0}
    if task == "forest":
        params |= {"num_parallel_tree": TREES, "max_depth": FOREST_DEPTH, "eta": 1.0}
        params |= {"subsample": SUBSAMPLE, "colsample_bynode": COLSAMPLE_BYNODE}
    else:
        params |= {"grow_policy": "lossguide", "max_leaves": LEAVES, "max_depth": 0, "eta": LEARN_RATE}
    x, label = train
    types = ["c" if idx in reader.categorical else "q" for idx in range(len(reader.features))]
    with Clock() as binning:
        data = xgb.QuantileDMatrix(x, label, max_bin=BINS, feature_types=types, enable_categorical=True, nthread=threads)
    train.clear()
    del x
    with Clock() as training:
        model = xgb.train(params, data, num_boost_round=1 if task == "forest" else TREES)
    return model, binning, training


def learn_sklearn(task, train, reader, threads):
    """HistGradientBoosting, or RandomForest with its exact splits; both bin or sort inside `fit`."""
    x, label = train
    if task == "forest":
        from sklearn.ensemble import RandomForestClassifier

        model = RandomForestClassifier(
            TREES, max_depth=FOREST_DEPTH, max_samples=SUBSAMPLE, max_features=COLSAMPLE_BYNODE, n_jobs=threads or -1, random_state=0
        )
    else:
        from sklearn.ensemble import HistGradientBoostingClassifier

        # It takes at most max_bins categories: the airports beyond stay numbers in the order of appearance.
        few = [idx for idx in reader.categorical if len(reader.codes[reader.features[idx]].code_of) <= BINS]
        model = HistGradientBoostingClassifier(
            max_iter=TREES, max_leaf_nodes=LEAVES, max_bins=BINS, learning_rate=LEARN_RATE, l2_regularization=1.0,
            min_samples_leaf=1, early_stopping=False, categorical_features=few or None, random_state=0,
        )  # fmt: skip
    with Clock() as training:
        model.fit(x, label)
    return model, None, training


LEARN = {
    "lightgbm": learn_lightgbm, "lightgbm-arrow": learn_lightgbm, "xgboost": learn_xgboost,
    "hist-gradient-boosting": learn_sklearn, "random-forest": learn_sklearn,
}  # fmt: skip


def predict(solver, model, reader, x, threads):
    """The probability of label 1 for each row of `x`, a matrix or (LightGBM) a pyarrow table."""
    if solver.startswith("lightgbm"):
        return model.predict(x, num_threads=threads or 0)
    if solver == "xgboost" and not reader.categorical:
        return model.inplace_predict(x)
    if solver == "xgboost":
        import xgboost as xgb

        types = ["c" if idx in reader.categorical else "q" for idx in range(len(reader.features))]
        return model.predict(xgb.DMatrix(x, feature_types=types, enable_categorical=True))
    return model.predict_proba(x)[:, 1]


def auc(label, probability):
    import numpy as np

    # By mean ranks (Mann-Whitney), so that no process loads more than its own library.
    values, group, size = np.unique(probability, return_inverse=True, return_counts=True)
    ranks = np.cumsum(size) - (size - 1) / 2
    n_positive = int(label.sum())
    above = ranks[group][label == 1].sum() - n_positive * (n_positive + 1) / 2
    return float(above / (n_positive * (len(label) - n_positive)))


def learn(args):
    """Reads, learns, judges; returns what the runner prints."""
    reader = Reader(args.table)
    with Clock() as reading:
        parts = reader.split_arrow() if args.solver == "lightgbm-arrow" else reader.split()
    train, held_out = list(parts[0]), parts[1]
    del parts
    model, binning, training = LEARN[args.solver](args.task, train, reader, args.threads)
    if args.model:
        model.save_model(args.model)
    figures = {"train_cpu_s": training.cpu, "train_wall_s": training.wall, "read_cpu_s": reading.cpu}
    if binning:
        figures["binning_cpu_s"] = binning.cpu
    with Clock() as judging:
        probability = predict(args.solver, model, reader, held_out[0], args.threads)
        figures["quality"] = auc(held_out[1], probability)
    return figures | {"judge_cpu_s": judging.cpu}


def score(args):
    """Parquet -> probabilities -> Parquet, with what a judge needs beside them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    reader = Reader(args.table)
    if args.solver == "xgboost":
        import xgboost as xgb

        model = xgb.Booster({"nthread": args.threads or 0}, model_file=args.model)
    else:
        import lightgbm as lgb

        model = lgb.Booster(model_file=args.model)
    if args.solver == "lightgbm-arrow":
        table = pq.read_table(args.table)
        p = predict(args.solver, model, reader, table.select(reader.features), args.threads)
        pq.write_table(table.select(["is_eval", "label"]).append_column("p", pa.array(p)), args.out)
        return {}
    writer = None
    for x, label, is_eval in reader.batches():
        p = predict(args.solver, model, reader, x, args.threads)
        table = pa.table({"is_eval": is_eval, "label": label, "p": p.astype("float64")})
        writer = writer or pq.ParquetWriter(args.out, table.schema)
        writer.write_table(table)
    writer.close()
    return {}


def judge(paths):
    """AUC of scored files on the held-out rows, together, whatever the order of their rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = [pq.read_table(path, columns=["is_eval", "label", "p"]) for path in paths]
    rows = pa.concat_tables(tables, promote_options="permissive")
    held_out = rows.filter(rows["is_eval"])
    return {"n_rows": len(rows), "quality": auc(held_out["label"].to_numpy(), held_out["p"].to_numpy())}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="+", help="as above")
    parser.add_argument("--threads", type=int, help="default: the library's choice")
    parser.add_argument("--model", help="file of the saved model")
    parser.add_argument("--out", help="file for the scores")
    args = parser.parse_args()
    if args.threads:
        # Read when the libraries load: OpenMP's teams, and pyarrow's decoding.
        os.environ["OMP_NUM_THREADS"] = str(args.threads)
    verb, *rest = args.words
    if verb == "solvers":
        print(json.dumps(SOLVERS[rest[0]]))
    elif verb == "judge":
        print(json.dumps(judge(rest)))
    else:
        args.task, args.solver, args.table = rest if verb == "prepare" else args.words
        print(json.dumps(score(args) if verb == "scoring" else learn(args)))


if __name__ == "__main__":
    main()
