"""`make golden`: writes all golden files and says which changed."""

from tests.envoy import golden as envoy
from tests.golden.files import write_room
from tests.install import golden as install
from tests.webhooks import golden as injection

ROOMS = {"envoy": envoy.outputs, "injection": injection.outputs, "install": install.outputs}

if __name__ == "__main__":
    for room, make in ROOMS.items():
        for path in write_room(room, make):
            print(f"{room}/{path}")
