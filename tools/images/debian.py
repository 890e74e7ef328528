"""Debian's packages as plain files, without installing them.

apt works out what a package needs and fetches it, checked against the archive's signatures, while lists, status and
downloads are in a folder of ours: the machine's own are neither used nor changed, and no rights are needed. Packages'
scripts do not run, so what they would have made and an image needs is made here.
"""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from tools.progress import run

INSTALLED = Path("/var/lib/dpkg/status")  # what this machine has

_LISTS = "lists"  # of what there is; shared by everything below one folder

# Where programs are in Debian is one folder since the /usr merge: packages made before it still name the other.
_MERGED = ("bin", "sbin", "lib", "lib64")

_AS_PACKED = ("--extract", "--keep-directory-symlink", "--no-same-owner", "--preserve-permissions")

# What `iptables` means is chosen by a script of the package; both back ends are there by their full names.
_IPTABLES = tuple(f"ip{family}tables{what}" for family in ("", "6") for what in ("", "-save", "-restore"))


def fetch(folder: Path, packages: Sequence[str], *, beside: Path | None = None) -> list[Path]:
    """The packages and all they depend on, in `folder`; `beside`: a status file that says what is there already."""
    lists, archives, status = folder / _LISTS, folder / "archives", beside or folder / "none-installed"
    for place in (lists / "partial", archives / "partial"):
        place.mkdir(parents=True, exist_ok=True)
    if beside is None:
        status.touch()
    apt = ["apt-get", "--quiet", "--yes", *_settings(lists, archives, status)]
    run([*apt, "update"], "reading Debian's package lists")
    run([*apt, "install", "--download-only", "--no-install-recommends", *packages], "fetching Debian packages")
    return sorted(archives.glob("*.deb"))


def unpack(packages: Sequence[Path], root: Path) -> None:
    """Their files below `root`, with /usr merged."""
    for name in _MERGED:
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(f"usr/{name}")
    for package in packages:
        files = run(["dpkg-deb", "--fsys-tarfile", package], f"reading {package.name}")
        run(["tar", *_AS_PACKED, "--directory", root], f"unpacking {package.name}", data=files)


def set_up(root: Path) -> None:
    """What the packages' scripts would have made: names of programs, the list of authorities."""
    if (root / "usr/sbin/xtables-nft-multi").exists():
        for name in _IPTABLES:
            (root / "usr/sbin" / name).symlink_to("xtables-nft-multi")
    authorities = sorted((root / "usr/share/ca-certificates/mozilla").glob("*.crt"))
    if authorities:
        bundle = root / "etc/ssl/certs/ca-certificates.crt"
        bundle.parent.mkdir(parents=True, exist_ok=True)
        bundle.write_bytes(b"".join(path.read_bytes() for path in authorities))


def wanted(path: PurePosixPath) -> bool:
    """Documentation and translations stay behind; licences come along."""
    match path.parts:
        case ("usr", "share", "man" | "locale" | "info" | "lintian" | "bug", *_):
            return False
        case ("usr", "share", "doc", _, name, *_):
            return name == "copyright"
        case _:
            return True


def _settings(lists: Path, archives: Path, status: Path) -> list[str]:
    settings = {
        "Dir::State::lists": lists,
        "Dir::State::status": status,
        "Dir::Cache::archives": archives,
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "Debug::NoLocking": "true",  # the folder is locked by whoever builds
        "APT::Sandbox::User": "root",  # another user may not enter it
        "Acquire::Languages": "none",
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
