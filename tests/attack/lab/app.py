"""The app behind the proxy: small, and strict about nothing, so that what is found is the proxy's."""

import http.server
import socket
import socketserver
import threading

BODY = b"hello from the app\n" * 8


class _OneAnswer(socketserver.BaseRequestHandler):
    """Answers what looks like a head in one write, and closes: HTTP/1.0, as the scripts of tlsfuzzer expect it."""

    def handle(self):
        self.request.settimeout(30)
        asked = b""
        try:
            while b"\n\n" not in asked.replace(b"\r", b"") and len(asked) < 1 << 16:
                piece = self.request.recv(1 << 16)
                if not piece:
                    return
                asked += piece
            head = f"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(BODY)}\r\n\r\n"
            self.request.sendall(head.encode() + BODY)
        except OSError:
            pass


class _Echo(socketserver.BaseRequestHandler):
    """Sends back what comes."""

    def handle(self):
        self.request.settimeout(60)
        try:
            while piece := self.request.recv(1 << 16):
                self.request.sendall(piece)
        except OSError:
            pass


class _Http(http.server.BaseHTTPRequestHandler):
    """HTTP/1.1 with connections that are kept."""

    protocol_version = "HTTP/1.1"
    # Else the second of its two writes waits for an acknowledgement.
    disable_nagle_algorithm = True

    def _answer(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
                self.rfile.read(size + 2)
            self.rfile.readline()
        else:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(BODY)

    do_GET = do_HEAD = do_POST = do_PUT = do_OPTIONS = _answer

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except (OSError, ValueError):
            self.close_connection = True

    def log_message(self, *_):
        pass


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 1024
    allow_reuse_address = True

    def handle_error(self, *_):
        pass


KINDS = {"one-answer": _OneAnswer, "echo": _Echo, "http": _Http}


class App:
    """An app of one of KINDS on a free port of 127.0.0.1, until it is closed."""

    def __init__(self, kind):
        self._server = _Server(("127.0.0.1", 0), KINDS[kind])
        self.port = self._server.socket.getsockname()[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


def free_port():
    """A port that nobody has right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
