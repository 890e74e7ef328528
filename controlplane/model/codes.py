"""The codes of the problems found in a document alone. They are stable: users filter and silence by them."""

from typing import Final

CODES: Final[dict[str, str]] = {
    # of documents
    "NotAnObject": "The document is no Kubernetes object.",
    "NotJSON": "The document is not valid JSON.",
    "DocumentTooLarge": "The document is larger than an API server would take.",
    "NestedTooDeep": "The document is nested deeper than any object is.",
    "KindIgnored": "The object is of a kind that has nothing to do with traffic.",
    "KindNotSupportedYet": "The kind is part of an API Lateen serves, but has no effect yet.",
    "KindReplaced": "Another kind is read in place of this one.",
    "VersionNotServed": "The kind exists, but not in this version of its API.",
    # of fields
    "UnknownField": "The kind has no such field.",
    "NotSupportedYet": "The field is part of the API, but has no effect yet.",
    "InvalidValue": "The value cannot be read as what the field holds, or is out of its range.",
    "RequiredField": "A field that must be there is not.",
    "ConflictingFields": "Fields that exclude each other are both set, or one is set where another forbids it.",
    "DuplicateValue": "Something that must be unique is there twice.",
    "DeprecatedField": "The field still works, another has taken its place.",
    "NoEffect": "The field is set where it has no effect.",
    "TooManyProblems": "The object has more problems than are worth listing.",
    # of what fields mean
    "InvalidHost": "Not a host name, wildcard or address this field can hold.",
    "InvalidName": "Not a name Kubernetes would accept.",
    "HostWithoutPort": "A rule that keeps a host out does not hold where a request names a port beside the host.",
    "InvalidRegex": "Not a regular expression RE2 accepts, or too long.",
    "InvalidMatch": "The condition cannot be evaluated.",
    "InvalidPort": "Not a port number, port name or protocol.",
    "InvalidAddress": "Not an IP address, CIDR block or socket path.",
    "InvalidLabel": "Not a label Kubernetes would accept.",
    "InvalidHeader": "Not a header name or value that may be used here.",
    "InvalidDuration": "Not a duration that may be used here.",
    "InvalidPercentage": "Not between 0 and 100.",
    "InvalidWeight": "The weights give no meaningful split.",
    "InvalidStatus": "Not a status code that may be used here.",
    "InvalidRetryOn": "Not a condition Envoy can retry on.",
    "InvalidExportTo": "Not a list of namespaces something can be exported to.",
    "InvalidLocality": "Not a locality, or localities that contradict each other.",
    "InvalidTLS": "The TLS fields do not fit the TLS mode.",
    "InvalidLoadBalancer": "The load balancer settings contradict each other or are out of range.",
    "InvalidKeys": "No set of public keys, or a key in it that is of no use.",
    "InvalidURI": "Not a place keys can be asked for, or one where they should not be.",
    "QueryRewritten": "Requests change on their way in more than they should.",
    "InvalidDelegate": "A delegate where there can be none.",
}
