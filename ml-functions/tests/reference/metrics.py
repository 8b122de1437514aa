"""Reference values of the metrics, from scikit-learn.

Run: python metrics.py > metrics.json   (scikit-learn 1.9.1, NumPy; needs nothing else)

The inputs are short, fixed and have ties in the scores; they are written beside the results, so that
the test reads both from one file.
"""

import json
import warnings

import numpy as np
from sklearn import metrics as sk

warnings.simplefilter("ignore")
random = np.random.RandomState(20)


def regression():
    label = np.round(random.gamma(2.0, 50.0, 41), 3)
    prediction = np.round(label + random.normal(0.0, 12.0, 41), 3).clip(0.0)
    errors = np.sort(np.abs(label - prediction))
    return {
        "labels": label.tolist(),
        "predictions": prediction.tolist(),
        "metrics": {
            "mean_absolute_error": sk.mean_absolute_error(label, prediction),
            "mean_squared_error": sk.mean_squared_error(label, prediction),
            "mean_squared_log_error": sk.mean_squared_log_error(label, prediction),
            # An odd number of rows: the lower median is the median.
            "median_absolute_error": sk.median_absolute_error(label, prediction),
            "r2_score": sk.r2_score(label, prediction),
            "explained_variance": sk.explained_variance_score(label, prediction),
        },
        "lower_median_of_all_but_last": np.sort(np.abs(label - prediction)[:-1])[19],
        "n": len(errors),
    }


def scores(label, predicted, average):
    return {
        "precision": sk.precision_score(label, predicted, average=average, zero_division=0),
        "recall": sk.recall_score(label, predicted, average=average, zero_division=0),
        "accuracy": sk.accuracy_score(label, predicted),
        "f1_score": sk.f1_score(label, predicted, average=average, zero_division=0),
    }


def binary():
    label = random.randint(0, 2, 60)
    # One decimal: many ties, also at 0.5.
    probability = np.round(np.clip(0.3 * label + random.uniform(0.05, 0.7, 60), 0, 1), 1)
    thresholds = [0.0, 0.25, 0.5, 0.7, 1.0]
    at = {t: scores(label, (probability >= t).astype(int), "binary") for t in thresholds}
    points = []
    for t in thresholds:
        tn, fp, fn, tp = sk.confusion_matrix(label, probability >= t, labels=[0, 1]).ravel()
        points.append([t, tp / (tp + fn), fp / (fp + tn), int(tp), int(fp), int(tn), int(fn)])
    return {
        "labels": label.tolist(),
        "probabilities": probability.tolist(),
        "metrics": at[0.5]
        | {
            "log_loss": sk.log_loss(label, probability.clip(1e-15, 1 - 1e-15)),
            "roc_auc": sk.roc_auc_score(label, probability),
        },
        "thresholds": [[t, at[t]] for t in thresholds],
        "roc_curve": points,
        "confusion_at_0.7": sk.confusion_matrix(label, probability >= 0.7).tolist(),
    }


def multiclass():
    # Four classes; the last is never true, and predicted at times.
    label = random.randint(0, 3, 80)
    weights = random.randint(1, 5, (80, 4)).astype(float)
    weights[np.arange(80), label] += random.randint(0, 4, 80)
    probability = weights / weights.sum(axis=1, keepdims=True)
    predicted = probability.argmax(axis=1)
    # One-vs-rest over the classes that have rows of both kinds.
    areas = [sk.roc_auc_score(label == k, probability[:, k]) for k in range(3)]
    unknown = label.copy()
    unknown[:7] = 4
    known = unknown < 4
    areas_unknown = [sk.roc_auc_score(unknown == k, probability[:, k]) for k in range(3)]
    loss = lambda rows: float(-np.log(probability[rows, label[rows]]).mean())
    return {
        "labels": label.tolist(),
        "probabilities": probability.ravel().tolist(),
        "metrics": scores(label, predicted, "macro")
        | {"log_loss": loss(np.arange(80)), "roc_auc": float(np.mean(areas))},
        "confusion": sk.confusion_matrix(label, predicted, labels=[0, 1, 2, 3])[:3].tolist(),
        # The first seven labels replaced by a class that training never saw.
        "metrics_unknown": scores(unknown, predicted, "macro")
        | {"log_loss": loss(np.flatnonzero(known)), "roc_auc": float(np.mean(areas_unknown))},
    }


def clustering():
    points = np.round(random.normal(0.0, 1.0, (30, 2)) + np.repeat([[0, 0], [4, 1], [1, 5]], 10, 0), 3)
    centroids = np.array([points[i * 10 : i * 10 + 10].mean(axis=0) for i in range(3)])
    distances = np.linalg.norm(points[:, None] - centroids[None], axis=2)
    ids = distances.argmin(axis=1)
    between = np.linalg.norm(centroids[:, None] - centroids[None], axis=2)
    squares = distances[np.arange(30), ids] ** 2
    scatter = np.array([np.sqrt(squares[ids == i].mean()) for i in range(3)])
    worst = [max((scatter[i] + scatter[j]) / between[i, j] for j in range(3) if j != i) for i in range(3)]
    return {
        "ids": ids.tolist(),
        "distances": distances.ravel().tolist(),
        "centroid_distances": between.ravel().tolist(),
        # scikit-learn's index takes mean distances; this is the one of RMS scatter, written out.
        "metrics": {"davies_bouldin_index": float(np.mean(worst)), "mean_squared_distance": squares.mean()},
    }


reference = {
    "regression": regression(),
    "binary": binary(),
    "multiclass": multiclass(),
    "clustering": clustering(),
}
lines = (f"{json.dumps(name)}: {json.dumps(part, default=float)}" for name, part in reference.items())
print("{\n" + ",\n".join(lines) + "\n}")
