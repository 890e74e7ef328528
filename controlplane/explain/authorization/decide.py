"""From facts to a decision.

In this order: CUSTOM policies that hold must be agreed to by whoever they name; a DENY policy that holds refuses;
where there are ALLOW policies, one of them must hold. AUDIT policies change nothing, nor do dry runs.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from controlplane.explain.authorization.asked import Asked
from controlplane.explain.authorization.facts import Fact, Facts, View, facts_of
from controlplane.model.authorizationpolicy import DRY_RUN, AuthorizationAction, AuthorizationPolicy, Rule
from controlplane.model.meta import ref_of
from controlplane.model.problem import ObjectRef
from controlplane.model.settings import Settings
from controlplane.model.text import is_true

_ALLOW, _DENY = AuthorizationAction.ALLOW, AuthorizationAction.DENY
_UNREADABLE = Fact("", None, "it cannot be read")


class RuleName(msgspec.Struct, frozen=True):
    """One rule of one policy."""

    policy: ObjectRef
    number: int

    def __str__(self) -> str:
        return f"{self.policy} rule {self.number}"

    @property
    def label(self) -> str:
        """As logs and statistics have it."""
        return f"ns[{self.policy.namespace}]-policy[{self.policy.name}]-rule[{self.number}]"


class Miss(msgspec.Struct, frozen=True):
    """A rule that almost held, and what kept it."""

    rule: RuleName
    action: AuthorizationAction
    failed: tuple[Fact, ...]  # as few as would have been enough


class DryRun(msgspec.Struct, frozen=True):
    """What policies would do that are only tried."""

    action: AuthorizationAction
    allowed: bool
    by: RuleName | None = None


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a call, and by which rule."""

    allowed: bool
    by: RuleName | None = None
    why: str
    asks: tuple[str, ...] = ()  # providers that must agree, and are taken to
    audited: tuple[RuleName, ...] = ()
    dry_runs: tuple[DryRun, ...] = ()
    nearest: Miss | None = None  # of the rules that would have made it otherwise


class _Trial(msgspec.Struct, frozen=True):
    """One rule, held against a call."""

    rule: RuleName
    action: AuthorizationAction
    holds: bool
    failed: tuple[Fact, ...]


def decide(
    policies: Sequence[AuthorizationPolicy],
    asked: Asked,
    settings: Settings,
    answers: Mapping[str, bool] | None = None,
) -> Decision:
    """`policies`: those that select the workload. `answers`: of providers, which otherwise agree."""
    judges = _Judges(asked, settings, answers or {})
    enforced = [one for one in policies if not _is_dry_run(one)]
    found = judges.decide(enforced)
    return msgspec.structs.replace(found, dry_runs=judges.dry_runs([one for one in policies if _is_dry_run(one)]))


class _Judges(msgspec.Struct, frozen=True):
    """Policies at work on one call."""

    asked: Asked
    settings: Settings
    answers: Mapping[str, bool]

    def decide(self, policies: Sequence[AuthorizationPolicy]) -> Decision:
        asks, refused = self._asked(policies)
        audited = tuple(one.rule for one in self._held(policies, AuthorizationAction.AUDIT))
        if refused is not None:
            return msgspec.structs.replace(refused, asks=asks, audited=audited)
        return msgspec.structs.replace(self._judged(policies), asks=asks, audited=audited)

    def dry_runs(self, policies: Sequence[AuthorizationPolicy]) -> tuple[DryRun, ...]:
        """For each action of which something is tried."""
        found = []
        for action in (_DENY, _ALLOW):
            tried = self._tried(policies, action)
            if tried or (action is _ALLOW and _acting(policies, action)):
                held = [one for one in tried if one.holds]
                by = held[0].rule if held else None
                found.append(DryRun(action, (action is _ALLOW) is bool(held), by))
        return tuple(found)

    def _asked(self, policies: Sequence[AuthorizationPolicy]) -> tuple[tuple[str, ...], Decision | None]:
        """Who must agree, up to the first who does not."""
        asks: list[str] = []
        held = self._held(policies, AuthorizationAction.CUSTOM)
        names = {ref_of(one): one.spec.provider.name if one.spec.provider else "" for one in policies}
        for provider in sorted({names[one.rule.policy] for one in held}):
            by = next(one.rule for one in held if names[one.rule.policy] == provider)
            asks.append(provider)
            if wrong := self._unfit(provider):
                return tuple(asks), Decision(allowed=False, by=by, why=f"{by} wants {provider!r} asked, {wrong}")
            if not self.answers.get(provider, True):
                return tuple(asks), Decision(allowed=False, by=by, why=f"{provider!r}, asked because of {by}, refuses")
        return tuple(asks), None

    def _unfit(self, provider: str) -> str:
        """Why nobody can ask it; whether it exists as a service is not looked at."""
        found = next((one for one in self.settings.extension_providers if one.name == provider), None)
        if found is None or found.ext_authz is None:
            return "which no extensionProvider is called"
        if self.asked.message is None and found.envoy_ext_authz_grpc is None:
            return "which knows requests alone, and this is none"
        return ""

    def _judged(self, policies: Sequence[AuthorizationPolicy]) -> Decision:
        denied, allowed = self._tried(policies, _DENY), self._tried(policies, _ALLOW)
        if by := next((one.rule for one in denied if one.holds), None):
            return Decision(allowed=False, by=by, why=f"{by} denies it")
        if by := next((one.rule for one in allowed if one.holds), None):
            return Decision(allowed=True, by=by, why=f"{by} allows it", nearest=_nearest(denied))
        if not _acting(policies, _ALLOW):
            return Decision(allowed=True, why="no policy denies it, and none has to allow it", nearest=_nearest(denied))
        return Decision(
            allowed=False,
            why="there are policies that allow calls, and none allows this one",
            nearest=_nearest(allowed),
        )

    def _held(self, policies: Sequence[AuthorizationPolicy], action: AuthorizationAction) -> list[_Trial]:
        return [one for one in self._tried(policies, action) if one.holds]

    def _tried(self, policies: Sequence[AuthorizationPolicy], action: AuthorizationAction) -> list[_Trial]:
        """All rules of an action, in the order in which proxies look at them."""
        found = [trial for policy in _acting(policies, action) for trial in self._trials(policy, action)]
        return sorted(found, key=lambda trial: trial.rule.label)

    def _trials(self, policy: AuthorizationPolicy, action: AuthorizationAction) -> Iterable[_Trial]:
        if policy.invalid:
            rule = RuleName(ref_of(policy), 0)
            return [_Trial(rule, action, action is not _ALLOW, (_UNREADABLE,))]
        return [self._trial(RuleName(ref_of(policy), i), action, rule) for i, rule in enumerate(policy.spec.rules)]

    def _trial(self, name: RuleName, action: AuthorizationAction, rule: Rule) -> _Trial:
        reads_tokens = action is not AuthorizationAction.CUSTOM  # whoever is asked is asked before
        view = View(self.asked, self.settings, name.policy.namespace, reads_tokens)
        failed = _failed(facts_of(rule, view), allows=action is _ALLOW)
        return _Trial(name, action, not failed, failed)


def _failed(facts: Facts, *, allows: bool) -> tuple[Fact, ...]:
    """The fewest facts that keep a rule from holding. What nobody can know voids a rule that allows, and only that."""
    unknown = tuple(fact for fact in facts.all if fact.holds is None)
    if allows and unknown:
        return unknown
    callers = min((_untrue(one) for one in facts.callers), key=len, default=())
    operations = min((_untrue(one) for one in facts.operations), key=len, default=())
    return (*callers, *operations, *_untrue(facts.others))


def _untrue(facts: Iterable[Fact]) -> tuple[Fact, ...]:
    return tuple(fact for fact in facts if fact.holds is False)


def _nearest(trials: Iterable[_Trial]) -> Miss | None:
    missed = [one for one in trials if not one.holds]
    if not missed:
        return None
    best = min(missed, key=lambda one: len(one.failed))
    return Miss(best.rule, best.action, best.failed)


def _acting(policies: Iterable[AuthorizationPolicy], action: AuthorizationAction) -> list[AuthorizationPolicy]:
    return [one for one in policies if (one.spec.action or _ALLOW) is action]


def _is_dry_run(policy: AuthorizationPolicy) -> bool:
    return is_true(policy.meta.annotations.get(DRY_RUN, ""))
