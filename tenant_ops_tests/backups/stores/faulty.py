"""A web server between a driver and its S3 server that does to requests what networks and stores do."""

import http.client
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Fault = Callable[["Request"], None]


@dataclass
class Request:
    """One request on its way; a fault may change it, answer it, or drop it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    forward: Callable[["Request"], "Answer"]
    answer: "Answer | None" = None
    cut: bool = False

    @property
    def key(self) -> str:
        """The path without the query."""
        return self.path.partition("?")[0]

    @property
    def is_listing(self) -> bool:
        return self.method == "GET" and "list-type=2" in self.path


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


def error(status: int, code: str) -> Answer:
    """An error as S3 tells it."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
    return Answer(status, [("Content-Type", "application/xml")], body)


@dataclass
class Network:
    """The server; `fault` is asked at each request.

    Attributes:
        url: Where it is.
        fault: What happens to requests.
        seen: Method and path of every request.
    """

    url: str
    fault: Fault | None = None
    seen: list[tuple[str, str]] = field(default_factory=list)

    def puts(self) -> list[str]:
        """The keys that were put, in order."""
        return [path.partition("?")[0] for method, path in self.seen if method == "PUT"]


@contextmanager
def network(target: str) -> Iterator[Network]:
    """A network in front of the server at a URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    net = Network(f"http://127.0.0.1:{server.server_port}")
    server.net, server.target = net, target.removeprefix("http://")  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield net
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def handle_any(self) -> None:
        dropped = {"content-length", "transfer-encoding", "expect", "connection"}
        headers = {name: value for name, value in self.headers.items() if name.lower() not in dropped}
        request = Request(self.command, self.path, headers, self._body(), self._forward)
        net = self.server.net  # type: ignore[attr-defined]
        net.seen.append((request.method, request.path))
        if net.fault:
            net.fault(request)
        answer = request.answer or (None if request.cut else self._forward(request))
        self.close_connection = self.close_connection or request.cut
        if answer is not None:
            self._send(answer, request)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815

    def _send(self, answer: Answer, request: Request) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        if "Content-Length" not in dict(answer.headers):
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if request.method != "HEAD":
            self.wfile.write(answer.body[: len(answer.body) // 2] if request.cut else answer.body)

    def _forward(self, request: Request) -> Answer:
        connection = http.client.HTTPConnection(self.server.target, timeout=30)  # type: ignore[attr-defined]
        headers = {**request.headers, "Content-Length": str(len(request.body))}
        connection.request(request.method, request.path, request.body, headers)
        response = connection.getresponse()
        dropped = {"transfer-encoding", "connection", "content-length"}
        kept = [(name, value) for name, value in response.getheaders() if name.lower() not in dropped]
        if request.method == "HEAD":
            kept.append(("Content-Length", response.getheader("Content-Length") or "0"))
        answer = Answer(response.status, kept, response.read())
        connection.close()
        return answer

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(pieces)


class Times:
    """A fault for the first so many requests it is meant for."""

    def __init__(self, count: int, which: Callable[[Request], bool], do: Fault) -> None:
        self.left, self._which, self._do = count, which, do
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> None:
        if not self._which(request):
            return
        with self._lock:
            happens, self.left = self.left > 0, self.left - 1
        if happens:
            self._do(request)


def cut(request: Request) -> None:
    """The connection breaks before there is an answer; the request never arrived."""
    request.cut = True


def cut_after(request: Request) -> None:
    """The request arrives and is carried out, the answer breaks off halfway."""
    request.answer, request.cut = request.forward(request), True


def busy(request: Request) -> None:
    request.answer = error(503, "SlowDown")


def broken(request: Request) -> None:
    request.answer = error(500, "InternalError")


def refused(request: Request) -> None:
    request.answer = error(403, "AccessDenied")


def gone(request: Request) -> None:
    request.answer = error(404, "NoSuchKey")


def swallow(request: Request) -> None:
    """The store says it has it, and has not."""
    request.answer = Answer(200, [("ETag", '"00000000000000000000000000000000"')], b"")


def halve(request: Request) -> None:
    """The store keeps half of it, and says nothing."""
    request.body = request.body[: len(request.body) // 2]
    request.headers = {
        name: value
        for name, value in request.headers.items()
        if not re.match(
            r"(?i)x-amz-(checksum|trailer|sdk-checksum|decoded|content-sha)|content-(md5|encoding)", name
        )
    }


def shorten(request: Request) -> None:
    """A range comes back shorter than it was asked for."""
    answer = request.forward(request)
    answer.body = answer.body[:-1]
    request.answer = answer


def list_less(request: Request) -> None:
    """The last object is missing in a listing that says it is all."""
    answer = request.forward(request)
    answer.body = re.sub(rb"(?s)<Contents>((?!<Contents>).)*</Contents>(?!.*<Contents>)", b"", answer.body)
    request.answer = answer


def always(request: Request) -> bool:
    return True
