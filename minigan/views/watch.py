"""Serves the report of runs that go on, to this machine's own browsers."""

from __future__ import annotations

import http.server
from collections.abc import Sequence
from pathlib import Path

from minigan.errors import FailedWork, WrongUse
from minigan.views import report

REFRESH = 10  # seconds


def server(folders: Sequence[Path], port: int = 0) -> http.server.ThreadingHTTPServer:
    """A server of the page at http://127.0.0.1:PORT/; serve_forever() answers until shutdown(). port 0: any free one.

    It listens on this machine only, knows one page, made anew for each request, and answers only to its own name: a
    page from elsewhere, whose name was made to point here, gets nothing.
    """
    report.page(report.read(folders))  # what is wrong is said before anything listens

    class Handler(http.server.BaseHTTPRequestHandler):
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
        return http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except (OSError, OverflowError) as error:
        raise FailedWork(f"port {port} of this machine cannot be used ({error}); choose another --port") from None
