"""Answers HTTP with its pid: server.py PORT, or server.py stdin for an inherited listening socket."""

import os
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body of an answer are two writes.
    disable_nagle_algorithm = True

    def do_GET(self):
        body = str(os.getpid()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


class Server(ThreadingHTTPServer):
    # The default of 5 refuses bursts of clients, whoever runs the server.
    request_queue_size = 128


if sys.argv[1] == "stdin":
    server = Server(("127.0.0.1", 0), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = socket.socket(fileno=os.dup(0))
else:
    server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
server.serve_forever()
