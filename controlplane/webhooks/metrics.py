"""What webhooks and their keepers count, for scrapers.

Where Istio counts the same, the names are Istio's, so that dashboards and alerts carry over; what it does not have
(labels, mostly) comes on top, and sums are what they were.
"""

from collections.abc import Iterator, Mapping

from controlplane.base.prometheus import Family, Sample, counter
from controlplane.webhooks.injection.webhook import InjectionWebhook
from controlplane.webhooks.keeping import ConfigurationKeeper
from controlplane.webhooks.validation.webhook import ValidationWebhook


def injection_families(webhook: InjectionWebhook) -> Iterator[Family]:
    """Questions about Pods, by what came of them."""
    counts = webhook.counts
    left = {why: count for (result, why), count in sorted(counts.items()) if result == "left"}
    yield counter("sidecar_injection_requests_total", "Pods that were asked about.", sum(counts.values()))
    yield counter("sidecar_injection_success_total", "Pods that got a proxy.", counts.get(("injected", ""), 0))
    yield counter("sidecar_injection_failure_total", "Pods that were refused.", counts.get(("refused", ""), 0))
    samples = tuple(Sample(count, {"reason": why}) for why, count in left.items())
    yield Family("sidecar_injection_skip_total", "counter", "Pods that got none, and why.", samples)


def validation_families(webhook: ValidationWebhook) -> Iterator[Family]:
    """Questions about objects of the mesh, by what was said of them."""
    counts = webhook.counts
    taken, warned, refused = (counts.get(result, 0) for result in ("taken", "warned", "refused"))
    yield counter("galley_validation_passed", "Objects that may be stored.", taken + warned)
    yield counter("galley_validation_failed", "Objects that were refused.", refused)
    yield counter("lateen_validation_warned_total", "Objects that may be stored, with a warning.", warned)


def keeping_families(keepers: Mapping[str, ConfigurationKeeper]) -> Iterator[Family]:
    """Repairs of webhook configurations (a wrong caBundle, above all). `keepers`: by the configuration's name."""
    attempts = tuple(Sample(one.attempts, {"name": name}) for name, one in keepers.items())
    failures = tuple(Sample(one.attempts - one.repairs, {"name": name}) for name, one in keepers.items())
    troubled = tuple(Sample(one.is_troubled, {"name": name}) for name, one in keepers.items())
    yield Family("webhook_patch_attempts_total", "counter", "Repairs of a webhook configuration.", attempts)
    yield Family("webhook_patch_failures_total", "counter", "Those of them that were refused.", failures)
    words = "Whether a webhook configuration is missing, unreadable or not as installed."
    yield Family("lateen_webhook_configuration_trouble", "gauge", words, troubled)
