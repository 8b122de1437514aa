"""A stand-in for Google Cloud Storage on loopback, for the tests: of its XML API what the library `object_store` asks for.

In: names of buckets; out: on standard output one line of JSON with the address, a service account and one with another key, then
answers until it is ended. It is written after Google's pages on the XML API, since the emulators that can be had speak the JSON API: an
object has a generation, `x-goog-if-generation-match` (0: no such object) makes a put conditional, listings come in pages,
large objects in parts. A request needs a token that the service account's key signed (RS256); a bucket whose name begins
with `public` is read without one.
"""

import base64
import hashlib
import itertools
import json
import re
import subprocess
import sys
import threading
import time
from datetime import datetime, timezone
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

EMAIL = "tests@auspex.iam.gserviceaccount.com"
PAGE_OBJECTS = 7  # few, so that each listing of the tests has several pages

buckets = {name: {} for name in sys.argv[1:]}
uploads = {}
numbers = itertools.count(1_700_000_000_000_000)
lock = threading.Lock()

openssl = lambda *args, data=None: subprocess.run(["openssl", *args], input=data, capture_output=True, check=True).stdout
private_key, other_key = (openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048") for _ in range(2))
modulus = int(openssl("rsa", "-noout", "-modulus", data=private_key).decode().strip().removeprefix("Modulus="), 16)
SHA256_INFO = bytes.fromhex("3031300d060960864801650304020105000420")  # RFC 8017, section 9.2


def decoded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def is_signed(token):
    """Whether the service account's key signed a token for now."""
    try:
        head, claims, signature = token.split(".")
        found = pow(int.from_bytes(decoded(signature), "big"), 65537, modulus).to_bytes(256, "big")
        digest = SHA256_INFO + hashlib.sha256(f"{head}.{claims}".encode()).digest()
        said = json.loads(decoded(claims))
        return (found == b"\0\1" + b"\xff" * (253 - len(digest)) + b"\0" + digest
                and said["iss"] == EMAIL and said["iat"] - 60 < time.time() < said["exp"])
    except (ValueError, KeyError):
        return False


class Refused(Exception):
    def __init__(self, status, code):
        self.status, self.code = status, code


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # An answer is one packet; the client would wait for the second one.
    wbufsize = 1 << 16
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", headers=()):
        self.reply = (status, body, headers)

    def send(self, status, body, headers):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle_request(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        bucket, _, name = url.path.removeprefix("/").partition("/")
        bucket, name = unquote(bucket), unquote(name)
        try:
            self.authorize(bucket)
            if bucket not in buckets:
                raise Refused(404, "NoSuchBucket")
            with lock:
                self.serve(buckets[bucket], name, query, body)
        except Refused as refused:
            text = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{refused.code}</Code></Error>"
            self.answer(refused.status, text.encode(), [("Content-Type", "application/xml")])
        # Without the lock: who reads slowly keeps nobody else waiting.
        self.send(*self.reply)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_request

    def authorize(self, bucket):
        kind, _, token = self.headers.get("Authorization", "").partition(" ")
        if kind == "Bearer" and is_signed(token):
            return
        if kind or not bucket.startswith("public"):
            raise Refused(401, "AuthenticationRequired")
        if self.command not in ("GET", "HEAD"):
            raise Refused(403, "AccessDenied")

    def serve(self, objects, name, query, body):
        if not name:
            self.list(objects, query)
        elif self.command in ("GET", "HEAD"):
            self.get(objects, name)
        elif self.command == "DELETE" and "uploadId" in query:
            uploads.pop(query["uploadId"], None)
            self.answer(204)
        elif self.command == "DELETE":
            if objects.pop(name, None) is None:
                raise Refused(404, "NoSuchKey")
            self.answer(204)
        elif self.command == "PUT" and "uploadId" in query:
            self.upload(query)[int(query["partNumber"])] = body
            self.answer(200, headers=[("ETag", f'"{hashlib.md5(body).hexdigest()}"')])
        elif self.command == "PUT" and "x-goog-copy-source" in self.headers:
            source_bucket, _, source = self.headers["x-goog-copy-source"].partition("/")
            found = buckets.get(unquote(source_bucket), {}).get(unquote(source))
            if found is None:
                raise Refused(404, "NoSuchKey")
            self.put(objects, name, found["body"])
            self.answer(200, b"<CopyObjectResult/>")
        elif self.command == "PUT":
            self.answer(200, headers=self.put(objects, name, body))
        elif "uploads" in query:
            number = str(next(numbers))
            uploads[number] = {}
            text = f"<InitiateMultipartUploadResult><UploadId>{number}</UploadId></InitiateMultipartUploadResult>"
            self.answer(200, text.encode())
        else:
            self.complete(objects, name, query, body)

    def upload(self, query):
        if query["uploadId"] not in uploads:
            raise Refused(404, "NoSuchUpload")
        return uploads[query["uploadId"]]

    def complete(self, objects, name, query, body):
        parts = self.upload(query)
        wanted = [int(number) for number in re.findall(r"<PartNumber>(\d+)</PartNumber>", body.decode())]
        tags = re.findall(r"<ETag>(.*?)</ETag>", body.decode())
        found = [f'"{hashlib.md5(parts.get(number, b"")).hexdigest()}"' for number in wanted]
        if not wanted or wanted != sorted(wanted) or [tag.replace("&quot;", '"') for tag in tags] != found:
            raise Refused(400, "InvalidPart")
        headers = self.put(objects, name, b"".join(parts[number] for number in wanted))
        del uploads[query["uploadId"]]
        tag = escape(dict(headers)["ETag"])
        text = f"<CompleteMultipartUploadResult><ETag>{tag}</ETag></CompleteMultipartUploadResult>"
        self.answer(200, text.encode(), headers)

    def put(self, objects, name, body):
        wanted = self.headers.get("x-goog-if-generation-match")
        if wanted is not None and int(wanted) != objects.get(name, {"generation": 0})["generation"]:
            raise Refused(412, "PreconditionFailed")
        objects[name] = {"body": body, "generation": next(numbers), "time": time.time()}
        return self.about(objects[name])

    def about(self, found):
        tag = f'"{hashlib.md5(found["body"]).hexdigest()}"'
        return [("ETag", tag), ("x-goog-generation", str(found["generation"]))]

    def get(self, objects, name):
        if name not in objects:
            raise Refused(404, "NoSuchKey")
        found = objects[name]
        whole = found["body"]
        headers = self.about(found) + [("Last-Modified", formatdate(found["time"], usegmt=True))]
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if not asked:
            return self.answer(200, whole, headers)
        first, last = asked.groups()
        start = int(first) if first else max(len(whole) - int(last), 0)
        end = min(int(last) + 1, len(whole)) if first and last else len(whole)
        if start >= len(whole):
            raise Refused(416, "InvalidRange")
        headers.append(("Content-Range", f"bytes {start}-{end - 1}/{len(whole)}"))
        self.answer(206, whole[start:end], headers)

    def list(self, objects, query):
        if query.get("list-type") != "2":
            raise Refused(400, "InvalidArgument")
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("continuation-token") or query.get("start-after", "")
        shown, folders, last = [], [], ""
        for name in sorted(name for name in objects if name.startswith(prefix) and name > after):
            end = name.find(delimiter, len(prefix)) if delimiter else -1
            folder = name[:end + 1]
            if end >= 0 and (folder in folders or after.startswith(folder)):
                continue
            if len(shown) + len(folders) == PAGE_OBJECTS:
                break
            last = name
            if end >= 0:
                folders.append(folder)
                continue
            found = objects[name]
            at = datetime.fromtimestamp(found["time"], timezone.utc).isoformat().replace("+00:00", "Z")
            tag = escape(dict(self.about(found))["ETag"])
            shown.append(f"<Contents><Key>{escape(name)}</Key><Size>{len(found['body'])}</Size>"
                         f"<LastModified>{at}</LastModified><ETag>{tag}</ETag></Contents>")
        else:
            last = ""
        more = f"<NextContinuationToken>{escape(last)}</NextContinuationToken>" if last else ""
        prefixes = "".join(f"<CommonPrefixes><Prefix>{escape(f)}</Prefix></CommonPrefixes>" for f in folders)
        text = f"<ListBucketResult>{''.join(shown)}{prefixes}{more}</ListBucketResult>"
        self.answer(200, text.encode(), [("Content-Type", "application/xml")])


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        # A reader that has seen enough hangs up.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


server = Server(("127.0.0.1", 0), Handler)
account = lambda key: json.dumps({
    "type": "service_account", "client_email": EMAIL, "private_key_id": "1", "private_key": key.decode(),
})
print(json.dumps({
    "address": f"127.0.0.1:{server.server_port}", "service_account": account(private_key), "other_account": account(other_key),
}), flush=True)
server.serve_forever()
