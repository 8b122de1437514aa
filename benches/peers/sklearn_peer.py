"""One scikit-learn process: reads a Parquet file, learns, and prints the quality on the held-out fifth."""

import json
import sys

# Each task with the solvers that are worth trying; the runner compares with the fastest.
SOLVERS = {"linear": ["lstsq", "cholesky"], "logistic": ["lbfgs", "newton-cholesky"], "kmeans": ["lloyd", "elkan"]}


def main(task, solver, path):
    import numpy as np
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    is_eval = table["is_eval"].to_numpy(zero_copy_only=False)
    names = [name for name in table.column_names if name.startswith("x")]
    x = np.empty((len(is_eval), len(names)), dtype=np.float32)
    for idx, name in enumerate(names):
        x[:, idx] = table[name].to_numpy()
    target = None if task == "kmeans" else table["y" if task == "linear" else "label"].to_numpy()
    del table
    train, held_out = x[~is_eval], x[is_eval]
    del x
    if task == "linear":
        from sklearn.linear_model import LinearRegression, Ridge

        model = LinearRegression() if solver == "lstsq" else Ridge(alpha=1e-9, solver="cholesky")
        model.fit(train, target[~is_eval])
        print(model.score(held_out, target[is_eval]))
    elif task == "logistic":
        from sklearn.linear_model import LogisticRegression
        from sklearn.metrics import roc_auc_score

        model = LogisticRegression(C=1.0, solver=solver, max_iter=100).fit(train, target[~is_eval])
        print(roc_auc_score(target[is_eval], model.predict_proba(held_out)[:, 1]))
    else:
        from sklearn.cluster import KMeans

        model = KMeans(8, n_init=1, algorithm=solver, random_state=0, max_iter=300, tol=0).fit(train)
        print(-model.score(held_out) / len(held_out))


if __name__ == "__main__":
    if sys.argv[1] == "solvers":
        print(json.dumps(SOLVERS[sys.argv[2]]))
    else:
        main(*sys.argv[1:4])
