#!/usr/bin/env python3
"""A cluster on the cores of one node beside that node: the same statements in turn, on the same two cores.

    cargo build --release --locked --bin auspex
    python3 benches/cluster/cluster.py --auspex target/release/auspex                      # every task
    python3 benches/cluster/cluster.py --auspex target/release/auspex --tasks tpch passes --repeat 5
    python3 benches/cluster/cluster.py --auspex target/release/auspex --scale 0.01 --rows 60000 --small-rows 20000 --repeat 1

Three servers over one warehouse: `one node` with two threads; `coordinator` is the same with a port for workers that none
has joined; `cluster` is a coordinator with two workers of one thread, each on a core of its own. Tasks (each prints the
seconds of both sides, their ratio, and its bar):

    linked    what the engine costs a server that has no workers: TPC-H, and a training of 1,000,000 rows x 28. A server
              without a cluster does nothing of it, so it is compared with a coordinator, which asks itself where each runs
    tpch      the 22 queries of TPC-H at scale factor 1, with the size from which queries leave as it is, and with 0
    train     logistic regression and boosted trees of 5,000,000 rows x 28; the models must be the same to the bit
    predict   5,000,000 predictions of boosted trees into a table
    passes    what a pass of a training costs beyond its compute, from trainings with few and with many iterations, less
              what one node takes for them, on 10,000 rows and on 300,000; and how many passes a tree of depth 6 has there

The fewest seconds of `--repeat` rounds count, in which each side begins in turn. Tables come from fixed seeds, TPC-H from
`tpchgen-cli` and DuckDB's `tpch` extension. Needs two cores. Python packages, tables and the warehouse lie in `--work`.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / folder) for folder in ("peers", "sql", "serving")]
import lakehouse  # noqa: E402
from run import venv_python  # noqa: E402
from serving import Server, free_port, wait_for  # noqa: E402
from tasks import TASKS as PEER_TASKS  # noqa: E402

PACKAGES = {
    "psycopg[binary]": "psycopg",
    "duckdb==1.5.5": "duckdb",
    "duckdb-extension-tpch==1.5.5": "duckdb_extension_tpch",
    "tpchgen-cli": "duckdb",
    "numpy": "numpy",
    "pyarrow": "pyarrow",
}
ALONE, COORDINATOR, CLUSTER = "one node", "coordinator, no workers", "cluster"
ANYWHERE = "SET min_distributed_size = '0'"
TREES = "PREDICT label USING boosted_tree_classifier"
SQUARES = "PREDICT y USING boosted_tree_regressor"
# Trainings whose passes are counted: name, model type, options, few and many iterations, columns.
PASSES = [
    # Its steps find the least loss within ten iterations, and there are no passes behind that.
    ("logistic_reg", "PREDICT label USING logistic_reg", "early_stop = false", (1, 9), "* EXCEPT (y, is_eval)"),
    ("kmeans", "USING kmeans", "num_clusters = 8, early_stop = false", (3, 33), "* EXCEPT (y, label, is_eval)"),
    ("boosted trees", TREES, "max_tree_depth = 6, early_stop = false, data_split_method = 'NO_SPLIT'", (5, 25), "* EXCEPT (y, is_eval)"),
    ("boosted trees, rows held out", TREES, "max_tree_depth = 6, early_stop = false", (5, 25), "* EXCEPT (y, is_eval)"),
    ("boosted trees of squared error", SQUARES, "max_tree_depth = 6, early_stop = false", (5, 25), "* EXCEPT (label, is_eval)"),
]
FEW_ROWS = 10_000


class Bench(lakehouse.Bench):
    """The servers, their warehouse, and what was found."""

    def __init__(self, args):
        self.args, self.work, self.env = args, args.work, dict(os.environ)
        self.python = pathlib.Path(sys.executable)
        self.warehouse = self.work / f"warehouse-sf{args.scale:g}"
        self.servers, self.bars = [], []
        self.cores = sorted(os.sched_getaffinity(0))[:2]
        if len(self.cores) < 2:
            sys.exit("two cores are needed")
        # The clients and all servers share them.
        os.sched_setaffinity(0, self.cores)

    # Tables.

    def tpch_files(self):
        cli = self.python.with_name("tpchgen-cli")
        make = lambda part: subprocess.run([cli, "parquet", "-s", f"{self.args.scale:g}", f"--output-dir={part}"], check=True)
        return self.once(self.work / f"tpch-sf{self.args.scale:g}", make)

    def queries(self):
        folder = self.once(self.work / "queries", lambda part: subprocess.run(self.peer("queries", part), check=True))
        return {int(file.stem): file.read_text() for file in sorted(folder.glob("[0-9]*.sql"))}

    def boundary(self, n_rows):
        make = lambda part: subprocess.run([self.python, HERE.parent / "peers/tables.py", "boundary", str(n_rows), part], check=True)
        return self.once(self.work / f"boundary-{n_rows}.parquet", make)

    def fill(self):
        """The tables of TPC-H, and a model to predict with."""
        files, table = self.tpch_files(), self.boundary(self.args.small_rows)
        statements = [f"CREATE TABLE {name} AS SELECT * FROM '{files}/{name}.parquet'" for name in lakehouse.TPCH_TABLES]
        statements += [text.format(table=table) for text in PEER_TASKS["scoring"].prepare]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        fill = lambda part: subprocess.run([str(word) for word in self.auspex(part, *statements)], check=True, **quiet)
        self.once(self.warehouse, fill)

    # Servers.

    def serve(self, name, *options):
        port = free_port()
        command = [self.args.auspex, "serve", "--listen", f"127.0.0.1:{port}", "--warehouse", self.warehouse]
        server = Server(name, [*command, "--allow-location", self.work, "--threads", "2", *options], port)
        self.servers.append(server)
        wait_for(lambda: self.connect(server).close() is None, 60, name)
        return server

    def start(self, *names):
        """{name: a connection} of servers, which end with the task."""
        self.fill()
        found = {}
        for name in names:
            gate = f"127.0.0.1:{free_port()}"
            server = self.serve(name, *([] if name == ALONE else ["--worker-listen", gate]))
            found[name] = self.connect(server)
            if name == CLUSTER:
                self.start_workers(gate)
                ready = "SELECT count(*) = 2 FROM ml.workers WHERE state = 'ready'"
                wait_for(lambda: found[name].execute(ready).fetchone()[0], 60, "a worker")
        return found

    def start_workers(self, gate):
        for core in self.cores:
            port = free_port()
            command = [self.args.auspex, "worker", "--coordinator", gate, "--listen", f"127.0.0.1:{port}", "--threads", "1"]
            # The core is bound where the lambda is made.
            self.servers.append(Server("worker", command, port, preexec_fn=lambda core=core: os.sched_setaffinity(0, [core])))

    def another(self, connection):
        """A connection to the same server, whose queries leave whatever their size."""
        import psycopg

        other = psycopg.connect(connection.info.dsn, autocommit=True)
        other.execute(ANYWHERE)
        return other

    def connect(self, server):
        import psycopg

        return psycopg.connect(f"host=127.0.0.1 port={server.port} user=postgres dbname=postgres", autocommit=True)

    def stop(self):
        # The coordinators first: their workers have nothing to end then.
        for server in self.servers:
            server.stop()
        self.servers.clear()

    # Figures.

    def in_turns(self, sides, run):
        """{side: the fewest seconds of run(side)}; the first round, which is cold, counts only if it is the only one."""
        names, found = list(sides), {}
        for number in range(self.args.repeat):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                begun = time.perf_counter()
                run(name)
                found.setdefault(name, []).append(time.perf_counter() - begun)
        return {name: min(times[1:] or times) for name, times in found.items()}

    def seconds(self, task, what, sides):
        """Prints what each side took."""
        for name, took in sides.items():
            self.print(task, f"{what}, {name}", f"{took:8.3f} s")

    def bar(self, task, name, value, limit):
        super().bar(task, name, value, limit)
        self.bars.append((f"{task}: {name}", limit, value))

    def same(self, task, what, is_same):
        self.print(task, what, "yes" if is_same else "NO")
        self.bars.append((f"{task}: {what}", None, is_same))

    def tpch(self, task, sides):
        """{side: seconds of all queries}; `sides` are connections."""
        totals, ratios, is_same = dict.fromkeys(sides, 0.0), {name: {} for name in sides}, True
        first = next(iter(sides))
        for number, text in self.queries().items():
            rows = {}

            def run(name):
                rows[name] = [[str(cell) for cell in row] for row in sides[name].execute(text).fetchall()]

            found = self.in_turns(sides, run)
            for name, took in found.items():
                totals[name] += took
                ratios[name][number] = took / found[first]
                is_same &= len(rows[name]) == len(rows[first]) and all(map(lakehouse.alike, rows[name], rows[first]))
        for name in list(sides)[1:]:
            worst = sorted(ratios[name].items(), key=lambda item: -item[1])[:4]
            self.print(task, f"slowest queries, {name}", ", ".join(f"Q{number} {ratio:.2f}" for number, ratio in worst))
        self.seconds(task, "22 queries", totals)
        self.same(task, "the same rows", is_same)
        return totals

    def where(self, connection, statement):
        """What EXPLAIN says of where a statement runs, in a line."""
        text = "\n".join(str(cell) for row in connection.execute(f"EXPLAIN {statement}").fetchall() for cell in row)
        found = re.search(r"place(?::|=\[)(.*)", text, re.DOTALL)
        return " ".join(found[1].split()) if found else "on this machine"

    # Tasks.

    def run_linked(self):
        sides = self.start(ALONE, COORDINATOR)
        totals = self.tpch("linked", sides)
        self.bar("linked", "TPC-H / a server without a cluster", totals[COORDINATOR] / totals[ALONE], 1.03)
        for name in ("logistic", "boosted"):
            found, _ = self.trained("linked", name, self.args.small_rows, sides)
            self.bar("linked", f"{name} / a server without a cluster", found[COORDINATOR] / found[ALONE], 1.03)

    def run_tpch(self):
        sides = self.start(ALONE, CLUSTER)
        forced = f"{CLUSTER}, min_distributed_size 0"
        sides[forced] = self.another(sides[CLUSTER])
        for name in (CLUSTER, forced):
            far = [number for number, text in self.queries().items() if "Stage 1" in self.where(sides[name], text)]
            self.print("tpch", f"queries on workers, {name}", f"{len(far)}")
        totals = self.tpch("tpch", sides)
        for name in (CLUSTER, forced):
            self.bar("tpch", f"{name} / one node", totals[name] / totals[ALONE], 1.35)

    def trained(self, task, name, n_rows, sides):
        """({side: seconds of a training}, whether all were the same model)."""
        table = self.boundary(n_rows)
        text = PEER_TASKS[name].statements[0].format(table=table)
        model = {side: f"{name}_{number}" for number, side in enumerate(sides)}
        create = lambda side: text.replace("CREATE MODEL m ", f"CREATE OR REPLACE MODEL {model[side]} ")
        for side, connection in sides.items():
            self.print(task, f"{name} runs, {side}", self.where(connection, create(side))[:60])
        found = self.in_turns(sides, lambda side: sides[side].execute(create(side)))
        self.seconds(task, f"{name}, {n_rows} rows", found)
        return found, len({self.tensors(model[side]) for side in sides}) == 1

    def tensors(self, model):
        """The hash of the parameters of a model's newest version."""
        versions = {}
        for file in self.warehouse.glob("models/*/*/manifest.json"):
            manifest = json.loads(file.read_text())
            if manifest["model"] == model:
                versions[int(file.parent.name)] = manifest["tensors"]["sha256"]
        return versions[max(versions)]

    def run_train(self):
        sides = self.start(ALONE, CLUSTER)
        sides[CLUSTER].execute(ANYWHERE)
        for name in ("logistic", "boosted"):
            found, is_same = self.trained("train", name, self.args.rows, sides)
            self.same("train", f"{name}: the same model to the bit", is_same)
            self.bar("train", f"{name}, cluster / one node", found[CLUSTER] / found[ALONE], 1.25)

    def run_predict(self):
        sides = self.start(ALONE, CLUSTER)
        sides[CLUSTER].execute(ANYWHERE)
        text = PEER_TASKS["scoring"].statements[0].format(table=self.boundary(self.args.rows))
        create = lambda side: text.replace("CREATE TABLE scored", f"CREATE OR REPLACE TABLE scored_{list(sides).index(side)}")
        self.print("predict", "runs", self.where(sides[CLUSTER], create(CLUSTER))[:60])
        found = self.in_turns(sides, lambda side: sides[side].execute(create(side)))
        self.seconds("predict", f"{self.args.rows} predictions", found)
        sums = "SELECT count(*), round(sum(p), 3), sum(label) FROM scored_"
        judged = {tuple(map(str, sides[side].execute(f"{sums}{idx}").fetchone())) for idx, side in enumerate(sides)}
        self.same("predict", "the same predictions", len(judged) == 1)
        self.bar("predict", "cluster / one node", found[CLUSTER] / found[ALONE], 1.15)

    def run_passes(self):
        sides = self.start(ALONE, CLUSTER)
        sides[CLUSTER].execute(ANYWHERE)
        worst = 0.0
        for n_rows in (FEW_ROWS, self.args.pass_rows):
            for name, model, options, (few, many), columns in PASSES:
                text = f"MODEL %s {model} WITH ({options}, max_iterations = %s, seed = 1) AS SELECT {columns} FROM '{self.boundary(n_rows)}'"
                passes, took = {}, {}
                for count in (few, many):
                    passes[count] = self.passes(sides[CLUSTER], text % ("counted", count))
                    create = lambda side: f"CREATE OR REPLACE {text % (f'passes_{list(sides).index(side)}', count)}"
                    took[count] = self.in_turns(sides, lambda side: sides[side].execute(create(side)))
                n_passes = passes[many] - passes[few]
                far, near = ((took[many][side] - took[few][side]) / n_passes * 1000 for side in (CLUSTER, ALONE))
                worst = max(worst, far - near)
                found = f"{far:8.2f} ms, {near:.2f} on one node: {far - near:.2f} beyond ({passes[few]}, {passes[many]} passes)"
                self.print("passes", f"{name}, {n_rows} rows", found)
                if model in (TREES, SQUARES) and n_rows == self.args.pass_rows:
                    self.bar("passes", f"passes a tree of depth 6, {name}", n_passes / (many - few), 7)
        self.bar("passes", "a pass beyond its compute, ms, the worst", worst, 15)

    def passes(self, connection, text):
        """How many passes a training has, each of which asks both workers."""
        plan = connection.execute(f"EXPLAIN ANALYZE CREATE OR REPLACE {text}").fetchall()
        plan = "\n".join(str(cell) for row in plan for cell in row)
        by_worker = [int(number) for number in re.findall(r":\d+: passes=(\d+)", plan)]
        if len(by_worker) != 2:
            sys.exit(f"two workers should train:\n{plan}")
        return max(by_worker)


TASKS = {
    "linked": Bench.run_linked,
    "tpch": Bench.run_tpch,
    "train": Bench.run_train,
    "predict": Bench.run_predict,
    "passes": Bench.run_passes,
}


def print_bars(bars):
    """What was found, as a table."""
    print("\n| bar | to reach | measured | |\n|---|---|---|---|")
    for name, limit, value in bars:
        if limit is None:
            print(f"| {name} | yes | {'yes' if value else 'no'} | {'reached' if value else 'MISSED'} |")
        else:
            print(f"| {name} | {limit} | {value:.3f} | {'reached' if value <= limit else 'MISSED'} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--auspex", type=pathlib.Path, required=True, help="the release binary")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "auspex-cluster")
    parser.add_argument("--scale", type=float, default=1, help="TPC-H's scale factor")
    parser.add_argument("--rows", type=int, default=5_000_000, help="rows of tables that both sides train on and predict")
    parser.add_argument("--small-rows", type=int, default=1_000_000, help="rows of the table of `linked`")
    parser.add_argument("--pass-rows", type=int, default=300_000, help="rows of the greater table of `passes`")
    parser.add_argument("--repeat", type=int, default=4, help="rounds of each; the fastest but the first counts")
    args = parser.parse_args()
    args.auspex, args.work = args.auspex.resolve(), args.work.resolve()
    args.work.mkdir(parents=True, exist_ok=True)
    try:
        import duckdb_extension_tpch, numpy, psycopg, pyarrow  # noqa: E401, F401
    except ImportError:
        python = venv_python(args.work, PACKAGES)
        os.execv(python, [str(python), *sys.argv])
    bench = Bench(args)
    for name in args.tasks:
        try:
            TASKS[name](bench)
        finally:
            bench.stop()
    print_bars(bench.bars)


if __name__ == "__main__":
    main()
