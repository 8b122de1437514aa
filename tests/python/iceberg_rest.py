"""A REST catalog of Iceberg tables on loopback, for the tests: what a reader asks for, over pyiceberg's SQL catalog.

In: the folder in which `iceberg_tables.py` made its tables; out: on standard output the address, then answers until it is ended.
A request needs the token `TOKEN`, or one that `/v1/oauth/tokens` gave for `CLIENT`. A file `fault` in the folder names
what goes wrong at each request while it is there: a status, `garbage`, `half` or `hangs`; `expired` makes all given
tokens unknown once. Requests are noted in the file `requests`.
"""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError

TOKEN = "hush-token-of-tests"
CLIENT = ("reader", "hush-secret-of-tests")
PREFIX = "lakes/main"  # of the paths of all but the configuration, as the specification has it

folder = Path(sys.argv[1])
catalog = SqlCatalog("lake", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/house")
catalog.create_namespace(("sales", "eu"))
orders = pa.table({"id": pa.array([1, 2, 3], pa.int64())})
catalog.create_table(("sales", "eu", "orders"), orders.schema).append(orders)
given = set()
lock = threading.Lock()


class Refused(Exception):
    def __init__(self, status, kind, message):
        self.status, self.kind, self.message = status, kind, message


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle_request(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        url = urlsplit(self.path)
        try:
            with lock, open(folder / "requests", "a") as noted:
                print(self.command, url.path, file=noted)
            if self.is_faulty():
                return
            if url.path == "/v1/oauth/tokens":
                return self.answer(200, self.token(parse_qs(body)))
            self.authorize()
            if url.path == "/v1/config":
                warehouse = parse_qs(url.query).get("warehouse", ["main"])[0]
                if warehouse != "main":
                    raise Refused(404, "NotFoundException", f"no warehouse {warehouse}")
                return self.answer(200, {"defaults": {}, "overrides": {"prefix": PREFIX}})
            with lock:
                found = self.find(url.path)
            self.answer(204 if self.command == "HEAD" else 200, found)
        except Refused as refused:
            said = {"message": refused.message, "type": refused.kind, "code": refused.status}
            self.answer(refused.status, {"error": said})

    do_GET = do_HEAD = do_POST = handle_request

    def is_faulty(self):
        """Whether a fault was answered; they last as long as their file."""
        file = folder / "fault"
        fault = file.read_text() if file.exists() else ""
        if fault == "expired":
            given.clear()
            file.unlink()
            return False
        if fault == "hangs":
            while file.exists():
                time.sleep(0.05)
        if fault in ("hangs", "half"):
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"{")
            self.close_connection = True
        elif fault == "garbage":
            self.answer(200, b"<html>welcome to the proxy</html>")
        elif fault:
            raise Refused(int(fault), "InternalServerError", "the catalog is not well")
        return bool(fault)

    def token(self, form):
        if (form.get("client_id", [""])[0], form.get("client_secret", [""])[0]) != CLIENT:
            raise Refused(401, "NotAuthorizedException", "no such client")
        token = f"hush-given-{len(given)}-{time.time_ns()}"
        given.add(token)
        return {"access_token": token, "token_type": "bearer", "expires_in": 3600}

    def authorize(self):
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        if kind != "Bearer" or token != TOKEN and token not in given:
            raise Refused(401, "NotAuthorizedException", "the token is not known")

    def find(self, path):
        start = f"/v1/{PREFIX}/namespaces"
        if not path.startswith(start):
            raise Refused(404, "NotFoundException", f"no such path: {path}")
        # The levels of a namespace are divided by the character 0x1F.
        parts = [tuple(unquote(part).split("\x1f")) for part in path.removeprefix(start).split("/")[1:]]
        match parts:
            case []:
                return {"namespaces": [list(name) for name in catalog.list_namespaces()]}
            case [namespace]:
                return {"namespace": list(namespace), "properties": {}}
            case [namespace, ("tables",)]:
                names = [{"namespace": list(name[:-1]), "name": name[-1]} for name in catalog.list_tables(namespace)]
                return {"identifiers": names}
            case [namespace, ("tables",), (name,)]:
                return self.table((*namespace, name))
        raise Refused(404, "NotFoundException", f"no such path: {path}")

    def table(self, name):
        try:
            table = catalog.load_table(name)
        except NoSuchTableError:
            raise Refused(404, "NoSuchTableException", f"no such table: {'.'.join(name)}") from None
        metadata = json.loads(Path(table.metadata_location.removeprefix("file://")).read_text())
        # Secrets that a catalog hands out are for engines that have none of their own.
        config = {"s3.secret-access-key": "hush-handed-out", "token": "hush-handed-out"}
        return {"metadata-location": table.metadata_location, "metadata": metadata, "config": config}


class Server(ThreadingHTTPServer):
    daemon_threads = True


server = Server(("127.0.0.1", 0), Handler)
print(f"127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
