"""A web server on this machine that gives ranges, keeps a log, and can be told to misbehave."""

import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


@dataclass
class Server:
    """The files of a folder under `/`, and what has been asked for.

    `spoil(number, answer)` may change the answer to the request of that number, from 0 on;
    `answer` is a dictionary of `status`, `headers` and `body`.
    """

    folder: Path
    port: int = 0
    asked: list = field(default_factory=list)
    spoil: object = None
    version: str = "1"

    def address(self, name):
        """Where a file of the folder is."""
        return f"http://127.0.0.1:{self.port}/{name}"

    def answer(self, path, headers):
        """Status, headers and body of an honest answer."""
        file = self.folder / path.lstrip("/").partition("?")[0]
        if not file.is_file():
            return {"status": 404, "headers": {}, "body": b""}
        data, tag = file.read_bytes(), f'"{self.version}"'
        found = _RANGE.fullmatch(headers.get("Range", ""))
        is_current = headers.get("If-Range") in (None, tag)
        if found is None or not is_current:
            return {"status": 200, "headers": {"ETag": tag}, "body": data}
        first, last = int(found[1]), min(int(found[2]), len(data) - 1)
        if first > last:
            stated = f"bytes */{len(data)}"
            return {"status": 416, "headers": {"Content-Range": stated, "ETag": tag}, "body": b""}
        self.asked.append((file.name, first, last + 1 - first))
        stated = f"bytes {first}-{last}/{len(data)}"
        return {
            "status": 206,
            "headers": {"Content-Range": stated, "ETag": tag},
            "body": data[first : last + 1],
        }


@contextmanager
def serving(folder):
    """A server of a folder, which stops with the block."""
    server = Server(folder)
    count = 0

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            nonlocal count
            answer = server.answer(self.path, self.headers)
            if server.spoil is not None:
                server.spoil(count, answer)
            count += 1
            self.send_response(answer["status"])
            headers = {"Content-Length": str(len(answer["body"]))} | answer["headers"]
            for name, value in headers.items():
                if value is not None:
                    self.send_header(name, value)
            if headers["Content-Length"] != str(len(answer["body"])):
                self.close_connection = True
            self.end_headers()
            self.wfile.write(answer["body"])

        def log_message(self, *_):
            return

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    server.port = listener.server_address[1]
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()
