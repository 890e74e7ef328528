"""`lateen agent wait`: a hook that holds the application until the proxy is ready."""

import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

from controlplane.agent.entrance import main as agent
from controlplane.agent.http.client import Address
from controlplane.agent.waiting import main


class _Ready(BaseHTTPRequestHandler):
    ready = threading.Event()
    asked = threading.Event()

    def do_GET(self):
        _Ready.asked.set()
        self.send_response(200 if _Ready.ready.is_set() and self.path == "/healthz/ready" else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def test_it_returns_when_the_proxy_is_ready():
    with HTTPServer(("127.0.0.1", 0), _Ready) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        codes = []
        waiting = threading.Thread(target=lambda: codes.append(main([], Address("127.0.0.1", server.server_port))))
        waiting.start()
        assert _Ready.asked.wait(10)
        time.sleep(0.3)
        assert codes == []
        _Ready.ready.set()
        waiting.join(10)
        assert codes == [0]
        server.shutdown()


def test_it_does_not_wait_for_ever(capsys):
    assert main([], Address("127.0.0.1", 1), longest=0.2) == 1
    assert "not ready within" in capsys.readouterr().err


def test_it_takes_no_arguments(capsys):
    assert agent(["wait", "for", "godot"]) == 2
    assert agent(["wait", "--help"]) == 0
    assert "usage: lateen agent wait" in capsys.readouterr().out
