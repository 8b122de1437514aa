#!/usr/bin/env python3
"""The peers of lakehouse.py: one process that runs some queries and prints their rows as CSV, each table after its header."""

import csv
import pathlib
import sys

N_QUERIES = 22


def write(names, rows):
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(names)
    out.writerows([["" if cell is None else str(cell).lower() if isinstance(cell, bool) else cell for cell in row] for row in rows])


def texts(folder):
    return [(pathlib.Path(folder) / f"{number:02}.sql").read_text() for number in range(1, N_QUERIES + 1)]


def queries(part):
    """Writes the texts of the TPC-H queries, each alone and all in one file."""
    import duckdb
    import duckdb_extension_tpch

    extension = next(pathlib.Path(duckdb_extension_tpch.__path__[0]).rglob("*.duckdb_extension"))
    connection = duckdb.connect()
    connection.execute(f"LOAD '{extension}'")
    part = pathlib.Path(part)
    part.mkdir()
    found = connection.execute("SELECT query_nr, query FROM tpch_queries() ORDER BY query_nr").fetchall()
    for number, text in found:
        (part / f"{number:02}.sql").write_text(text)
    (part / "all.sql").write_text("\n".join(text.strip().rstrip(";") + ";" for _, text in found))


def run_duckdb(folder, files):
    import duckdb

    connection = duckdb.connect()
    for file in sorted(pathlib.Path(files).glob("*.parquet")):
        connection.execute(f"CREATE VIEW {file.stem} AS SELECT * FROM '{file}'")
    for text in texts(folder):
        result = connection.execute(text)
        write([column[0] for column in result.description], result.fetchall())


def run_datafusion(folder, files):
    import datafusion

    context = datafusion.SessionContext()
    for file in sorted(pathlib.Path(files).glob("*.parquet")):
        context.register_parquet(file.stem, str(file))
    for text in texts(folder):
        collect(context, text)


def collect(context, text):
    frame = context.sql(text)
    batches = frame.collect()
    rows = [tuple(row.values()) for batch in batches for row in batch.to_pylist()]
    write(frame.schema().names, rows)


def query(text, folder):
    """One query over the Parquet files of a folder, as table t, in DataFusion."""
    import datafusion

    context = datafusion.SessionContext()
    context.register_parquet("t", str(folder))
    collect(context, text)


def columns(file):
    import pyarrow.parquet
    import pyarrow.types

    schema = pyarrow.parquet.read_schema(file)
    print(" ".join(field.name for field in schema if pyarrow.types.is_floating(field.type)))


def make_csv(part):
    """About a gigabyte: numbers, times, short and long texts, NULLs; from a fixed seed."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.csv

    rng, n_rows, writer = np.random.default_rng(7), 250_000, None
    cities = np.array(["Amsterdam", "Bern", "Córdoba", "Dublin, Ireland", "Essen \"Ruhr\"", ""])
    words = np.array(["blue", "of", "carefully", "deposits", "even", "packages", "quick", "sleep", "the", "under"])
    with open(part, "wb") as file:
        for idx in range(34):
            first = idx * n_rows
            seconds = 1_600_000_000 + rng.integers(0, 10**8, n_rows)
            note = words[rng.integers(0, len(words), (n_rows, 4))]
            table = pa.table(
                {
                    "id": np.arange(first, first + n_rows),
                    "at": pa.array(seconds, pa.timestamp("s")),
                    "day": pa.array(seconds // 86400, pa.int32()).cast(pa.date32()),
                    "city": cities[rng.integers(0, len(cities), n_rows)],
                    "note": [" ".join(row) for row in note],
                    "a": pa.array(rng.normal(size=n_rows).round(6)),
                    "b": pa.array(rng.normal(size=n_rows).round(6), mask=rng.random(n_rows) < 0.1),
                    "c": pa.array((rng.random(n_rows) * 1e6).round(2)),
                    "n": pa.array(rng.integers(0, 10**9, n_rows)),
                    "ok": rng.random(n_rows) < 0.5,
                }
            )
            options = pa.csv.WriteOptions(include_header=idx == 0)
            pa.csv.write_csv(table, file, options)


def ingest(table, out):
    import duckdb

    duckdb.execute(f"COPY (SELECT * FROM read_csv('{table}', header = true)) TO '{out}' (FORMAT parquet)")


if __name__ == "__main__":
    COMMANDS = {
        "queries": queries,
        "duckdb": run_duckdb,
        "datafusion": run_datafusion,
        "query": query,
        "columns": columns,
        "csv": make_csv,
        "ingest": ingest,
    }
    COMMANDS[sys.argv[1]](*sys.argv[2:])
