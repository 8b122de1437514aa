"""The peers of the CPU kernels: one Lloyd iteration of scikit-learn, and LightGBM's histograms.

python3 benches/kernels/peers.py [rows] [Lloyd|LightGBM]    needs scikit-learn and lightgbm; one thread each

scikit-learn: 16 columns of f32, 8 centroids, the time of one more iteration (the difference of two runs).
LightGBM: 32 columns, 255 bins, the time of a tree with two leaves, which is one histogram of all rows.
"""

import os
import sys
import time

os.environ["OMP_NUM_THREADS"] = "1"

import lightgbm
import numpy
from sklearn.cluster import KMeans

ROWS = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
ONLY = sys.argv[2] if len(sys.argv) > 2 else ""
RUNS = 7


def fastest_ms(run):
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return min(times)


def lloyd(random):
    x = random.standard_normal((ROWS, 16), dtype=numpy.float32)

    def iterations(count):
        means = KMeans(8, init=x[:8], n_init=1, max_iter=count, tol=0, algorithm="lloyd")
        return fastest_ms(lambda: means.fit(x))

    print(f"scikit-learn, one Lloyd iteration: {(iterations(11) - iterations(1)) / 10:.1f} ms")


def histogram(random):
    x = random.standard_normal((ROWS, 32), dtype=numpy.float32)
    y = (random.random(ROWS) > 0.5).astype(int)
    options = {"objective": "binary", "num_leaves": 2, "max_bin": 255, "num_threads": 1, "verbose": -1}
    data = lightgbm.Dataset(x, y, params=options).construct()

    def trees(count):
        return fastest_ms(lambda: lightgbm.train(options, data, count))

    print(f"LightGBM, one histogram of 32 columns: {(trees(11) - trees(1)) / 10:.1f} ms")


random = numpy.random.default_rng(1)
if ONLY in ("", "Lloyd"):
    lloyd(random)
if ONLY in ("", "LightGBM"):
    histogram(random)
