"""A key management service over HTTP, and the client that a deployment would write for it.

The key lives in the server's process: `python key_server.py` prints the port it listens on. It is told by its
first line of input, so that the key is on no command line either.
"""

import json
import os
import secrets
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tenant_ops.platform.key_service import DoesNotOpen, LocalKey

SERVICE = f"{__name__}:HttpKey"
URL = "TEST_KEY_SERVER"
REFUSED = 422


class HttpKey:
    """The client: what `BACKUP_KEY_SERVICE` names."""

    id = "http-key-1"

    def wrap(self, secret: bytes, context: str) -> bytes:
        return self._ask("wrap", secret, context)

    def unwrap(self, wrapped: bytes, context: str) -> bytes:
        try:
            return self._ask("unwrap", wrapped, context)
        except HTTPError as error:
            if error.code == REFUSED:
                raise DoesNotOpen from None
            raise

    def _ask(self, what: str, data: bytes, context: str) -> bytes:
        body = json.dumps({"data": b64encode(data).decode(), "context": context}).encode()
        with urlopen(Request(f"{os.environ[URL]}/{what}", body), timeout=5) as answer:
            return b64decode(json.load(answer)["data"])


class Handler(BaseHTTPRequestHandler):
    """The server: wraps and unwraps with the key it was given."""

    key: LocalKey

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        work = self.key.wrap if self.path == "/wrap" else self.key.unwrap
        try:
            answer = json.dumps({"data": b64encode(work(b64decode(body["data"]), body["context"])).decode()})
        except DoesNotOpen:
            self.send_error(REFUSED)
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class named it)
        """Nothing: the port is the only thing this program prints."""


@contextmanager
def running() -> Iterator[subprocess.Popen[str]]:
    """The server as a process of its own, with a key only it knows; the client finds it."""
    process = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b64encode(secrets.token_bytes(32)).decode() + "\n")
    process.stdin.flush()
    os.environ[URL] = f"http://127.0.0.1:{int(process.stdout.readline())}"
    try:
        yield process
    finally:
        del os.environ[URL]
        process.kill()
        process.communicate()


if __name__ == "__main__":
    Handler.key = LocalKey(b64decode(sys.stdin.readline()))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
