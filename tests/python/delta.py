"""Reads and writes Delta tables with the `deltalake` package and with DuckDB, as Auspex's tests ask.

    delta.py read PATH        prints rows, version and sum of column `id` as each of the two sees them
    delta.py write PATH       makes a partitioned table in three commits, with an update and a deletion
"""

import pathlib
import sys

import deltalake
import duckdb
import duckdb_extension_delta
import pyarrow as pa


def read(path):
    table = deltalake.DeltaTable(path)
    rows = table.to_pyarrow_table().sort_by("id")
    print("deltalake", rows.num_rows, table.version(), sum(rows["id"].to_pylist()))
    print("columns", ",".join(f"{field.name}:{field.type}" for field in rows.schema))
    connection = duckdb.connect()
    extension = next(pathlib.Path(duckdb_extension_delta.__path__[0]).rglob("*.duckdb_extension"))
    connection.execute(f"LOAD '{extension}'")
    print("duckdb", *connection.execute(f"SELECT count(*), sum(id) FROM delta_scan('{path}')").fetchone())


def write(path):
    def batch(first, last):
        ids = list(range(first, last))
        return pa.table(
            {
                "id": ids,
                "region": ["north" if value % 2 else "south" for value in ids],
                "amount": [value * 1.5 if value % 5 else None for value in ids],
                "note": pa.array([f"row {value}" for value in ids]),
            }
        )

    deltalake.write_deltalake(path, batch(0, 50), partition_by=["region"])
    deltalake.write_deltalake(path, batch(50, 100), mode="append")
    table = deltalake.DeltaTable(path)
    table.update(predicate="id < 10", updates={"note": "'changed'"})
    table.delete("id >= 90")


if __name__ == "__main__":
    {"read": read, "write": write}[sys.argv[1]](*sys.argv[2:])
