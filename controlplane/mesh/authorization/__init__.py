"""AuthorizationPolicies -> rules that judge calls to a workload.

Policies of one action act together, those of the root namespaces and those of the workload's own: a call that any
DENY policy holds for is refused; where there are ALLOW policies, a call that none of them holds for is refused too.
CUSTOM policies come before all of these, by provider; AUDIT policies only mark calls for the log.

A policy that cannot be read as a whole is taken at its strictest: one that allows holds for no call, any other for all.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from controlplane.ir.authorization import Action, Authorization, Check, Judgement, Rule, Unknowing
from controlplane.mesh.authorization.providers import Lookup, authorizer, is_http
from controlplane.mesh.authorization.rules import Of, Reading, is_of_requests, ports, rule
from controlplane.model import authorizationpolicy as model
from controlplane.model.authorizationpolicy import (
    DRY_RUN,
    AuthorizationAction,
    AuthorizationPolicy,
    AuthorizationPolicySpec,
)
from controlplane.model.meta import Meta, origin_of
from controlplane.model.problem import Problem
from controlplane.model.settings import Settings
from controlplane.model.text import is_true

_EVERYTHING: Final = (model.Rule(),)
_OF_REQUESTS: Final = frozenset(Of)
_OF_CONNECTIONS: Final = frozenset({Of.CONNECTION})
_BEFORE_TOKENS: Final = frozenset({Of.CONNECTION, Of.REQUEST})
_JUDGEMENTS: Final = (
    (Action.AUDIT, AuthorizationAction.AUDIT),
    (Action.DENY, AuthorizationAction.DENY),
    (Action.ALLOW, AuthorizationAction.ALLOW),
)


class ReadPolicy(msgspec.Struct, frozen=True):
    """A policy and its rules: read once, whatever it selects."""

    policy: AuthorizationPolicy
    of_requests: tuple[Rule, ...]
    of_connections: tuple[Rule, ...]
    unknowing: tuple[Unknowing, ...]  # what connections cannot be asked

    @property
    def meta(self) -> Meta:
        return self.policy.meta

    @property
    def spec(self) -> AuthorizationPolicySpec:
        return self.policy.spec

    @property
    def action(self) -> AuthorizationAction:
        return self.policy.spec.action or AuthorizationAction.ALLOW

    @property
    def provider(self) -> str:
        return _provider(self.policy)

    @property
    def is_dry_run(self) -> bool:
        """Whether it is only noted what the policy would do."""
        return _is_dry_run(self.policy)

    def rules(self, *, http: bool) -> tuple[Rule, ...]:
        return self.of_requests if http else self.of_connections


def read(policy: AuthorizationPolicy, settings: Settings) -> ReadPolicy:
    """The rules of one policy."""
    asks = policy.spec.action is AuthorizationAction.CUSTOM
    return ReadPolicy(
        policy,
        tuple(_rules(policy, settings, _BEFORE_TOKENS if asks else _OF_REQUESTS)),
        tuple(_rules(policy, settings, _OF_CONNECTIONS)),
        tuple(_unknowing(policy, settings)),
    )


def authorization(
    selected: Sequence[ReadPolicy], settings: Settings, lookup: Lookup, *, http: bool
) -> tuple[Authorization | None, tuple[Problem, ...]]:
    """`selected`: those that select a workload, root namespaces first; `http`: for requests, else for connections."""
    if not selected:
        return None, ()
    problems: list[Problem] = []
    judgements = (_judgement(action, _acting(selected, written), http=http) for action, written in _JUDGEMENTS)
    found = Authorization(
        checks=tuple(_checks(_acting(selected, AuthorizationAction.CUSTOM), settings, lookup, problems, http=http)),
        judgements=tuple(one for one in judgements if one is not None),
        unknowing=() if http else tuple(each for one in selected for each in one.unknowing),
        origins=tuple(map(origin_of, (one.policy for one in selected))),
    )
    return found, tuple(problems)


def _judgement(action: Action, policies: Sequence[ReadPolicy], *, http: bool) -> Judgement | None:
    """None where nothing would come of it."""
    enforced = _together([one for one in policies if not one.is_dry_run], http=http)
    tried = _together([one for one in policies if one.is_dry_run], http=http)
    if action is not Action.ALLOW:
        enforced, tried = enforced or None, (tried or None) if action is Action.DENY else None
    return None if enforced is None and tried is None else Judgement(action, enforced, tried)


def _checks(
    policies: Iterable[ReadPolicy], settings: Settings, lookup: Lookup, problems: list[Problem], *, http: bool
) -> Iterator[Check]:
    """One for each provider, in the order of their names."""
    enforced = [one for one in policies if not one.is_dry_run]
    for provider in sorted({one.provider for one in enforced}):
        mine = [one for one in enforced if one.provider == provider]
        rules = _together(mine, http=http)
        if not rules:
            continue
        origins = [origin_of(one.policy, "spec.provider.name") for one in mine]
        asked, wrong = authorizer(provider, settings, lookup, origins, http=http)
        problems.extend(wrong)
        yield Check(check_prefix(provider), rules, asked)


def _together(policies: Sequence[ReadPolicy], *, http: bool) -> tuple[Rule, ...] | None:
    """None: there are no such policies."""
    return tuple(each for one in policies for each in one.rules(http=http)) if policies else None


def _acting(policies: Iterable[ReadPolicy], action: AuthorizationAction) -> list[ReadPolicy]:
    return [one for one in policies if one.action is action]


# One policy.


def _rules(policy: AuthorizationPolicy, settings: Settings, known: frozenset[Of]) -> Iterator[Rule]:
    refuses = policy.spec.action not in {None, AuthorizationAction.ALLOW}
    domains = (settings.trust_domain, *settings.trust_domain_aliases)
    reading = Reading(policy.meta.namespace, domains, known, refuses)
    for number, written in enumerate(_written(policy, refuses=refuses)):
        found = rule(written, rule_name(policy, number), reading)
        if found is not None:
            yield found


def _unknowing(policy: AuthorizationPolicy, settings: Settings) -> Iterator[Unknowing]:
    if policy.invalid or _is_dry_run(policy):
        return
    refuses = policy.spec.action in {AuthorizationAction.DENY, AuthorizationAction.CUSTOM}
    asked_over_http = policy.spec.action is AuthorizationAction.CUSTOM and is_http(_provider(policy), settings)
    for number, written in enumerate(policy.spec.rules):
        if asked_over_http or is_of_requests(written):
            yield Unknowing(origin_of(policy, f"spec.rules[{number}]"), refuses, ports(written))


def _is_dry_run(policy: AuthorizationPolicy) -> bool:
    return is_true(policy.meta.annotations.get(DRY_RUN, ""))


def rule_name(policy: AuthorizationPolicy, number: int) -> str:
    """As logs and statistics have it; the same as Istio's."""
    asks = policy.spec.action is AuthorizationAction.CUSTOM
    prefix = check_prefix(_provider(policy)) if asks else ""
    return f"{prefix}ns[{policy.meta.namespace}]-policy[{policy.meta.name}]-rule[{number}]"


def check_prefix(provider: str) -> str:
    """What the names of a provider's rules begin with."""
    return f"istio-ext-authz-{provider}-"


def _written(policy: AuthorizationPolicy, *, refuses: bool) -> tuple[model.Rule, ...]:
    if not policy.invalid:
        return policy.spec.rules
    return _EVERYTHING if refuses else ()


def _provider(policy: AuthorizationPolicy) -> str:
    return policy.spec.provider.name if policy.spec.provider is not None else ""
