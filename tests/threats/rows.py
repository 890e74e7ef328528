"""The threats Lateen knows of, what is done about each, and the tests that would notice if it were undone."""

from typing import Final, NamedTuple


class Threat(NamedTuple):
    """One row of docs/security.md. Where `tests` is empty, `not_yet` says what is still to come."""

    number: int
    attack: str
    defence: str
    tests: tuple[str, ...] = ()
    not_yet: str = ""


THREATS: Final = (
    Threat(
        1,
        "Anybody who reaches a port sends what crashes, stalls or fills its process (CVE-2022-23635)",
        "Who calls is settled before anything is read; connections, streams, headers, messages, names and times are "
        "bounded, for each address and in all; what breaks in a request ends that request.",
        (
            "threats/test_frames.py::test_whatever_frames_come_the_next_proxy_is_served",
            "runtime/test_https.py::test_whatever_is_sent_the_next_caller_is_answered",
            "xds/test_bounds.py::test_who_does_not_finish_its_handshake_is_cut_off",
            "xds/test_bounds.py::test_a_message_that_says_it_is_too_large_is_not_waited_for",
        ),
    ),
    Threat(
        2,
        "Bodies that are huge, deep, slow or many (CVE-2022-24726, CVE-2022-24921)",
        "64 KiB and 64 levels (of webhooks 6 MiB), counted before they are parsed; a whole request has 15 seconds, an "
        "address 128 connections; a webhook answers to a secret path alone.",
        (
            "runtime/test_https.py::test_what_cannot_be_answered_is_refused_in_json",
            "webhooks/test_webhook.py::test_what_is_no_question_of_an_api_server",
            "runtime/test_https.py::test_chunks_without_end_are_cut_off",
            "runtime/test_https.py::test_a_trickle_does_not_keep_a_connection",
            "runtime/test_https.py::test_an_address_that_opens_thousands_of_connections_keeps_nobody_else_waiting",
        ),
    ),
    Threat(
        3,
        "A regular expression that takes ages, in any field",
        "RE2 alone reads users' expressions, of 1,024 characters at most, all of one object within a budget; what is "
        "beyond it never matches, and says so.",
        (
            "threats/test_regexes.py::test_no_expression_costs_more_than_its_object_may",
            "threats/test_regexes.py::test_a_thousand_expressions_are_no_worse_than_a_few",
            "threats/test_regexes.py::test_nobody_waits_for_an_expression",
            "threats/test_hostile_objects.py::test_no_text_in_any_field_makes_reading_slow",
        ),
    ),
    Threat(
        4,
        "One namespace with so many, so large or so circular objects that others wait",
        "Cycles of delegates are found, endpoints overtake configuration, and big changes are made in turns of 5 ms.",
        not_yet="a budget of objects and of output for each namespace",
    ),
    Threat(
        5,
        "A Gateway or DestinationRule names the TLS key of another namespace, or is told one that is cached "
        "(CVE-2021-34824)",
        "A key goes to gateways of the Secret's own namespace, by their certificate, and to nobody else; what a proxy "
        "may have is part of what it shares with others.",
        (
            "threats/test_secrets.py::test_no_stream_brings_a_secret_of_another_namespace",
            "app/test_who_is_served.py::test_a_gateway_without_a_right_to_it_is_given_no_key",
        ),
    ),
    Threat(
        6,
        "A proxy asks for Secrets by names that are none (`..`, encoded slashes, other namespaces)",
        "A name is one of those the proxy's own configuration has, letter by letter, or nothing.",
        ("threats/test_secrets.py::test_a_forged_name_of_a_secret_is_no_name",),
    ),
    Threat(
        7,
        "A proxy says it is another one, in its node id or metadata",
        "The certificate says who calls, the Pod what it is; what is claimed is compared with both.",
        (
            "app/test_who_is_served.py::test_identity_decides_and_not_the_node_message",
            "app/test_who_is_served.py::test_a_stream_ends_when_the_pod_becomes_anothers",
            "security/test_endpoint.py::test_a_node_that_claims_to_be_another_gets_nothing_at_all",
        ),
    ),
    Threat(
        8,
        "Unary calls, reflection, health checks or unknown services without authentication (CVE-2026-53714)",
        "Two methods exist; without a certificate of the mesh there is not even HTTP.",
        (
            "xds/test_strangers.py::test_of_all_methods_there_are_two_exist",
            "xds/test_strangers.py::test_without_a_certificate_of_the_mesh_no_http_is_spoken",
            "threats/test_ports.py::test_each_port_answers_what_the_table_says_to_whom_it_says",
        ),
    ),
    Threat(
        9,
        "The configuration of others, by a debug endpoint (CVE-2026-31838)",
        "What tells of a mesh is on a Unix socket, mode 0600, in a folder of mode 0700. In a cluster it is asked by a "
        "command in the Pod, which the API server allows or does not (`pods/exec`); what replicas tell each other is "
        "for the control plane's own account.",
        (
            "threats/test_ports.py::test_unix_sockets_are_their_owner_s",
            "cli/test_cluster.py::test_the_program_in_the_pod_prints_one_answer_of_the_socket_beside_it",
            "status/test_peers.py::test_nobody_else_is_answered",
            "status/test_peers.py::test_without_a_certificate_there_is_no_answer",
        ),
        "those who may look but not run commands in Pods",
    ),
    Threat(
        10,
        "A VirtualService for a host of another namespace",
        "Who does not own a host routes its own namespace's calls to it and nobody else's; Gateways say whose routes "
        "they take. What is left out of a rule is reported (`NotOwner`).",
        (
            "compile/test_who_sees_what.py::test_a_rule_of_a_stranger_acts_on_its_own_namespace_and_says_so",
            "compile/test_who_sees_what.py::test_of_two_rules_for_one_host_the_older_wins_and_the_other_is_told",
        ),
        "a list of all such attacks, each with a request through a real Envoy",
    ),
    Threat(
        11,
        "A ServiceEntry or WorkloadEntry with a host, an address or the labels of another",
        "The oldest owner keeps a host; selectors reach their own namespace alone.",
        ("compile/test_one_host_declared_twice.py::test_what_contradicts_the_older_one_is_said",),
        "addresses inside the cluster's service range, which only a cluster can name",
    ),
    Threat(
        12,
        "A Gateway that selects somebody else's gateway Pod, with a wildcard host",
        "Of two Gateways with one host on one port the older keeps it and both say so; keys come from the gateway's "
        "namespace alone.",
        ("mesh/test_gateway.py::test_of_two_namespaces_that_claim_a_host_of_a_port_the_older_keeps_it",),
        "a setting that narrows Gateways to Pods of their own namespace",
    ),
    Threat(
        13,
        "Sidecar, EnvoyFilter, Telemetry or WasmPlugin objects that change other proxies",
        "A Sidecar acts in its own namespace. The other kinds are not acted on, and say so.",
        ("mesh/test_sidecar.py::test_the_oldest_that_selects_a_workload_wins_then_the_namespaces_then_the_meshs",),
        "EnvoyFilter, Telemetry and WasmPlugin",
    ),
    Threat(
        14,
        "Text of an object that is run (CVE-2026-22771, CVE-2026-41246)",
        "Nothing users write is run, imported, formatted or looked up: the syntax tree of the whole code is searched "
        "for ways to, and an audit hook listens while texts that would do something are read and compiled.",
        (
            "threats/test_no_code.py::test_there_is_no_way_to_run_a_text",
            "threats/test_injection.py::test_no_text_of_any_object_is_run_when_it_is_read",
            "threats/test_injection.py::test_no_text_of_any_object_is_run_when_it_is_compiled",
            "threats/test_hostile_objects.py::test_what_a_user_writes_in_a_policy_is_quoted_in_every_expression",
        ),
    ),
    Threat(
        15,
        "A `jwksUri` that makes somebody call an inner address, is led there by redirect or DNS, or has no end",
        "Envoy asks, unless a setting says otherwise. Where the control plane asks: one lookup, that very address, "
        "public ones only; no redirects, no proxies; 5 seconds, 64 KiB; nothing but usable keys is told.",
        (
            "sources/keys/test_fetching.py::test_a_name_that_leads_inside_is_not_followed",
            "sources/keys/test_fetching.py::test_a_name_that_leads_elsewhere_a_moment_later_leads_nowhere",
            "sources/keys/test_fetching.py::test_a_chain_of_redirects_ends_with_its_first",
            "sources/keys/test_fetching.py::test_ten_gibibytes",
        ),
    ),
    Threat(
        16,
        "An issuer whose keys cannot be had, so that tokens are believed by other keys or by none (CVE-2026-31837)",
        "Without keys a token is refused; the last good ones of that very issuer stay, over restarts.",
        (
            "threats/test_issuer_keys.py::test_an_issuer_that_is_away_at_the_start",
            "threats/test_issuer_keys.py::test_an_issuer_that_goes_away",
            "threats/test_issuer_keys.py::test_an_issuer_that_is_away_after_a_restart",
            "threats/test_issuer_keys.py::test_only_the_issuers_last_keys_are_believed",
        ),
    ),
    Threat(
        17,
        "A call that gets around a rule: dots, suffixes, `//`, `%2f`, `#`, case, ports, repeated headers, empty rules",
        "Paths are normalized before they are matched, hosts without port and case; every text of a user is a literal "
        "or an RE2 expression made of escaped parts; what cannot be read denies.",
        (
            "threats/test_ways_around.py::test_there_is_no_way_around",
            "explain/authorization/test_against_envoy.py::test_random_policies_and_calls",
            "threats/test_hostile_objects.py::test_a_policy_of_any_shape_is_read_quickly_and_fails_closed",
        ),
    ),
    Threat(
        18,
        "A signing request for another name, for an authority, with a weak key or for a hundred years",
        "Of a request only the key is taken, and only if it signed the request; all else is ours. Each certificate "
        "the tests get is parsed again and compared.",
        (
            "security/test_issuing.py::test_mutated_requests_get_the_callers_name_or_nothing",
            "security/test_issuing.py::test_what_a_request_asks_for_is_not_given",
            "security/test_endpoint.py::test_an_identity_that_asks_too_often_waits_and_no_other_does",
        ),
    ),
    Threat(
        19,
        "Reading along or standing in the middle; a token meant for others; a name that only looks like one "
        "(CVE-2026-47778)",
        "TLS 1.2 or newer with the mesh's roots alone; the audience is `istio-ca`; names are read exactly, and a "
        "caller expects the exact accounts of a service.",
        (
            "security/test_callers.py::test_mutated_certificates_are_their_holders_or_nobodys",
            "security/test_tokenreview.py::test_what_falls_short_of_a_yes_is_a_no",
            "xds/test_strangers.py::test_who_stands_in_the_middle_is_not_talked_to",
            "live/test_mutual_tls.py::test_a_server_that_is_not_who_it_should_be_is_not_called",
            "proof/test_mutual_tls.py::test_nothing_is_plain_between_sidecars_and_everybody_is_known",
        ),
    ),
    Threat(
        20,
        "Somebody else's change of our webhooks, or ours of theirs",
        "The control plane may change those of its own names and no others; what calls somebody else is put right "
        "within seconds.",
        (
            "install/test_manifests.py::test_webhooks_are_changed_by_name_only",
            "webhooks/test_keeping.py::test_a_wrong_bundle_is_put_right_once",
            "webhooks/test_keeping.py::test_it_looks_when_the_roots_change_and_every_few_seconds",
        ),
    ),
    Threat(
        21,
        "A control plane that was broken into has all Secrets of the cluster",
        "It has no right on Secrets beyond its own namespace and those of gateways that were granted; "
        "`e2e/test_install.py` asks a real API server (`auth can-i`).",
        (
            "install/test_manifests.py::test_no_right_on_secrets_of_the_cluster",
            "install/test_manifests.py::test_a_grant_is_of_one_namespace_and_for_the_control_plane_alone",
        ),
    ),
    Threat(
        22,
        "An object that leads a proxy to its own admin interface, or to what listens on its own machine",
        "Admin is on a Unix socket that no object can name; statistics have a port and one path of their own; "
        "loopback and link-local endpoints are refused in every spelling (`refuseLocalEndpoints`, off on a laptop).",
        (
            "threats/test_local_endpoints.py::test_no_object_leads_callers_to_themselves",
            "threats/test_local_endpoints.py::test_a_proxy_s_admin_socket_is_no_endpoint_even_where_loopback_is",
            "threats/test_local_endpoints.py::test_a_listener_takes_the_place_of_no_file_of_others",
            "app/test_identity.py::test_an_envoy_comes_with_what_its_agent_was_given_and_follows_a_rotation",
        ),
    ),
    Threat(23, "A web page of others in a browser that has the dashboard open", "There is no dashboard.", not_yet="the dashboard"),
    Threat(
        24,
        "A hand-made EndpointSlice with addresses of others' Pods",
        "A slice counts for a Service of its own namespace.",
        not_yet="a warning where an address is a Pod's of another namespace",
    ),
    Threat(
        25,
        "A dependency that turns bad",
        "Few, each with its reason (`docs/dependencies.md`), pinned with hashes that pip checks.",
        not_yet="a list of parts (SBOM) for each release",
    ),
)  # fmt: skip
