"""LightGBM as people serve it: behind FastAPI, and as a model of MLflow.

    python peer.py make WORK     trains the model of `serving.py` and saves it for both
    uvicorn peer:app             serves it, from $WORK
"""

import math
import os
import pathlib
import shutil
import sys

import lightgbm
import numpy

FEATURES = 28
NAMES = [f"x{i}" for i in range(FEATURES)]


def make(work):
    rows = numpy.random.default_rng(0).random((100_000, FEATURES))
    x = rows.T
    label = x[0] + 2 * x[1] * x[2] + numpy.sin(6 * x[3]) + x[4] * x[4]
    model = lightgbm.train(
        {"objective": "regression", "num_leaves": 31, "verbose": -1, "num_threads": 1},
        lightgbm.Dataset(rows, label, feature_name=NAMES),
        num_boost_round=100,
    )
    model.save_model(str(work / "lightgbm.txt"))
    import mlflow.lightgbm

    folder = work / "mlflow"
    shutil.rmtree(folder, ignore_errors=True)
    mlflow.lightgbm.save_model(model, str(folder))
    assert math.isfinite(model.predict(rows[:1])[0])


if __name__ == "__main__":
    make(pathlib.Path(sys.argv[2]))
else:
    from fastapi import FastAPI
    from pydantic import BaseModel

    app = FastAPI()
    booster = lightgbm.Booster(model_file=os.path.join(os.environ["WORK"], "lightgbm.txt"))

    class Row(BaseModel):
        features: list[float]

    @app.get("/ready")
    def ready():
        return {"ready": True}

    @app.post("/predict")
    def predict(row: Row):
        return {"prediction": float(booster.predict(numpy.array([row.features]), num_threads=1)[0])}
