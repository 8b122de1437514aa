#!/usr/bin/env python3
"""SQL over managed tables beside DataFusion and DuckDB: whole processes in turn, on the same files.

    cargo build --release --locked --bin auspex
    python3 benches/sql/lakehouse.py --auspex target/release/auspex                       # every task
    python3 benches/sql/lakehouse.py --auspex target/release/auspex --tasks tpch scan --repeat 3

Tasks (each prints wall time, CPU time and peak memory of both sides, the ratio, and its bar):

    tpch      the 22 queries of TPC-H at scale factor 1: Auspex over managed tables, DataFusion and DuckDB over Parquet files
    scan      sums over all columns of 5,000,000 rows x 28: a managed table against the same files in DataFusion
    ingest    a CSV file of 1 GB into a managed table, with a memory limit of 256 MB, against DuckDB's CSV to Parquet
    planning  a table of 1,000 files: time to plan a query that a second statement repeats (read from EXPLAIN)
    catalog   10,000 tables: the first statement of a cold process, and a later one

DataFusion is the Python package of the release that Auspex uses; its results and DuckDB's are compared with Auspex's row by
row. Data: `tpchgen-cli` and fixed seeds. The query texts are those of DuckDB's `tpch` extension. All in `--work`.
"""

import argparse
import csv
import io
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "peers"))
from run import measure, venv_python  # noqa: E402

# Each package with a module that shows that it is there; DuckDB's extensions come as packages of the same release.
PACKAGES = {
    "duckdb==1.5.5": "duckdb",
    "duckdb-extension-tpch==1.5.5": "duckdb_extension_tpch",
    "datafusion==55.0.0": "datafusion",
    "tpchgen-cli": "duckdb",
    "numpy": "numpy",
    "pyarrow": "pyarrow",
}
TPCH_TABLES = ["customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier"]


class Bench:
    def __init__(self, args):
        self.args, self.work = args, args.work
        self.work.mkdir(parents=True, exist_ok=True)
        self.python = venv_python(self.work, PACKAGES)
        self.env = dict(os.environ)

    def once(self, path, make):
        """The file or folder `path`, made by `make(part)` on first use."""
        if not path.exists():
            part = path.with_name(path.name + ".part")
            shutil.rmtree(part, ignore_errors=True)
            make(part)
            part.rename(path)
        return path

    def auspex(self, warehouse, *statements, file=None, limit=None):
        command = [self.args.auspex, "sql", "--warehouse", warehouse, "--allow-location", self.work, "--format", "csv"]
        command += ["--memory-limit", limit] if limit else []
        command += ["-f", file] if file else []
        for statement in statements:
            command += ["-c", statement]
        return command

    def peer(self, system, *words):
        return [self.python, HERE / "peer.py", system, *words]

    def fastest(self, task, system, command, before=None):
        runs = []
        for _ in range(self.args.repeat):
            if before:
                before()
            runs.append(measure(command, self.env))
        best = min(runs, key=lambda run: run.wall)
        self.print(task, system, f"{best.wall:8.2f} {best.cpu:8.2f} {best.peak:9.0f}")
        return best

    def print(self, task, what, text):
        print(f"{task:<9} {what:<40} {text}", flush=True)

    def bar(self, task, name, value, limit):
        self.print(task, f"bar: {name}", f"{value:8.3f} (at most {limit}): {'reached' if value <= limit else 'MISSED'}")

    def tpch_files(self):
        cli = self.python.with_name("tpchgen-cli")
        make = lambda part: subprocess.run([cli, "parquet", "-s", "1", f"--output-dir={part}"], check=True)
        return self.once(self.work / "tpch-sf1", make)

    def run_tpch(self):
        files = self.tpch_files()
        queries = self.once(self.work / "queries", lambda part: subprocess.run(self.peer("queries", part), check=True))
        tables = [f"CREATE TABLE {name} AS SELECT * FROM '{files}/{name}.parquet'" for name in TPCH_TABLES]
        fill = lambda part: subprocess.run([str(word) for word in self.auspex(part, *tables)], check=True, stdout=subprocess.DEVNULL)
        warehouse = self.once(self.work / "tpch-warehouse", fill)
        ours = self.fastest("tpch", "Auspex, managed tables", self.auspex(warehouse, file=queries / "all.sql"))
        theirs = self.fastest("tpch", "DataFusion, Parquet files", self.peer("datafusion", queries, files))
        duck = self.fastest("tpch", "DuckDB, Parquet files", self.peer("duckdb", queries, files))
        self.compare("tpch", "DataFusion", ours.text, theirs.text)
        self.compare("tpch", "DuckDB", ours.text, duck.text)
        self.bar("tpch", "wall / DataFusion", ours.wall / theirs.wall, 1.1)
        self.print("tpch", "wall / DuckDB", f"{ours.wall / duck.wall:8.3f}")

    def compare(self, task, system, ours, theirs):
        """Both sides print one CSV table a query, header first; numbers agree to a part in a million."""
        mine, other = rows(ours), rows(theirs)
        same = len(mine) == len(other) and all(alike(a, b) for a, b in zip(mine, other))
        self.print(task, f"same rows as {system}", f"{'yes' if same else 'NO'} ({len(mine)} rows)")

    def run_scan(self):
        boundary = self.work / "boundary-5000000.parquet"
        make = lambda part: subprocess.run([self.python, HERE.parent / "peers/tables.py", "boundary", "5000000", part], check=True)
        self.once(boundary, make)
        fill = lambda part: subprocess.run(
            [str(word) for word in self.auspex(part, f"CREATE TABLE t AS SELECT * FROM '{boundary}'")], check=True, stdout=subprocess.DEVNULL
        )
        warehouse = self.once(self.work / "scan-warehouse", fill)
        columns = subprocess.check_output(self.peer("columns", boundary), text=True).split()
        query = f"SELECT {', '.join(f'sum({name}) AS {name}' for name in columns)} FROM t"
        folder = next(warehouse.glob("tables/*"))
        ours = self.fastest("scan", "Auspex, managed table", self.auspex(warehouse, query))
        theirs = self.fastest("scan", "DataFusion, the same files", self.peer("query", query, folder))
        self.compare("scan", "DataFusion", ours.text, theirs.text)
        self.bar("scan", "wall / DataFusion", ours.wall / theirs.wall, 1.1)

    def run_ingest(self):
        table = self.once(self.work / "ingest.csv", lambda part: subprocess.run(self.peer("csv", part), check=True))
        warehouse, out = self.work / "ingest-warehouse", self.work / "ingest.parquet"
        columns = "id BIGINT, at TIMESTAMP, day DATE, city TEXT, note TEXT, a DOUBLE, b DOUBLE, c DOUBLE, n BIGINT, ok BOOLEAN"
        statements = [f"CREATE TABLE t ({columns})", f"COPY t FROM '{table}' (FORMAT csv, HEADER true)", "SELECT count(*) AS n FROM t"]
        fresh = lambda: shutil.rmtree(warehouse, ignore_errors=True)
        command = self.auspex(warehouse, *statements, limit="256MB")
        ours = self.fastest("ingest", "Auspex, memory limit 256 MB", command, fresh)
        theirs = self.fastest("ingest", "DuckDB, to Parquet", self.peer("ingest", table, out))
        self.bar("ingest", "wall / DuckDB", ours.wall / theirs.wall, 1.2)
        self.print("ingest", "bytes of the CSV file", str(table.stat().st_size))

    def run_planning(self):
        """A thousand appends of a thousand rows each; the second of two equal statements of one process is warm."""
        warehouse = self.work / "planning-warehouse"

        def fill(part):
            rows = "SELECT value AS id, value % 7 AS k FROM generate_series(1, 1000)"
            statements = ["CREATE TABLE t (id BIGINT, k BIGINT)"] + [f"INSERT INTO t {rows}"] * 1000
            script = self.work / "fill.sql"
            script.write_text(";\n".join(statements))
            subprocess.run([str(word) for word in self.auspex(part, file=script)], check=True, stdout=subprocess.DEVNULL)

        self.once(warehouse, fill)
        figures = self.timed(warehouse, ["EXPLAIN SELECT count(*) FROM t WHERE id = 5"] * 3)
        self.print("planning", "1,000 files: first, second, third plan (ms)", " ".join(f"{ms:.1f}" for ms in figures))
        self.bar("planning", "warm plan, ms", figures[-1], 100)

    def run_catalog(self):
        warehouse = self.work / "catalog-warehouse"

        def fill(part):
            script = self.work / "fill.sql"
            script.write_text(";\n".join(f"CREATE TABLE t{idx} (id BIGINT, name TEXT)" for idx in range(10_000)))
            subprocess.run([str(word) for word in self.auspex(part, file=script)], check=True, stdout=subprocess.DEVNULL)

        self.once(warehouse, fill)
        empty = self.work / "catalog-empty"
        subprocess.run([str(word) for word in self.auspex(empty, "SELECT 1")], check=True, stdout=subprocess.DEVNULL)
        cold = self.fastest("catalog", "10,000 tables, first statement", self.auspex(warehouse, "SELECT count(*) AS n FROM t77"))
        base = self.fastest("catalog", "no tables, first statement", self.auspex(empty, "SELECT 1 AS n"))
        figures = self.timed(warehouse, ["SELECT count(*) AS n FROM t77"] * 3)
        self.bar("catalog", "first statement over an empty catalog's, s", cold.wall - base.wall, 1.0)
        self.bar("catalog", "warm statement, ms", figures[-1], 10)

    def timed(self, warehouse, statements):
        """Milliseconds of each statement on one connection to a server, as psql times them."""
        command = [self.args.auspex, "serve", "--warehouse", warehouse, "--listen", "127.0.0.1:0"]
        log = tempfile.TemporaryFile("w+")
        server = subprocess.Popen([str(word) for word in command], stdout=log, stderr=log)
        try:
            port = listening_port(log, server)
            script = "\\timing on\n" + "\n".join(f"{statement};" for statement in statements)
            out = subprocess.check_output(["psql", "-h", "127.0.0.1", "-p", port, "-U", "postgres", "-q", "-o", "/dev/null"], input=script, text=True)
        finally:
            server.terminate()
            server.wait()
        return [float(line.split()[1]) for line in out.splitlines() if line.startswith("Time:")]


def listening_port(log, server):
    """The port that a server says it listens on, waited for half a minute."""
    for _ in range(300):
        log.seek(0)
        for word in log.read().replace("\n", " ").split():
            if word.startswith("127.0.0.1:"):
                return word.split(":")[1].strip(".,;")
        if server.poll() is not None:
            break
        time.sleep(0.1)
    log.seek(0)
    sys.exit(f"the server did not start:\n{log.read()}")


def rows(text):
    """The rows of CSV tables one after the other, headers included."""
    return [row for row in csv.reader(io.StringIO(text)) if row]


def bare(cell):
    """A cell without what some systems put into column names in headers: qualifiers, arguments of a function."""
    return re.sub(r"^(\w+)\(.*\)$", r"\1", re.sub(r"\b[a-z_]+\.(?=[a-z_])", "", cell.strip()))


def alike(mine, other):
    if len(mine) != len(other):
        return False
    for a, b in zip(mine, other):
        try:
            close = abs(float(a) - float(b)) <= 1e-6 * max(1.0, abs(float(b)))
        except ValueError:
            close = bare(a) == bare(b)
        if not close:
            return False
    return True


TASKS = {"tpch": Bench.run_tpch, "scan": Bench.run_scan, "ingest": Bench.run_ingest, "planning": Bench.run_planning, "catalog": Bench.run_catalog}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--auspex", type=pathlib.Path, required=True, help="the release binary")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "auspex-sql")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each; the fastest counts")
    args = parser.parse_args()
    args.auspex, args.work = args.auspex.resolve(), args.work.resolve()
    bench = Bench(args)
    print(f"{'task':<9} {'system':<40} {'wall s':>8} {'cpu s':>8} {'peak MiB':>9}")
    for name in args.tasks:
        TASKS[name](bench)


if __name__ == "__main__":
    main()
