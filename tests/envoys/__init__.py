"""The real Envoy, for tests: `validate` a configuration, `start` one, and upstreams that say who answered.

    problems = validate(resources)              # envoy --mode validate, on compiled ADS resources
    with start(bootstrap) as envoy:             # a running Envoy, ready, stopped on leaving
        host, port = envoy.address("listener name")
        envoy.admin("/clusters?format=json")
        envoy.log.lines(minimum=3)
    with Upstreams() as upstreams:              # echo servers on loopback addresses
        address = upstreams.add("v1")

Everything works without root: loopback addresses, ports the kernel chooses, an admin on a Unix socket.
"""

from tests.envoys.bootstrap import static_bootstrap
from tests.envoys.process import AccessLog, RunningEnvoy, start
from tests.envoys.upstreams import Upstreams
from tests.envoys.validate import validate

__all__ = ["AccessLog", "RunningEnvoy", "Upstreams", "start", "static_bootstrap", "validate"]
