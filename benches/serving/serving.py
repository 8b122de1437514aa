#!/usr/bin/env python3
"""Serving beside PostgreSQL 15, LightGBM behind FastAPI, and MLflow: the same client, in turn, on the same machine.

    cargo build --release --locked --bin auspex
    python3 benches/serving/serving.py --auspex target/release/auspex                      # every task
    python3 benches/serving/serving.py --auspex target/release/auspex --tasks latency connect --seconds 2

Tasks (each prints both sides, the ratio, and its bar):

    latency     a prepared prediction of one row (boosted tree, 100 trees x 31 leaves, 28 features) against a prepared
                `SELECT 1` on PostgreSQL, p50 and p99; also a prediction with a look-up by key, and ten rows of VALUES
    throughput  8 connections: predictions a second, against LightGBM behind FastAPI/uvicorn and `mlflow models serve`
    connect     from connecting to the first row, one connection at a time
    result      5,000,000 rows through psql, psycopg in binary, and COPY: rows a second; peak memory of the server
    idle        500 idle and 50 busy connections: memory of the server at the start and at the end

Needs `initdb` and `pg_ctl` of PostgreSQL 15 and `psql` in PATH (or --postgres DIR). Python packages go into --work.
"""

import argparse
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "peers"))
from run import venv_python  # noqa: E402

PACKAGES = {"psycopg[binary]": "psycopg"}
PEERS = {
    "lightgbm": "lightgbm",
    "fastapi": "fastapi",
    "uvicorn": "uvicorn",
    "mlflow": "mlflow",
    "scikit-learn": "sklearn",
    "numpy": "numpy",
}
FEATURES = 28
NAMES = [f"x{i}" for i in range(FEATURES)]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(ready, seconds, what):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if ready():
                return
        except Exception:  # not there yet
            pass
        time.sleep(0.1)
    raise SystemExit(f"{what} did not start")


class Server:
    """A process that listens on a port, ended with the bench."""

    def __init__(self, name, command, port, **options):
        self.name, self.port = name, port
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [str(part) for part in command], stdout=self.log, stderr=self.log, **options
        )

    def memory_mib(self, field="VmRSS"):
        """Memory of the process and those that it started."""
        total = 0
        for pid in [self.process.pid, *children(self.process.pid)]:
            try:
                for line in open(f"/proc/{pid}/status"):
                    if line.startswith(field + ":"):
                        total += int(line.split()[1])
            except FileNotFoundError:
                pass
        return total / 1024

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()


def children(pid):
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()
    return [int(child) for child in found] + [deep for child in found for deep in children(int(child))]


class Bench:
    def __init__(self, args):
        self.args, self.work = args, args.work
        self.work.mkdir(parents=True, exist_ok=True)
        self.servers = []
        self.results = []

    def start(self, *args, **options):
        server = Server(*args, **options)
        self.servers.append(server)
        return server

    def dsn(self, server):
        return f"host=127.0.0.1 port={server.port} user=postgres dbname=postgres"

    def auspex(self):
        port = free_port()
        warehouse = self.work / "warehouse"
        shutil.rmtree(warehouse, ignore_errors=True)
        command = [self.args.auspex, "serve", "--listen", f"127.0.0.1:{port}", "--warehouse", warehouse]
        server = self.start("Auspex", command, port)
        wait_for(lambda: self.connect(server).close() is None, 60, "Auspex")
        return server

    def postgres(self):
        data, port = self.work / "pgdata", free_port()
        tool = lambda name: self.args.postgres / name if self.args.postgres else name
        as_user = []
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            shutil.chown(self.work, "nobody")
            as_user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        shutil.rmtree(data, ignore_errors=True)
        command = [*as_user, tool("initdb"), "-D", data, "-U", "postgres", "-A", "trust", "--no-sync"]
        subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
        command = [*as_user, tool("postgres"), "-D", data, "-p", port, "-k", "", "-c", "max_connections=600"]
        server = self.start("PostgreSQL", command, port)
        wait_for(lambda: self.connect(server).close() is None, 60, "PostgreSQL")
        return server

    def connect(self, server):
        import psycopg

        return psycopg.connect(self.dsn(server), autocommit=True)

    def report(self, task, what, value, peer, ratio, bar):
        line = f"{task:10} {what:44} {value:>14} {peer:>30}  ratio {ratio:8.3f}  {bar}"
        print(line, flush=True)
        self.results.append({"task": task, "what": what, "value": value, "peer": peer, "ratio": ratio})

    def model(self, server):
        """A table of random rows and a boosted tree over it."""
        connection = self.connect(server)
        if connection.execute("SELECT count(*) FROM ml.models WHERE name = 'higgs'").fetchone()[0]:
            return connection
        columns = ", ".join(f"random() AS {name}" for name in NAMES)
        rows = self.args.rows
        connection.execute(
            f"CREATE TABLE points AS SELECT value AS id, {columns} FROM generate_series(1, {rows})"
        )
        label = "x0 + 2 * x1 * x2 + sin(6 * x3) + x4 * x4"
        connection.execute(
            "CREATE MODEL higgs USING boosted_tree_regressor PREDICT y "
            "WITH (max_iterations = 100, max_leaves = 31, grow_policy = 'LOSS_GUIDE', data_split_method = 'NO_SPLIT') "
            f"AS SELECT {', '.join(NAMES)}, {label} AS y FROM points"
        )
        return connection


def latencies(run, seconds):
    """Microseconds of calls in turn, the warm ones."""
    for _ in range(200):
        run()
    found, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        begun = time.perf_counter()
        run()
        found.append((time.perf_counter() - begun) * 1e6)
    found.sort()
    return statistics.median(found), found[int(len(found) * 0.99)]


def prepared(connection, text, parameters):
    cursor = connection.cursor(binary=True)

    def run():
        cursor.execute(text, parameters, prepare=True)
        return cursor.fetchall()

    return run


def prediction():
    return "SELECT PREDICT(higgs USING " + ", ".join(["%s::float8"] * FEATURES) + ")"


def task_latency(bench):
    auspex, postgres = bench.auspex(), bench.postgres()
    connection, other = bench.model(auspex), bench.connect(postgres)
    seconds = bench.args.seconds
    values = [0.5] * FEATURES
    ten = ", ".join("(" + ", ".join(["%s::float8"] * FEATURES) + ")" for _ in range(10))
    named = f"SELECT PREDICT(higgs USING {', '.join(NAMES)}) FROM (VALUES {ten}) v({', '.join(NAMES)})"
    by_key = "SELECT id, PREDICT(higgs USING *) FROM points WHERE id = %s"
    base50, base99 = latencies(prepared(other, "SELECT 1", None), seconds)
    peer = f"SELECT 1: {base50:.0f}/{base99:.0f} us"
    for what, text, parameters, bar in [
        ("SELECT 1", "SELECT 1", None, ""),
        ("prepared prediction, one row", prediction(), values, "bar: p50 at most 1.5"),
        ("prepared predictions, ten rows of VALUES", named, values * 10, ""),
        ("prepared prediction with look-up by key", by_key, [bench.args.rows // 2], ""),
    ]:
        p50, p99 = latencies(prepared(connection, text, parameters), seconds)
        bench.report("latency", what, f"{p50:.0f}/{p99:.0f} us", peer, p50 / base50, bar)


def throughput(run_one, n_threads, seconds):
    """Calls a second of threads; `run_one()` makes a thread's call."""
    counts, end = [0] * n_threads, time.perf_counter() + seconds
    errors = []

    def work(idx, run):
        try:
            while time.perf_counter() < end:
                run()
                counts[idx] += 1
        except Exception as error:  # told below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(idx, run_one())) for idx in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return sum(counts) / seconds


def processes(kind, target, n, seconds):
    """Calls a second of `n` client processes, so that Python's lock does not bound the server."""
    command = [sys.executable, str(HERE / "serving.py"), "--client", kind, "--target", target]
    command += ["--seconds", str(seconds)]
    clients = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(n)]
    rates = [float(client.communicate()[0]) for client in clients]
    return sum(rates)


def client(kind, target, seconds):
    """One client process: prints its calls a second."""
    if kind == "sql":
        import psycopg

        connection = psycopg.connect(target, autocommit=True)
        run = prepared(connection, prediction(), [0.5] * FEATURES)
    else:
        import http.client

        host = target.split("/")[2]
        path = "/" + target.split("/", 3)[3]
        connection = http.client.HTTPConnection(host)
        if kind == "mlflow":
            body = json.dumps({"dataframe_split": {"columns": NAMES, "data": [[0.5] * FEATURES]}})
        else:
            body = json.dumps({"features": [0.5] * FEATURES})

        def run():
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            answer.read()

    for _ in range(20):
        run()
    n, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        run()
        n += 1
    print(n / seconds)


def task_throughput(bench):
    auspex = bench.auspex()
    bench.model(auspex)
    seconds, n = bench.args.seconds, 8
    rate = processes("sql", bench.dsn(auspex), n, seconds)
    auspex.stop()
    python = venv_python(bench.work / "peers", PEERS)
    subprocess.run([python, HERE / "peer.py", "make", bench.work], check=True)
    port = free_port()
    command = [python, "-m", "uvicorn", "peer:app", "--port", str(port), "--log-level", "warning"]
    peer = bench.start("FastAPI", command, port, cwd=HERE, env={**os.environ, "WORK": str(bench.work)})
    wait_for(lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/ready"), 60, "FastAPI")
    other = processes("fastapi", f"http://127.0.0.1:{port}/predict", n, seconds)
    peer.stop()
    bench.report("throughput", "8 connections", f"{rate:.0f}/s", f"FastAPI {other:.0f}/s", rate / other, "bar: at least 10")
    port = free_port()
    command = [python, "-m", "mlflow", "models", "serve", "-m", bench.work / "mlflow", "--env-manager", "local"]
    path = f"{pathlib.Path(python).parent}:{os.environ['PATH']}"
    peer = bench.start("MLflow", [*command, "-p", port], port, env={**os.environ, "PATH": path})
    wait_for(lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/ping"), 120, "MLflow")
    other = processes("mlflow", f"http://127.0.0.1:{port}/invocations", n, seconds)
    peer.stop()
    bench.report("throughput", "8 connections", f"{rate:.0f}/s", f"MLflow {other:.0f}/s", rate / other, "bar: at least 40")


def task_connect(bench):
    import psycopg

    def first_row(server):
        def run():
            with psycopg.connect(bench.dsn(server) + " sslmode=disable") as connection:
                connection.execute("SELECT 1").fetchone()

        return run

    found = {}
    for server in [bench.auspex(), bench.postgres()]:
        found[server.name] = latencies(first_row(server), bench.args.seconds)
    (p50, p99), (base50, base99) = found["Auspex"], found["PostgreSQL"]
    peer = f"PostgreSQL: {base50:.0f}/{base99:.0f} us"
    bench.report("connect", "connect to first row", f"{p50:.0f}/{p99:.0f} us", peer, p50 / base50, "bar: at most 1.5")


def task_result(bench):
    servers = {server.name: server for server in [bench.auspex(), bench.postgres()]}
    n = bench.args.result_rows
    select = {
        "Auspex": f"SELECT value AS id, value * 0.5::float8 AS x, 'row ' || value AS t FROM generate_series(1, {n})",
        "PostgreSQL": f"SELECT i AS id, i * 0.5::float8 AS x, 'row ' || i AS t FROM generate_series(1, {n}) i",
    }
    for name, server in servers.items():
        bench.connect(server).execute(f"CREATE TABLE big AS {select[name]}")
    peaks = {}
    for way in ["psql", "psycopg binary", "COPY"]:
        rates = {}
        for name, server in servers.items():
            begun = time.perf_counter()
            read_all(bench, server, way, n)
            rates[name] = n / (time.perf_counter() - begun)
            peaks[name] = server.memory_mib("VmHWM")
        ratio = rates["Auspex"] / rates["PostgreSQL"]
        value, peer = (f"{rates[name]:.0f} rows/s" for name in ["Auspex", "PostgreSQL"])
        bench.report("result", f"{n} rows through {way}", value, f"PostgreSQL {peer}", ratio, "bar: at least 1")
    print(f"result     peak memory of the server: {peaks['Auspex']:.0f} MiB")


def read_all(bench, server, way, n):
    import psycopg

    text = "SELECT * FROM big"
    if way == "psql":
        command = ["psql", "-XAtq", "-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres", "postgres", "-c", text]
        command[1:1] = ["-v", "FETCH_COUNT=10000"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return
    with bench.connect(server) as connection:
        if way == "COPY":
            with connection.cursor().copy("COPY big TO STDOUT") as rows:
                assert sum(bytes(data).count(b"\n") for data in rows) == n
            return
        with connection.transaction(), psycopg.ServerCursor(connection, "all_rows") as cursor:
            cursor.execute(text, binary=True)
            seen = 0
            while rows := cursor.fetchmany(10_000):
                seen += len(rows)
            assert seen == n


def task_idle(bench):
    server = bench.auspex()
    bench.model(server)
    idle = [bench.connect(server) for _ in range(500)]
    for connection in idle:
        connection.execute("SELECT 1")
    busy = [prepared(bench.connect(server), prediction(), [0.5] * FEATURES) for _ in range(50)]
    ways = iter(busy)
    throughput(lambda: busy[0], 1, 1)
    before = server.memory_mib()
    rate = throughput(lambda: next(ways), len(busy), bench.args.seconds)
    after = server.memory_mib()
    value = f"{after:.0f} MiB, {rate:.0f}/s"
    bench.report("idle", "500 idle and 50 busy connections", value, f"{before:.0f} MiB before", after / before, "bar: flat")


TASKS = {
    "latency": task_latency,
    "throughput": task_throughput,
    "connect": task_connect,
    "result": task_result,
    "idle": task_idle,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--auspex", default="target/release/auspex")
    parser.add_argument("--postgres", type=pathlib.Path, help="folder of PostgreSQL's programs")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "auspex-serving")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the table that is trained on")
    parser.add_argument("--result-rows", type=int, default=5_000_000)
    parser.add_argument("--client", help=argparse.SUPPRESS)
    parser.add_argument("--target", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.client:
        return client(args.client, args.target, args.seconds)
    try:
        import psycopg  # noqa: F401
    except ImportError:
        python = venv_python(args.work, PACKAGES)
        os.execv(python, [str(python), *sys.argv])
    bench = Bench(args)
    for task in args.tasks:
        try:
            TASKS[task](bench)
        finally:
            for server in bench.servers:
                server.stop()
            bench.servers.clear()


if __name__ == "__main__":
    main()
