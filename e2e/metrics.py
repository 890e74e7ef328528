"""What an Envoy counts, from its agent's page."""

from e2e.kubectl import Kubectl

_PORT = 15020
_OF_ENVOY = "envoy_"


def counted(kubectl: Kubectl, asker: str, address: str, family: str, label: str) -> int:
    """A counter, of all series with this value of a label. `asker`: a Pod with curl; `address`: whose page."""
    lines = (line for line in _page(kubectl, asker, address) if line.startswith(f"{family}{{"))
    return sum(int(float(line.split()[-1])) for line in lines if f'"{label}"' in line)


def of_envoy(kubectl: Kubectl, asker: str, address: str) -> dict[str, int]:
    """Everything that has no labels, by Envoy's own name with _ for dots."""
    lines = (line.removeprefix(_OF_ENVOY).split() for line in _page(kubectl, asker, address) if _is_plain(line))
    return {name.partition("{")[0]: int(float(value)) for name, value in lines}


def _is_plain(line: str) -> bool:
    return line.startswith(_OF_ENVOY) and ("{} " in line or "{" not in line)


def _page(kubectl: Kubectl, asker: str, address: str) -> list[str]:
    return kubectl.ran(asker, "curl", "--silent", "--fail", f"http://{address}:{_PORT}/stats/prometheus").splitlines()
