"""Writes a synthetic table to a Parquet file, in pieces, from a fixed seed.

`boundary`: 28 columns of f32, a number `y` and a class `label` behind a nonlinear boundary, as in the physics
tables that gradient boosting is usually measured on. `blobs`: 8 Gaussian blobs in 16 columns of f32. Both have
`is_eval`, true for the last fifth of the rows.
"""

import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

PIECE = 262_144


def boundary(rng, n):
    x = rng.standard_normal((n, 28), dtype=np.float32)
    weights = np.random.default_rng(7).normal(size=28)
    z = x @ weights * 0.3 + 0.8 * x[:, 0] * x[:, 1] + np.sin(2 * x[:, 2]) + 0.5 * (x[:, 3] ** 2 - 1)
    y = z + rng.normal(size=n)
    label = (rng.random(n) < 1 / (1 + np.exp(-z))).astype(np.int32)
    columns = {f"x{idx}": x[:, idx] for idx in range(28)}
    return columns | {"y": y.astype(np.float64), "label": label}


def blobs(rng, n):
    centres = np.random.default_rng(11).normal(scale=3.0, size=(8, 16)).astype(np.float32)
    x = centres[rng.integers(0, 8, n)] + rng.standard_normal((n, 16), dtype=np.float32)
    return {f"x{idx}": x[:, idx] for idx in range(16)}


def main(shape, n_rows, path):
    make = {"boundary": boundary, "blobs": blobs}[shape]
    rng = np.random.default_rng(1)
    writer = None
    for start in range(0, n_rows, PIECE):
        n = min(PIECE, n_rows - start)
        columns = make(rng, n)
        columns["is_eval"] = np.arange(start, start + n) >= n_rows - n_rows // 5
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema, compression="snappy")
        writer.write_table(table)
    writer.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
