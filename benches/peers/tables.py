"""Writes a synthetic table to a Parquet file, in pieces of one row group each, from a fixed seed.

`boundary`: 28 columns of f32, a number `y` and a class `label` behind a nonlinear boundary, as in the physics
tables that gradient boosting is usually measured on. `blobs`: 8 Gaussian blobs in 16 columns of f32. `airline`: flights
with five text columns, two integers and the class `label` (1: delayed). `indicators`: twenty texts as an indicator
column for each of their 25 values, and four columns of f32. All have `is_eval`, true for the last
fifth of the rows.
"""

import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

PIECE = 262_144
MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
DAYS = "Mon Tue Wed Thu Fri Sat Sun".split()
N_CARRIERS = 22
N_AIRPORTS = 300


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


def indicators(rng, n):
    n_texts, n_values = 20, 25
    effect = np.random.default_rng(17).normal(scale=0.4, size=(n_texts, n_values))
    code = (rng.random((n, n_texts)) ** 2 * n_values).astype(np.int8)
    x = rng.standard_normal((n, 4), dtype=np.float32)
    z = effect[np.arange(n_texts), code].sum(axis=1) + 0.8 * x[:, 0] * x[:, 1] + np.sin(2 * x[:, 2])
    columns = {f"x{idx}": x[:, idx] for idx in range(4)}
    for text in range(n_texts):
        columns |= {f"t{text}_{value}": (code[:, text] == value).astype(np.int8) for value in range(n_values)}
    return columns | {"label": (rng.random(n) < 1 / (1 + np.exp(-z))).astype(np.int32)}


def airline_world():
    """What does not change from flight to flight: names, places, sizes, and the habits of carriers and airports."""
    rng = np.random.default_rng(13)
    letters = np.array([a + b + c for a in "ABCDEFGHIJKLM" for b in "AEIOUY" for c in "KLMNPRST"])
    codes = np.array([a + b for a in "ABDFHNOTUWX" for b in "AEQSX9"])
    # Traffic falls with the rank, as in the real network: some ten hubs have half of the departures.
    airport_share = 1 / np.arange(2, N_AIRPORTS + 2) ** 0.9
    carrier_share = 1 / np.arange(2, N_CARRIERS + 2)
    return {
        "airports": rng.choice(letters, N_AIRPORTS, replace=False),
        "carriers": rng.choice(codes, N_CARRIERS, replace=False),
        "airport_share": airport_share / airport_share.sum(),
        "carrier_share": carrier_share / carrier_share.sum(),
        # West to east and south to north, in miles.
        "place": rng.random((N_AIRPORTS, 2)) * [2600, 1500],
        "airport": rng.normal(scale=0.35, size=N_AIRPORTS),
        "congestion": rng.gamma(2.0, 0.35, size=N_AIRPORTS),
        "carrier": rng.normal(scale=0.4, size=N_CARRIERS),
        "evening": rng.normal(scale=0.5, size=N_CARRIERS),
        "base": rng.normal(scale=0.45, size=(N_CARRIERS, N_AIRPORTS)),
        "route": rng.normal(scale=0.25, size=(N_AIRPORTS, N_AIRPORTS)),
    }


AIRLINE = airline_world()


def airline(rng, n):
    world = AIRLINE
    month, day = rng.integers(0, 12, n), rng.choice(7, n, p=[0.15, 0.145, 0.147, 0.15, 0.15, 0.12, 0.138])
    carrier = rng.choice(N_CARRIERS, n, p=world["carrier_share"])
    origin = rng.choice(N_AIRPORTS, n, p=world["airport_share"])
    dest = rng.choice(N_AIRPORTS, n, p=world["airport_share"])
    dest = np.where(dest == origin, (dest + 1) % N_AIRPORTS, dest)
    # Departures of a day: a morning and an evening wave over a flat background from 5:00 on.
    wave = rng.random(n)
    hour = np.where(wave < 0.35, rng.normal(8, 1.5, n), np.where(wave < 0.7, rng.normal(17.5, 2, n), rng.uniform(5, 24, n)))
    minutes = (np.clip(hour, 0, 23.99) * 60).astype(np.int32)
    hour = minutes / 60
    distance = np.maximum(60, np.hypot(*(world["place"][origin] - world["place"][dest]).T)).astype(np.int32)
    north = world["place"][origin, 1] / 1500
    east = world["place"][origin, 0] / 2600
    winter, summer = np.isin(month, [0, 1, 11]), np.isin(month, [5, 6, 7])
    # Delays add up over the day; snow holds the north, afternoon storms the south-east; hubs jam in the two waves.
    z = -2.3 + 0.09 * np.maximum(hour - 6, 0) - 1.2 * (hour < 5)
    z += world["airport"][origin] + 0.5 * world["airport"][dest] + world["carrier"][carrier]
    z += world["congestion"][origin] * (np.exp(-((hour - 8) ** 2) / 4) + np.exp(-((hour - 17.5) ** 2) / 6))
    z += world["evening"][carrier] * (hour > 18) + world["base"][carrier, origin] + world["route"][origin, dest]
    z += 1.1 * winter * north + 1.0 * summer * (hour > 14) * east * (1 - north)
    z += 0.35 * np.isin(day, [3, 4]) * (hour > 15) - 0.3 * (day == 5) + 0.25 * np.sin(distance / 400) - 0.0002 * distance
    label = (rng.random(n) < 1 / (1 + np.exp(-z))).astype(np.int32)
    texts = {
        "month": (MONTHS, month), "day_of_week": (DAYS, day), "carrier": (world["carriers"], carrier),
        "origin": (world["airports"], origin), "dest": (world["airports"], dest),
    }  # fmt: skip
    columns = {name: pa.array(np.asarray(words)).cast(pa.string()).take(pa.array(codes)) for name, (words, codes) in texts.items()}
    return columns | {"dep_time": minutes // 60 * 100 + minutes % 60, "distance": distance, "label": label}


def main(shape, n_rows, path):
    make = {"boundary": boundary, "blobs": blobs, "airline": airline, "indicators": indicators}[shape]
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
