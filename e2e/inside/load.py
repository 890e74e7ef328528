"""Steady calls, and an account of what came of every single one.

    python3 load.py URL CONNECTIONS PAUSE PORT [NAME:VALUE ...]

A closed loop: each connection sends its next request when the last was answered, and `PAUSE` seconds later, so no
request is ever missing from the account. Whatever is not a 200 is a failure: another status, a connection that is
refused or cut, no answer in time. A connection is kept until the server says that it closes it.

On PORT: `GET /` is the account so far, as JSON. `POST /` ends the calls, and is the account when the last was answered.
"""

import http.client
import json
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

PATIENCE = 10.0  # seconds for one answer
TOLD = 200  # characters of an answer

answers: Counter[str] = Counter()  # 200s, by body
failed: Counter[str] = Counter()  # by what was wrong
when: list[float] = []  # failures, by the machine's monotonic clock; the first few
over = threading.Event()


def calls(url: str, headers: dict[str, str], pause: float) -> None:
    parts = urlsplit(url)
    path = parts.path + (f"?{parts.query}" if parts.query else "") or "/"
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE)
    while not over.wait(pause) if pause else not over.is_set():
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            body = answer.read().decode(errors="replace").strip()[:TOLD]
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            fail(repr(error))
        else:
            answers.update([body]) if answer.status == 200 else fail(f"{answer.status} {body}")
    connection.close()


def fail(why: str) -> None:
    failed.update([why])
    if len(when) < 20:
        when.append(time.monotonic())
    time.sleep(0.01)  # whoever refuses at once is not asked a million times


class Account(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.told()

    def do_POST(self) -> None:
        over.set()
        for thread in threads:
            thread.join()
        self.told()

    def told(self) -> None:
        # Copied at once: callers go on counting.
        body = json.dumps({"answers": answers.copy(), "failed": failed.copy(), "when": list(when)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


if __name__ == "__main__":
    url, connections, pause, port, *lines = sys.argv[1:]
    headers = dict(line.split(":", 1) for line in lines)
    threads = [threading.Thread(target=calls, args=(url, headers, float(pause))) for _ in range(int(connections))]
    for thread in threads:
        thread.start()
    ThreadingHTTPServer(("", int(port)), Account).serve_forever()
