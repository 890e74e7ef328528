"""AuthorizationPolicy: who may call a workload, and how.

A list that is left out means "any"; one that is written and empty is told from it, because it was hardly meant so.
"""

from typing import ClassVar, Final

import msgspec

from controlplane.model.meta import Meta
from controlplane.model.selecting import PolicySelector, PolicyTargetReference
from controlplane.model.value import Mark, Value, WireEnum

DRY_RUN: Final = "istio.io/dry-run"  # annotation: what the policy would do is noted, and not done


class AuthorizationAction(WireEnum):
    """What becomes of a call that some rule matches."""

    ALLOW = "ALLOW", 0
    DENY = "DENY", 1
    AUDIT = "AUDIT", 2
    CUSTOM = "CUSTOM", 3


class Source(Value):
    """Who calls. All fields must hold; of a field's values, one."""

    invalid: Mark = False

    principals: tuple[str, ...] | None = None  # Identities: trust-domain/ns/NAMESPACE/sa/ACCOUNT.
    not_principals: tuple[str, ...] | None = None  # None of these identities.
    request_principals: tuple[str, ...] | None = None  # Identities of tokens: issuer/subject.
    not_request_principals: tuple[str, ...] | None = None  # None of these.
    namespaces: tuple[str, ...] | None = None  # Namespaces of callers.
    not_namespaces: tuple[str, ...] | None = None  # None of these.
    service_accounts: tuple[str, ...] | None = None  # NAMESPACE/ACCOUNT, or ACCOUNT of the policy's namespace.
    not_service_accounts: tuple[str, ...] | None = None  # None of these.
    trust_domains: tuple[str, ...] | None = None  # Trust domains of callers.
    not_trust_domains: tuple[str, ...] | None = None  # None of these.
    ip_blocks: tuple[str, ...] | None = None  # Addresses the connection comes from, or CIDR blocks.
    not_ip_blocks: tuple[str, ...] | None = None  # None of these.
    remote_ip_blocks: tuple[str, ...] | None = None  # Addresses of the original client (as X-Forwarded-For tells).
    not_remote_ip_blocks: tuple[str, ...] | None = None  # None of these.


class From(Value):
    """Who calls."""

    source: Source | None = None  # The caller.


class Operation(Value):
    """What is asked for. All fields must hold; of a field's values, one."""

    invalid: Mark = False

    hosts: tuple[str, ...] | None = None  # Hosts of requests, whatever their case.
    not_hosts: tuple[str, ...] | None = None  # None of these.
    ports: tuple[str, ...] | None = None  # Ports of the workload.
    not_ports: tuple[str, ...] | None = None  # None of these.
    methods: tuple[str, ...] | None = None  # HTTP methods; POST for gRPC.
    not_methods: tuple[str, ...] | None = None  # None of these.
    paths: tuple[str, ...] | None = None  # Paths of requests, without the query; {*} and {**} are templates.
    not_paths: tuple[str, ...] | None = None  # None of these.


class To(Value):
    """What is asked for."""

    operation: Operation | None = None  # The request.


class Condition(Value):
    """Something else that must hold."""

    invalid: Mark = False

    key: str = ""  # Such as request.headers[x-tenant] or source.ip.
    values: tuple[str, ...] | None = None  # One of these.
    not_values: tuple[str, ...] | None = None  # None of these.


class Rule(Value):
    """Matches calls for which `from`, `to` and `when` all hold; an empty one matches all calls."""

    invalid: Mark = False

    from_: tuple[From, ...] | None = msgspec.field(default=None, name="from")  # One of these; absent = everybody.
    to: tuple[To, ...] | None = None  # One of these; absent = everything.
    when: tuple[Condition, ...] = ()  # All of these.


class ExtensionProviderRef(Value):
    """A provider of the mesh settings."""

    invalid: Mark = False

    name: str = ""  # As in extensionProviders.


class AuthorizationPolicySpec(Value):
    """Who may call."""

    selector: PolicySelector | None = None  # Workloads it is for; absent = all of the namespace.
    target_ref: PolicyTargetReference | None = None  # Deprecated: targetRefs.
    target_refs: tuple[PolicyTargetReference, ...] = ()  # Objects it is for, instead of a selector.
    rules: tuple[Rule, ...] = ()  # A call matches if one of these does; none = no call matches.
    action: AuthorizationAction | None = None  # What becomes of calls that match; default ALLOW.
    provider: ExtensionProviderRef | None = None  # Who decides (CUSTOM).


class AuthorizationPolicy(Value):
    """Who may call a workload, and how."""

    GROUP: ClassVar[str] = "security.istio.io"
    KIND: ClassVar[str] = "AuthorizationPolicy"

    meta: Meta = msgspec.field(name="metadata")
    spec: AuthorizationPolicySpec = msgspec.field(default_factory=AuthorizationPolicySpec)
    invalid: Mark = False
