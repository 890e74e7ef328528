"""Which policies guard a workload: by its namespace and its labels, as far as some policy looks at them.

Replicas of one Deployment share the answer, and a policy that selects other workloads changes nothing for them.
"""

from collections.abc import Mapping
from functools import partial
from typing import Protocol, TypeVar

from controlplane.compile.inputs import Inputs, Key, Labels, settings_of
from controlplane.compile.keyservers import KnownServers
from controlplane.compile.peers import Peers
from controlplane.compile.registry import Registry
from controlplane.compile.rules import Rules
from controlplane.compile.selecting import P, Policy, Selecting, Selectors
from controlplane.ir.guard import UNGUARDED, Guard, WorkloadPolicy
from controlplane.ir.service import Service
from controlplane.mesh import authorization as mesh_authorization
from controlplane.mesh import requestauthentication as mesh_tokens
from controlplane.mesh.caller import Caller
from controlplane.mesh.tenancy import exported
from controlplane.model.authorizationpolicy import AuthorizationPolicy
from controlplane.model.meta import KubernetesObject, origin_of
from controlplane.model.problem import Level, Problem
from controlplane.model.requestauthentication import RequestAuthentication
from controlplane.model.selecting import PolicySelector, PolicyTargetReference
from controlplane.model.settings import Settings
from controlplane.store import Fetch, Store

_UNHEARD = "policies cannot be attached to objects yet: nobody enforces this one; use selector"
PolicyKey = tuple[str, Labels]  # (namespace of a workload, its labels that some policy looks at)


class _AttachableSpec(Protocol):
    @property
    def selector(self) -> PolicySelector | None: ...

    @property
    def target_ref(self) -> PolicyTargetReference | None: ...

    @property
    def target_refs(self) -> tuple[PolicyTargetReference, ...]: ...


class _Attachable(KubernetesObject, Protocol):
    @property
    def spec(self) -> _AttachableSpec: ...


A = TypeVar("A", bound=_Attachable)


class Policies:
    """The policy of a workload."""

    def __init__(self, store: Store, inputs: Inputs, registry: Registry, rules: Rules, peers: Peers) -> None:
        self._inputs = inputs
        self._registry = registry
        self._routing = rules
        self._modes = peers
        self.believing = store.derive(
            "SelectingRequestAuthentications", inputs.request_authentications, self._believing
        )
        judging = store.derive("SelectingAuthorizationPolicies", inputs.authorization_policies, self._judging)
        self._tokens = Selecting(store, inputs, "RequestAuthentications", self.believing)
        self._rules = Selecting(store, inputs, "AuthorizationPolicies", judging)
        self._selectors = Selectors(store, inputs, peers.enforced, self.believing, judging)
        self._policies = store.query("WorkloadPolicies", self._policy)

    def of(self, fetch: Fetch, namespace: str, labels: Mapping[str, str]) -> WorkloadPolicy:
        """What guards the workloads of a namespace that have these labels."""
        return fetch(self._policies, (namespace, self.matched(fetch, namespace, labels))) or UNGUARDED

    def matched(self, fetch: Fetch, namespace: str, labels: Mapping[str, str]) -> Labels:
        """The labels by which some policy selects a workload: those who share them share what guards them."""
        return self._selectors.matched(fetch, namespace, labels)

    def _policy(self, fetch: Fetch, key: PolicyKey) -> WorkloadPolicy:
        namespace, matched = key
        labels, settings = dict(matched), settings_of(fetch, self._inputs)
        peers, wrong = self._modes.of(fetch, namespace, labels)
        servers = KnownServers(fetch, self._inputs, self._registry, self._routing, Caller(namespace, labels))
        tokens, unread = mesh_tokens.tokens(self._selected(fetch, self._tokens, namespace, labels), servers)
        rules = self._selected(fetch, self._rules, namespace, labels)
        lookup = partial(self._service, fetch, namespace)
        of_requests, problems = mesh_authorization.authorization(rules, settings, lookup, http=True)
        of_connections, more = mesh_authorization.authorization(rules, settings, lookup, http=False)
        fetch.report(*dict.fromkeys((*wrong, *unread, *problems, *more)))
        return WorkloadPolicy(peers, Guard(tokens, of_requests), Guard(None, of_connections))

    def _judging(self, fetch: Fetch, key: Key, policy: AuthorizationPolicy) -> mesh_authorization.ReadPolicy | None:
        selecting = _selecting(fetch, key, policy)
        return None if selecting is None else mesh_authorization.read(policy, settings_of(fetch, self._inputs))

    def _service(self, fetch: Fetch, namespace: str, host: str, declared_in: str) -> Service | None:
        """What workloads of a namespace see under a name, if that is what the mesh's settings mean by it.

        They mean what a named namespace declares, else what the owner of the host does: nobody makes himself the judge
        of his own calls by declaring the name again.
        """
        seen = self._registry.service_for(fetch, host, namespace)
        if seen is None or not exported(seen.namespace, seen.export_to).covers(namespace):
            return None
        owner = fetch(self._registry.owners, host)
        meant = declared_in or (owner.namespace if owner is not None else "")
        return (self._registry.concrete(fetch, seen) or seen) if seen.namespace == meant else None

    def _believing(self, fetch: Fetch, key: Key, policy: RequestAuthentication) -> RequestAuthentication | None:
        fetch.report(*mesh_tokens.own_problems(policy, settings_of(fetch, self._inputs).jwks_resolver))
        return _selecting(fetch, key, policy)

    def _selected(self, fetch: Fetch, kind: Selecting[P], namespace: str, labels: Mapping[str, str]) -> list[P]:
        """Those that select a workload: of the mesh first, then of its namespace; the oldest first."""
        settings = settings_of(fetch, self._inputs)
        return sorted(kind.of(fetch, namespace, labels), key=lambda policy: _order(policy, settings))


def _selecting(fetch: Fetch, _: Key, policy: A) -> A | None:
    """Policies attached to objects, instead of to workloads, find none yet."""
    attached = policy.spec.target_ref or policy.spec.target_refs
    if attached and policy.spec.selector is None:
        field = "spec.targetRefs" if policy.spec.target_refs else "spec.targetRef"
        fetch.report(Problem("NotSupportedYet", Level.ERROR, origin_of(policy, field), _UNHEARD))
        return None
    return policy


def _order(policy: Policy, settings: Settings) -> tuple[bool, bool, str, str, str]:
    """The mesh's before the namespace's, then by age; objects without age come last, by name."""
    meta = policy.meta
    born = meta.created.isoformat() if meta.created is not None else ""
    return (meta.namespace not in settings.root_namespaces, meta.created is None, born, meta.namespace, meta.name)
