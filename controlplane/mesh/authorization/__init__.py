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
from controlplane.model.authorizationpolicy import DRY_RUN, AuthorizationAction, AuthorizationPolicy
from controlplane.model.meta import origin_of
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


def authorization(
    selected: Sequence[AuthorizationPolicy], settings: Settings, lookup: Lookup, *, http: bool
) -> tuple[Authorization | None, tuple[Problem, ...]]:
    """`selected`: those that select a workload, root namespaces first; `http`: for requests, else for connections."""
    if not selected:
        return None, ()
    front = _FrontEnd(settings, http)
    judgements = (front.judgement(action, _acting(selected, written)) for action, written in _JUDGEMENTS)
    problems: list[Problem] = []
    found = Authorization(
        checks=tuple(front.checks(_acting(selected, AuthorizationAction.CUSTOM), lookup, problems)),
        judgements=tuple(one for one in judgements if one is not None),
        unknowing=() if http else tuple(_unknowing(selected, settings)),
        origins=tuple(map(origin_of, selected)),
    )
    return found, tuple(problems)


class _FrontEnd(msgspec.Struct, frozen=True):
    """Makes rules of policies, for requests or for connections."""

    settings: Settings
    http: bool

    def judgement(self, action: Action, policies: Sequence[AuthorizationPolicy]) -> Judgement | None:
        """None where nothing would come of it."""
        enforced = self._judged([one for one in policies if not is_dry_run(one)])
        tried = self._judged([one for one in policies if is_dry_run(one)])
        if action is not Action.ALLOW:
            enforced, tried = enforced or None, (tried or None) if action is Action.DENY else None
        return None if enforced is None and tried is None else Judgement(action, enforced, tried)

    def checks(
        self, policies: Iterable[AuthorizationPolicy], lookup: Lookup, problems: list[Problem]
    ) -> Iterator[Check]:
        """One for each provider, in the order of their names."""
        enforced = [one for one in policies if not is_dry_run(one)]
        for provider in sorted(set(map(_provider, enforced))):
            mine = [one for one in enforced if _provider(one) == provider]
            known = _BEFORE_TOKENS if self.http else _OF_CONNECTIONS
            rules = tuple(each for one in mine for each in self._rules(one, known, check_prefix(provider)))
            if not rules:
                continue
            origins = [origin_of(one, "spec.provider.name") for one in mine]
            asked, wrong = authorizer(provider, self.settings, lookup, origins, http=self.http)
            problems.extend(wrong)
            yield Check(check_prefix(provider), rules, asked)

    def _judged(self, policies: Sequence[AuthorizationPolicy]) -> tuple[Rule, ...] | None:
        """None: there are no such policies."""
        known = _OF_REQUESTS if self.http else _OF_CONNECTIONS
        return tuple(each for one in policies for each in self._rules(one, known)) if policies else None

    def _rules(self, policy: AuthorizationPolicy, known: frozenset[Of], prefix: str = "") -> Iterator[Rule]:
        refuses = policy.spec.action not in {None, AuthorizationAction.ALLOW}
        domains = (self.settings.trust_domain, *self.settings.trust_domain_aliases)
        reading = Reading(policy.meta.namespace, domains, known, refuses)
        for number, written in enumerate(_written(policy, refuses=refuses)):
            found = rule(written, f"{prefix}{rule_name(policy, number)}", reading)
            if found is not None:
                yield found


def _unknowing(policies: Iterable[AuthorizationPolicy], settings: Settings) -> Iterator[Unknowing]:
    """What of all this a connection that carries no HTTP cannot be asked."""
    for policy in policies:
        if policy.invalid or is_dry_run(policy):
            continue
        refuses = policy.spec.action in {AuthorizationAction.DENY, AuthorizationAction.CUSTOM}
        asked_over_http = policy.spec.action is AuthorizationAction.CUSTOM and is_http(_provider(policy), settings)
        for number, written in enumerate(policy.spec.rules):
            if asked_over_http or is_of_requests(written):
                yield Unknowing(origin_of(policy, f"spec.rules[{number}]"), refuses, ports(written))


def is_dry_run(policy: AuthorizationPolicy) -> bool:
    """Whether it is only noted what the policy would do."""
    return is_true(policy.meta.annotations.get(DRY_RUN, ""))


def rule_name(policy: AuthorizationPolicy, number: int) -> str:
    """As logs and statistics have it; the same as Istio's."""
    return f"ns[{policy.meta.namespace}]-policy[{policy.meta.name}]-rule[{number}]"


def check_prefix(provider: str) -> str:
    """What the names of a provider's rules begin with."""
    return f"istio-ext-authz-{provider}-"


def _written(policy: AuthorizationPolicy, *, refuses: bool) -> tuple[model.Rule, ...]:
    if not policy.invalid:
        return policy.spec.rules
    return _EVERYTHING if refuses else ()


def _acting(policies: Iterable[AuthorizationPolicy], action: AuthorizationAction) -> list[AuthorizationPolicy]:
    return [one for one in policies if (one.spec.action or AuthorizationAction.ALLOW) is action]


def _provider(policy: AuthorizationPolicy) -> str:
    return policy.spec.provider.name if policy.spec.provider is not None else ""
