"""Whether a value of a policy is said of a text. Bytes that are no UTF-8 stand in texts as surrogates."""

from string import ascii_lowercase, ascii_uppercase

_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)  # of ASCII alone: "K" of Kelvin is no "k"


def fits(value: str, text: str | None) -> bool:
    """Exact, "prefix*", "*suffix"; "*" for any text that is not empty. None: there is no text."""
    if not text:
        return False
    if value == "*":
        return True
    if value.startswith("*"):
        return text.endswith(value[1:])
    return text.startswith(value[:-1]) if value.endswith("*") else text == value


def lower(text: str) -> str:
    """As host names are compared."""
    return text.translate(_LOWER)


def fits_template(template: str, path: str) -> bool:
    """{*} is one segment that is not empty; {**} any characters, or none."""
    head, any_length, tail = template.partition("{**}")
    if not any_length:
        return _fits_segments(head.split("/"), path.split("/"))
    fixed = head.split("/")
    parts = path.split("/", len(fixed) - 1)
    if len(parts) < len(fixed) or not _fits_segments(fixed[:-1], parts[: len(fixed) - 1]):
        return False
    return parts[-1].endswith(tail)


def _fits_segments(wanted: list[str], found: list[str]) -> bool:
    return len(wanted) == len(found) and all(
        bool(text) if segment == "{*}" else segment == text for segment, text in zip(wanted, found, strict=True)
    )


def fits_principal(value: str, name: str, domains: tuple[str, ...]) -> bool:
    """Whether an identity is meant. Whoever names one trust domain of the mesh means all of them."""
    if fits(value, name):
        return True
    written, _, rest = value.partition("/")
    own = name.partition("/")[0]
    if value.count("/") != 4 or written == "*" or own not in domains:
        return False
    is_of_the_mesh = written == "cluster.local" or any(_covers(written, domain) for domain in domains)
    return is_of_the_mesh and fits(f"{own}/{rest}", name)


def _covers(written: str, domain: str) -> bool:
    return domain.endswith(written.removeprefix("*")) if written.startswith("*") else domain == written


def identity(name: str) -> tuple[str, str, str] | None:
    """Trust domain, namespace and account of an identity that has them."""
    parts = name.split("/")
    if len(parts) != 5 or not all(parts) or parts[1] != "ns" or parts[3] != "sa":
        return None
    return parts[0], parts[2], parts[4]
