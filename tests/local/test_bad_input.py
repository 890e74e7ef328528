"""Files of every bad kind, dropped into a mesh that runs: each is told, and nothing that worked stops working."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.local.meshes import Up, lay_out
from tests.local.test_up import BILL, commands


def virtual_service(spec: str, name: str = "odd") -> str:
    head = "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
    return f"{head}metadata: {{name: {name}, namespace: demo}}\nspec: {spec}\n---\n"


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{after}: &{after} [{','.join([f'*{before}'] * 9)}]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)
UNSTARTABLE = """
apiVersion: v1
kind: Pod
metadata: {name: odd, namespace: demo}
spec: {containers: [{name: c, command: [sleep, '9'], env: [{name: 'A=B', value: x}]}]}
"""
ROUTE = "route: [{destination: {host: bill}}]"

# name -> (content, words of a problem)
FILES: dict[str, tuple[str | bytes, str]] = {
    "no YAML": ("kind: [", "extra.yaml:2:1: "),
    "words": ("hello world", "extra.yaml:1:1: not a Kubernetes object"),
    "binary": (bytes(range(256)) * 20, "extra.yaml: cannot be read: not UTF-8"),
    "a bomb of aliases": (BOMB, "expands to more than 1,000,000 values"),
    "an alias of itself": ("a: &a [*a]", "the alias *a stands for nothing"),
    "no end of brackets": ("[" * 5000, "nested deeper than 100 levels"),
    "a Python object": ("apiVersion: !!python/object/apply:os.system [ls]", "extra.yaml:1:"),
    "wrong types": (virtual_service("{hosts: bill, http: {a: 1}}"), "must be a list"),
    "unknown fields": (virtual_service(f"{{hosts: [bill], htp: [], http: [{{{ROUTE}}}]}}"), "did you mean http?"),
    "a huge weight": (
        virtual_service("{hosts: [odd], http: [{route: [{destination: {host: bill}, weight: 99999999999}]}]}"),
        "found 99999999999",
    ),
    "a delegate that is itself": (
        virtual_service("{hosts: [odd], http: [{delegate: {name: odd, namespace: demo}}]}"),
        "cannot be a delegate",
    ),
    "a regex that RE2 refuses": (
        virtual_service(f"{{hosts: [odd], http: [{{match: [{{uri: {{regex: '(?=a)b'}}}}], {ROUTE}}}]}}"),
        "RE2 does not accept it",
    ),
    "a reference to nothing": (
        virtual_service("{hosts: [odd], http: [{route: [{destination: {host: nowhere}}]}]}"),
        "nowhere",
    ),
    "a Deployment of the wrong shape": (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: odd, namespace: demo}\nspec:\n",
        "is not run: expected a mapping, got nothing",
    ),
    "an environment no process can have": (
        UNSTARTABLE,
        "sleep cannot be started: illegal environment variable name",
    ),
    "names that are paths": (
        "apiVersion: v1\nkind: Service\nmetadata: {name: ../../etc/passwd, namespace: demo}\n",
        "metadata.name is no name",
    ),
    "the same object again": (BILL, "defined more than once"),
}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    directory = lay_out(tmp_path_factory.mktemp("bad"), bill=BILL, lateen=commands())
    with Up(directory).settled() as running:
        yield running


def told(up: Up, make: Callable[[Path], object], words: str) -> None:
    extra = up.directory / "extra.yaml"
    make(extra)
    up.until(lambda: any(words in problem["line"] for problem in up.ask("/problems")), 20)
    assert up.call("client", "http://bill/") == (200, "one\n")
    extra.unlink()
    up.until(lambda: not up.ask("/problems"), 20)
    assert up.call("client", "http://bill/") == (200, "one\n")
    assert "Traceback" not in up.text()
    assert "InternalError" not in up.text()
    assert "bug" not in up.text()


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file_is_told_and_nothing_stops_working(name: str, up: Up) -> None:
    content, words = FILES[name]
    told(up, lambda path: path.write_bytes(content.encode() if isinstance(content, str) else content), words)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
        (lambda path: path.symlink_to("nowhere"), "No such file or directory"),
        (os.mkfifo, "this is no ordinary file"),
        (lambda path: path.write_bytes(b"# pad\n" * (100 * 2**20 // 6)), "larger than 16 MiB"),
    ],
    ids=["a link to itself", "a link to nothing", "a pipe", "100 MB"],
)
def test_what_is_no_file_is_told_and_nothing_stops_working(make, words: str, up: Up) -> None:
    told(up, make, words)


def test_ten_thousand_hosts_are_taken_in_seconds(up: Up) -> None:
    def virtual_hosts() -> int:
        (client,) = (proxy for proxy in up.ask("/proxies") if proxy["name"].startswith("client"))
        held: int = client["types"]["VHDS"]["resources"]
        return held

    hosts = ", ".join(f"host-{number}.example.com" for number in range(10_000))
    (up.directory / "extra.yaml").write_text(virtual_service(f"{{hosts: [{hosts}], http: [{{{ROUTE}}}]}}"))
    up.until(lambda: virtual_hosts() > 10_000, 30)
    up.synced(30)
    assert up.call("client", "http://bill/") == (200, "one\n")
    (up.directory / "extra.yaml").unlink()
    up.until(lambda: virtual_hosts() < 100, 30)
    up.synced(30)
    assert up.ask("/problems") == []
