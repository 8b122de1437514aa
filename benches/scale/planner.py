#!/usr/bin/env python3
"""What planning costs a coordinator, by the files of a table and by its workers.

Writes Delta tables of as many files as are asked for, of which only the log is there, starts a coordinator with as many
stub workers (stub_workers.py), and times EXPLAIN: on the coordinator alone, and cut into stages with a task for each
worker. Nothing runs. The first figure of a table is that of a server that reads its log. Needs psycopg.

    python3 benches/scale/planner.py target/release/auspex
    python3 benches/scale/planner.py target/release/auspex --files 1000 100000 --workers 2 1000
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "serving"))
sys.path.insert(1, str(HERE.parent / "peers"))
from serving import Server, free_port, wait_for  # noqa: E402

import psycopg  # noqa: E402

ROWS_A_FILE, FILE_BYTES = 1_000_000, 128 << 20
QUERIES = {
    "groups": "SELECT k, count(*), sum(x) FROM {table} GROUP BY k ORDER BY k",
    "a file of many": "SELECT sum(x) FROM {table} WHERE id = 5000000",
    "a join": "SELECT a.k, count(*) FROM {table} a JOIN {table} b ON a.id = b.id GROUP BY a.k",
}
FIELDS = {"id": "long", "k": "long", "x": "double"}


def write_log(folder, n_files):
    """The log of a table whose files nobody wrote."""
    fields = [{"name": name, "type": kind, "nullable": True, "metadata": {}} for name, kind in FIELDS.items()]
    meta = {"id": f"files-{n_files}", "format": {"provider": "parquet", "options": {}}, "partitionColumns": [], "configuration": {}}
    meta |= {"schemaString": json.dumps({"type": "struct", "fields": fields}), "createdTime": 0}
    actions = [{"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}, {"metaData": meta}]
    for number in range(n_files):
        first = number * ROWS_A_FILE
        stats = {
            "numRecords": ROWS_A_FILE,
            "minValues": {"id": first, "k": 0, "x": 0.0},
            "maxValues": {"id": first + ROWS_A_FILE - 1, "k": 99, "x": 1.0},
            "nullCount": dict.fromkeys(FIELDS, 0),
        }
        name = f"part-{number:06}.parquet"
        common = {"partitionValues": {}, "size": FILE_BYTES, "modificationTime": 0, "dataChange": True}
        actions.append({"add": {"path": name, **common, "stats": json.dumps(stats)}})
    log = folder / "_delta_log"
    log.mkdir(parents=True)
    (log / f"{0:020}.json").write_text("\n".join(json.dumps(action) for action in actions) + "\n")


def milliseconds(run, repeat):
    times = []
    for _ in range(repeat):
        begun = time.perf_counter()
        run()
        times.append((time.perf_counter() - begun) * 1000)
    return statistics.median(times)


def cpu_seconds(process):
    ticks = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")


class Coordinator:
    """A coordinator and its stubs."""

    def __init__(self, args, work, n_workers):
        stubs = [sys.executable, str(HERE / "stub_workers.py"), str(n_workers), str(free_port())]
        self.stubs = subprocess.Popen(stubs, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        workers = self.stubs.stdout.readline().strip()
        port = free_port()
        command = [args.auspex, "serve", "--listen", f"127.0.0.1:{port}", "--workers", workers]
        command += ["--warehouse", work / f"warehouse-{n_workers}", "--allow-location", work]
        begun = time.perf_counter()
        self.server = Server("Auspex", command, port)
        dsn = f"host=127.0.0.1 port={port} user=postgres dbname=postgres"
        wait_for(lambda: psycopg.connect(dsn).close() is None, 60, "Auspex")
        self.client = psycopg.connect(dsn, autocommit=True)
        ready = "SELECT count(*) FROM ml.workers WHERE state = 'ready'"
        wait_for(lambda: self.client.execute(ready).fetchone()[0] == n_workers, 120, f"{n_workers} workers")
        self.ready_s = time.perf_counter() - begun

    def idle_cpu(self, seconds):
        """The share of a core that asking all workers how they are takes."""
        before = cpu_seconds(self.server.process)
        time.sleep(seconds)
        return (cpu_seconds(self.server.process) - before) / seconds

    def stop(self):
        self.server.stop()
        self.stubs.stdin.close()
        self.stubs.wait()

    def plan(self, query, size):
        self.client.execute(f"SET min_distributed_size = '{size}'")
        text = "\n".join(str(cell) for row in self.client.execute(f"EXPLAIN {query}").fetchall() for cell in row)
        if ("Stage 1" in text) != (size == "0"):
            sys.exit(f"not planned as was wanted:\n{text[:4000]}")
        return text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("auspex", type=pathlib.Path, help="the release binary")
    parser.add_argument("--files", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 10, 100, 1_000])
    parser.add_argument("--repeat", type=int, default=5, help="the median counts")
    args = parser.parse_args()
    args.auspex = args.auspex.resolve()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        for n_files in args.files:
            write_log(work / f"files-{n_files}", n_files)
        print("| workers | files | query | here, ms | in stages, ms | lines of the plan | first plan, ms |\n|---|---|---|---|---|---|---|")
        of_clusters = []
        for n_workers in args.workers:
            coordinator = Coordinator(args, work, n_workers)
            try:
                measure(coordinator, args, work, n_workers)
                idle = coordinator.idle_cpu(10)
                of_clusters.append(f"{n_workers} workers: ready after {coordinator.ready_s:.1f} s, {idle:.1%} of a core while idle")
            finally:
                coordinator.stop()
        print("\n" + "\n".join(of_clusters))


def measure(coordinator, args, work, n_workers):
    for n_files in args.files:
        table = f"files_{n_files}"
        coordinator.client.execute(f"CREATE EXTERNAL TABLE {table} STORED AS DELTA LOCATION '{work}/files-{n_files}'")
        for name, query in QUERIES.items():
            query = query.format(table=table)
            first = milliseconds(lambda: coordinator.plan(query, "0"), 1)
            here = milliseconds(lambda: coordinator.plan(query, "100000TB"), args.repeat)
            stages = milliseconds(lambda: coordinator.plan(query, "0"), args.repeat)
            n_lines = coordinator.plan(query, "0").count("\n") + 1
            print(f"| {n_workers} | {n_files:,} | {name} | {here:.1f} | {stages:.1f} | {n_lines} | {first:.1f} |", flush=True)


if __name__ == "__main__":
    main()
