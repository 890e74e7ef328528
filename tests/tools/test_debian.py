"""What an image takes of Debian's packages."""

from pathlib import Path, PurePosixPath

import pytest

from tools.images import debian


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("usr/bin/python3", True),
        ("usr/share/doc/curl", True),
        ("usr/share/doc/curl/copyright", True),
        ("usr/share/doc/curl/examples", False),
        ("usr/share/man", False),
        ("usr/share/locale/de/LC_MESSAGES/a.mo", False),
        ("usr/share/ca-certificates/mozilla/A.crt", True),
    ],
)
def test_licences_come_along_and_documentation_does_not(path: str, wanted: bool) -> None:  # noqa: FBT001
    assert debian.wanted(PurePosixPath(path)) == wanted


def test_names_that_scripts_would_have_made_are_there(tmp_path: Path) -> None:
    authorities = tmp_path / "usr/share/ca-certificates/mozilla"
    authorities.mkdir(parents=True)
    (authorities / "B.crt").write_text("b\n")
    (authorities / "A.crt").write_text("a\n")
    (tmp_path / "usr/sbin").mkdir()
    (tmp_path / "usr/sbin/xtables-nft-multi").touch()
    debian.set_up(tmp_path)
    assert (tmp_path / "usr/sbin/ip6tables-restore").readlink() == Path("xtables-nft-multi")
    assert (tmp_path / "etc/ssl/certs/ca-certificates.crt").read_text() == "a\nb\n"
