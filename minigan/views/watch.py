"""Serves the report of runs that go on, to this machine's own browsers."""

from __future__ import annotations

import contextlib
import http.server
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minigan.errors import FailedWork, WrongUse
from minigan.views import report

REFRESH = 10  # seconds
SILENT = 10.0  # seconds that a connection may say nothing
LONGEST = 30.0  # seconds that it may last
MOST = 24  # connections at once; those beyond are closed


class Server(http.server.ThreadingHTTPServer):
    """A thread for each of at most MOST connections, none of which lasts longer than LONGEST seconds."""

    daemon_threads = True

    def __init__(self, *given: Any):
        self.open: dict[socket.socket, float] = {}  # and since when
        self.lock = threading.Lock()
        super().__init__(*given)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self.lock:
            room = len(self.open) < MOST
            if room:
                self.open[request] = time.monotonic()
        if room:
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        with self.lock:
            self.open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Twice a second: end what lasts too long, such as a request that comes letter by letter."""
        with self.lock:
            late = [request for request, since in self.open.items() if time.monotonic() - since > LONGEST]
        for request in late:
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing is said of a client that left or was too slow."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def server(folders: Sequence[Path], port: int = 0) -> Server:
    """A server of the page at http://127.0.0.1:PORT/; serve_forever() answers until shutdown(). port 0: any free one.

    It listens on this machine only, knows one page, made anew for each request, and answers only to its own name: a
    page from elsewhere, whose name was made to point here, gets nothing.
    """
    report.page(report.read(folders))  # what is wrong is said before anything listens

    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = SILENT

        def do_GET(self) -> None:
            assert isinstance(self.server, http.server.HTTPServer)
            port = self.server.server_port
            if self.headers.get("Host") not in (f"127.0.0.1:{port}", f"localhost:{port}"):
                self.send_error(403)
            elif self.path != "/":
                self.send_error(404)
            else:
                self._page()

        def _page(self) -> None:
            try:
                runs = report.read(folders)
                text, status = report.page(runs, 0 if all(run.ended for run in runs) else REFRESH), 200
            except (FailedWork, WrongUse) as error:  # such as a run that is being replaced
                text, status = f"minigan: {error}\n", 503
            data = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", f"text/{'html' if status == 200 else 'plain'}; charset=utf-8")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Says nothing: the terminal is the user's."""

    try:
        return Server(("127.0.0.1", port), Handler)
    except (OSError, OverflowError) as error:
        raise FailedWork(f"port {port} of this machine cannot be used ({error}); choose another --port") from None
