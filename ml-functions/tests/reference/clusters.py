"""Writes clusters.json: samples, and what scikit-learn and numpy make of them.

Run: python clusters.py penguins.parquet   (scikit-learn, pandas, pyarrow)
The table is `penguins-raw` of PyPI's palmerpenguins (CC0) as BigQuery publishes it.
"""

import json
import pathlib
import sys

import numpy as np
import pandas as pd
import sklearn
from sklearn.cluster import DBSCAN, KMeans
from sklearn.datasets import make_blobs, make_moons
from sklearn.decomposition import PCA


def kmeans():
    """Overlapping blobs, scaled by the sample deviation; the start is some of the rows."""
    rows, _ = make_blobs(n_samples=400, n_features=4, centers=6, cluster_std=3.0, random_state=1)
    rows = rows.round(3)
    scaled = (rows - rows.mean(axis=0)) / rows.std(axis=0, ddof=1)
    start = scaled[[0, 7, 50, 120, 200]]
    fitted = KMeans(5, init=start, n_init=1, max_iter=300, tol=0, algorithm="lloyd").fit(scaled)
    distances = fitted.transform(scaled)
    radii = [float(np.sqrt((distances[fitted.labels_ == c, c] ** 2).mean())) for c in range(5)]
    best = min(
        KMeans(6, n_init=1, random_state=seed, max_iter=300, tol=0).fit(scaled).inertia_
        for seed in range(20)
    )
    return {
        "rows": rows.tolist(),
        "start": start.tolist(),
        "inertia": fitted.inertia_,
        "centroids": fitted.cluster_centers_.tolist(),
        "labels": fitted.labels_.tolist(),
        "radii": radii,
        "best_inertia_of_six": best,
    }


def spherical(rows, start):
    """Lloyd's iterations by cosine: no library of the peers has them."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    centroids = start / np.linalg.norm(start, axis=1, keepdims=True)
    while True:
        labels = (unit @ centroids.T).argmax(axis=1)
        moved = np.array([unit[labels == c].sum(axis=0) for c in range(len(start))])
        moved /= np.linalg.norm(moved, axis=1, keepdims=True)
        if np.allclose(moved, centroids, rtol=0, atol=1e-15):
            break
        centroids = moved
    loss = float((1 - (unit * centroids[labels]).sum(axis=1)).mean())
    return {"start": start.tolist(), "loss": loss, "centroids": centroids.tolist()}


def dbscan():
    rows, _ = make_moons(n_samples=300, noise=0.08, random_state=3)
    noise = np.random.default_rng(4).uniform(-2, 3, size=(40, 2))
    rows = np.vstack([rows, noise]).round(3)
    fits = []
    for eps, min_samples in [(0.15, 5), (0.3, 1), (0.2, 12), (0.01, 5)]:
        fitted = DBSCAN(eps=eps, min_samples=min_samples).fit(rows)
        core = set(fitted.core_sample_indices_.tolist())
        # Border samples may lie between two clusters: only the core ones have one answer.
        labels = [int(label) if i in core else None for i, label in enumerate(fitted.labels_)]
        fits.append({
            "eps": eps,
            "min_samples": min_samples,
            "core_labels": labels,
            "is_noise": [bool(label < 0) for label in fitted.labels_],
            "n_clusters": int(fitted.labels_.max() + 1),
        })
    return {"rows": rows.tolist(), "fits": fits}


def pca(rows):
    scaled = (rows - rows.mean(axis=0)) / rows.std(axis=0, ddof=1)
    fitted = PCA(3, svd_solver="full").fit(scaled)
    centred = PCA(3, svd_solver="full").fit(rows)
    return {
        "eigenvalues": fitted.explained_variance_.tolist(),
        "ratios": fitted.explained_variance_ratio_.tolist(),
        "components": fitted.components_.tolist(),
        "coordinates": np.abs(fitted.transform(scaled)[:5]).tolist(),
        "centred_eigenvalues": centred.explained_variance_.tolist(),
    }


def penguins(path):
    table = pd.read_parquet(path)
    columns = {}
    for name in table.columns:
        values = table[name].astype(object).where(table[name].notna(), None)
        columns[name] = values.tolist()
    return columns


def main():
    found = {"versions": {"scikit-learn": sklearn.__version__, "numpy": np.__version__}}
    found["kmeans"] = kmeans()
    rows = np.array(found["kmeans"]["rows"])
    found["spherical"] = spherical(rows, rows[[3, 60, 61, 200]])
    found["dbscan"] = dbscan()
    found["pca"] = pca(rows)
    found["penguins"] = penguins(sys.argv[1])
    path = pathlib.Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(found, separators=(",", ":")) + "\n")


main()
