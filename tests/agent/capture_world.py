"""A network of two, made anew for one run: a Pod whose traffic is captured, and a neighbour. Run below `unshare --net`.

    capture_world.py NFT_OR_LEGACY [FLAG...]     the flags of `lateen agent capture`

Sets the rules twice with the real iptables, then makes connections as the application, as the proxy and as the
neighbour, and prints as JSON who took each. Listeners say who they are and where the caller wanted to go.
"""

import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

POD, NEIGHBOUR = {4: "10.1.1.1", 6: "2001:db8::1"}, {4: "10.1.1.2", 6: "2001:db8::2"}
LOCALHOST, PAST = {4: "127.0.0.1", 6: "::1"}, {4: "127.0.0.6", 6: "::6"}
OUTBOUND, INBOUND, APP, STATUS, DATABASE = 15001, 15006, 8080, 15021, 5432
PROXY = 1337
_ORIGINAL = {4: (socket.SOL_IP, 80, 16), 6: (41, 80, 28)}  # SO_ORIGINAL_DST, IP6T_SO_ORIGINAL_DST


def main(backend: str, flags: list[str]) -> None:
    neighbour = subprocess.Popen(["unshare", "--net", "sleep", "600"])
    try:
        while Path(f"/proc/{neighbour.pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink():
            time.sleep(0.01)
        _link(neighbour.pid)
        capture = [sys.executable, "-m", "controlplane.agent", "capture", "--backend", backend, *flags]
        first = subprocess.run(capture, check=True, capture_output=True, text=True).stderr
        second = subprocess.run(capture, check=True, capture_output=True, text=True).stderr
        for family in (4, 6):
            for port in (OUTBOUND, INBOUND, APP, STATUS, DATABASE):
                _listen(family, port, "pod")
        found = {f"IPv{family}": dict(_connections(family, neighbour.pid)) for family in (4, 6)}
        rules = [_save(program) for program in ("iptables", "ip6tables")]
        clean = [sys.executable, "-m", "controlplane.agent", "capture", "--clean-up"]
        subprocess.run(clean, check=True, capture_output=True)
        left = [line for program in ("iptables", "ip6tables") for line in _save(program) if "ISTIO" in line]
        print(json.dumps({"first": first, "second": second, "reached": found, "rules": rules, "left": left}))
    finally:
        neighbour.kill()
        neighbour.wait()


def _save(program: str) -> list[str]:
    told = subprocess.run([f"{program}-{sys.argv[1]}-save", "-t", "nat"], capture_output=True, text=True, check=True)
    return [line for line in told.stdout.splitlines() if line.startswith("-A")]


def _link(other: int) -> None:
    subprocess.run(["ip", "link", "add", "veth0", "type", "veth", "peer", "name", "veth1"], check=True)
    subprocess.run(["ip", "link", "set", "veth1", "netns", str(other)], check=True)
    there = ["nsenter", "-t", str(other), "--net"]
    for at, name, addresses in (([], "veth0", POD), (there, "veth1", NEIGHBOUR)):
        subprocess.run([*at, "ip", "link", "set", "lo", "up"], check=True)
        subprocess.run([*at, "ip", "link", "set", name, "up"], check=True)
        subprocess.run([*at, "ip", "addr", "add", f"{addresses[4]}/24", "dev", name], check=True)
        subprocess.run([*at, "ip", "-6", "addr", "add", f"{addresses[6]}/64", "dev", name, "nodad"], check=True)
    server = [*there, sys.executable, __file__, "listen"]
    process = subprocess.Popen(server, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "listening\n"


def _listen(family: int, port: int, who: str) -> None:
    listener = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == 6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind(("0.0.0.0" if family == 4 else "::", port))
    listener.listen(16)
    threading.Thread(target=_serve, args=(listener, family, port, who), daemon=True).start()


def _serve(listener: socket.socket, family: int, port: int, who: str) -> None:
    while True:
        connection, _ = listener.accept()
        connection.sendall(f"{who}:{port} wanted {_wanted(connection, family)}".encode())
        connection.close()


def _wanted(connection: socket.socket, family: int) -> str:
    level, option, size = _ORIGINAL[family]
    try:
        raw = connection.getsockopt(level, option, size)
    except OSError:
        return "this"
    port = struct.unpack("!H", raw[2:4])[0]
    address = socket.inet_ntop(*((socket.AF_INET, raw[4:8]) if family == 4 else (socket.AF_INET6, raw[8:24])))
    return f"{address}:{port}"


def _connections(family: int, other: int):
    """What is tried, by a name, and who answered."""
    yield "the application calls somebody", _call(family, NEIGHBOUR[family], 80)
    yield "the application calls a database", _call(family, NEIGHBOUR[family], DATABASE)
    yield "the application calls its own address", _call(family, POD[family], APP)
    yield "the application calls localhost", _call(family, LOCALHOST[family], APP)
    yield "the proxy calls somebody", _call(family, NEIGHBOUR[family], 80, uid=PROXY)
    yield "the proxy calls its own Pod", _call(family, POD[family], APP, uid=PROXY)
    yield "a helper of the proxy's group calls somebody", _call(family, NEIGHBOUR[family], 80, gid=PROXY)
    yield "the proxy hands on", _call(family, POD[family], APP, uid=PROXY, source=PAST[family])
    yield "a neighbour calls the application", _from(other, family, APP)
    yield "a neighbour asks for the status", _from(other, family, STATUS)


def _call(family: int, host: str, port: int, uid: int = 0, gid: int = 0, source: str = "") -> str:
    """In a process of its own, since a user is a process's."""
    told, tell = os.pipe()
    child = os.fork()
    if not child:
        if gid:
            os.setgid(gid)
        if uid:
            os.setuid(uid)
        os.write(tell, _answer(family, host, port, source).encode())
        os._exit(0)
    os.close(tell)
    answer = os.read(told, 1000).decode()
    os.waitpid(child, 0)
    os.close(told)
    return answer


def _answer(family: int, host: str, port: int, source: str = "") -> str:
    with socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6) as caller:
        caller.settimeout(5)
        try:
            if source:
                caller.bind((source, 0))
            caller.connect((host, port))
            return caller.recv(1000).decode()
        except OSError as error:
            return f"nobody: {error}"


def _from(other: int, family: int, port: int) -> str:
    call = [sys.executable, __file__, "call", str(family), POD[family], str(port)]
    return subprocess.run(
        ["nsenter", "-t", str(other), "--net", *call], capture_output=True, text=True, check=True
    ).stdout


if __name__ == "__main__":
    if sys.argv[1] == "listen":
        for each in (4, 6):
            for number in (80, DATABASE):
                _listen(each, number, "neighbour")
        print("listening", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    elif sys.argv[1] == "call":
        print(_answer(int(sys.argv[2]), sys.argv[3], int(sys.argv[4])), end="")
    else:
        main(sys.argv[1], sys.argv[2:])
