"""`lateen ca`: the authority of a running mesh, and the steps from one root to the next."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from controlplane.cli.asking import Whom, ask, tell
from controlplane.cli.output import Format, print_document, print_table


def show(whom: Whom, output: Format) -> None:
    """Print who signs, and who is trusted."""
    found = ask(whom, "/ca")
    if output is not Format.TABLE:
        print_document(found, output)
        return
    trusted = {each["sha256"] for each in found["trusted"]}
    signers = {each["sha256"]: each for each in found["signers"]}
    rows = [_row(each, trusted) for each in signers.values()]
    rows += [_row(each, trusted) for each in found["trusted"] if each["sha256"] not in signers]
    print_table(("subject", "issues", "trusted", "key", "until", "sha-256"), rows)
    _tell_rest(found)


def rotate(directory: Path, step: str, output: Format) -> None:
    """Take a step, and print where the rotation is then."""
    _print_rotation(tell(directory, f"/ca/{step}"), output)


def status(whom: Whom, output: Format) -> None:
    """Print where a rotation is, and whom the next step waits for."""
    _print_rotation(ask(whom, "/ca"), output)


def token(directory: Path, workload: str) -> None:
    """Print a token for `namespace/account`."""
    namespace, _, account = workload.partition("/")
    typer.echo(tell(directory, "/ca/token", namespace=namespace, account=account)["token"])


def _row(certificate: Mapping[str, Any], trusted: set[str]) -> tuple[str, ...]:
    return (
        certificate["subject"],
        "yes" if certificate.get("issues") else "-",
        "yes" if certificate["sha256"] in trusted else "by its chain",
        certificate.get("key", "-"),
        certificate["notAfter"],
        certificate["sha256"],
    )


def _print_rotation(found: Mapping[str, Any], output: Format) -> None:
    if output is not Format.TABLE:
        print_document({key: found[key] for key in ("step", "next", "problem", "proxies")}, output)
        return
    lacking, holding = set(found["proxies"]["lacking"]), set(found["proxies"]["holding"])
    print_table(("step", "next", "proxies"), [(found["step"], found["next"] or "-", found["proxies"]["known"])])
    if late := sorted(lacking | holding):
        typer.echo("")
        rows = [(name, "no" if name in lacking else "yes", "no" if name in holding else "yes") for name in late]
        print_table(("not there yet", "trusts all roots", "certificate of who issues"), rows)
    _tell_rest(found)


def _tell_rest(found: Mapping[str, Any]) -> None:
    """What is no data: where it comes from, what is wrong."""
    how = "plugged in from" if found["plugged"] else "kept in"
    typer.echo(f"{how} {found['from']}", err=True)
    if found["problem"]:
        typer.echo(f"problem: {found['problem']}", err=True)
