"""`make golden`: writes all golden files and says which changed."""

from tests.envoy import golden
from tests.golden.files import write_room

ROOMS = {"envoy": golden.outputs}

if __name__ == "__main__":
    for room, make in ROOMS.items():
        for path in write_room(room, make):
            print(f"{room}/{path}")
