//! The list of all metrics.

use std::fmt::Display;
use std::time::{Duration, SystemTime};

use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use strum::VariantArray;
use tokio::runtime::Handle;

use super::{Metric, MetricsSnapshot, Sample, Value, app_files, outbound, requests};
use crate::budget::{Budgets, MemoryBudget};
use crate::config::{SecretSource, VaultMethod};
use crate::credentials::FileKind;
use crate::diagnostics::SafeText;
use crate::lifecycle::Check;
use crate::policy;
use crate::sandbox::ProtectionStatus;
use crate::sys::process;
use crate::telemetry::{
    CloseReason, Counts, HandshakeFailure, HandshakeKind, SecretResult, TokenCounters, TokenRequestResult, Verdict,
    log_writer,
};

/// Issuers of CRLs with a series of their own.
const MAX_ISSUERS: usize = 16;

/// In a label: nothing of the kind.
const NONE: &str = "none";

/// In a label: all those that have no series of their own.
const OTHER: &str = "other";

/// Every metric there is, in the order of the answer. None of the texts needs escaping.
pub static METRICS: &[Metric] = &[
    Metric {
        name: "vestibule_connections_opened",
        unit: None,
        kind: MetricType::Counter,
        labels: &[],
        help: "Connections that were accepted.",
        read: |seen| whole(seen.counters.connections()),
    },
    Metric {
        name: "vestibule_connections_active",
        unit: None,
        kind: MetricType::Gauge,
        labels: &[],
        help: "Connections that are there now.",
        read: |seen| whole(seen.counters.active()),
    },
    Metric {
        name: "vestibule_connections_limit",
        unit: None,
        kind: MetricType::Gauge,
        labels: &[],
        help: "Connections that are served at once; those beyond are turned away as overloaded.",
        read: |seen| whole(seen.max_connections as u64),
    },
    Metric {
        name: "vestibule_connections_closed",
        unit: None,
        kind: MetricType::Counter,
        labels: &["reason"],
        help: "Connections that have ended, by the `close_reason` of their access log entry. Those that closed without a byte, as health checks do, have the reason probe.",
        read: |seen| each(|reason: CloseReason| labelled([reason.as_str()], seen.counters.count(reason))),
    },
    Metric {
        name: "vestibule_relayed",
        unit: Some(Unit::Bytes),
        kind: MetricType::Counter,
        labels: &["direction"],
        help: "Plaintext bytes of connections that have ended: up is from clients to the app, down is from the app to clients. Those of a connection that still runs are counted at its end.",
        read: |seen| {
            let (up, down) = seen.counters.bytes();
            vec![labelled(["up"], up), labelled(["down"], down)]
        },
    },
    Metric {
        name: "vestibule_handshakes",
        unit: None,
        kind: MetricType::Counter,
        labels: &["result", "version", "group", "resumed"],
        help: "TLS handshakes, by what became of them. Where nothing was agreed on, the other labels say none.",
        read: handshakes,
    },
    Metric {
        name: "vestibule_handshake_duration",
        unit: Some(Unit::Seconds),
        kind: MetricType::Histogram,
        labels: &[],
        help: "From our answer to the ClientHello to the end of the handshake, where it was completed.",
        read: |seen| only(Value::Histogram(seen.counters.handshake_times.snapshot())),
    },
    Metric {
        name: "vestibule_upstream_connect_duration",
        unit: Some(Unit::Seconds),
        kind: MetricType::Histogram,
        labels: &[],
        help: "How long the app took to accept or to refuse, or was waited for.",
        read: |seen| only(Value::Histogram(seen.counters.upstream_connect_times.snapshot())),
    },
    Metric {
        name: "vestibule_authorizations",
        unit: None,
        kind: MetricType::Counter,
        labels: &["verdict", "rule"],
        help: "Verdicts on clients with a certificate, and denials of those without one, by the rule that decided. A connection that has to end because the rules changed has one more. For each verdict the first 32 rules have a series each until the process ends; all others share the rule other.",
        read: |seen| Verdict::VARIANTS.iter().flat_map(|verdict| authorizations(seen, *verdict)).collect(),
    },
    Metric {
        name: "vestibule_denials",
        unit: None,
        kind: MetricType::Counter,
        labels: &["reason"],
        help: "Clients that were denied, by the `denial_reason` of their access log entry; one whose open connection ends since it may not come in any more counts once more. What audit mode let in is not counted here.",
        read: |seen| each(|reason: policy::DenialReason| labelled([reason.as_str()], seen.counters.denials(reason))),
    },
    Metric {
        name: "vestibule_client_connections",
        unit: None,
        kind: MetricType::Counter,
        labels: &["app"],
        help: "Clients with a certificate that were let in, by the app in it, or none. The first 20 apps have a series each until the process ends; all others share the app other.",
        read: |seen| by_key([], seen.counters.client_apps.counts()),
    },
    Metric {
        name: "vestibule_client_denials",
        unit: None,
        kind: MetricType::Counter,
        labels: &["app"],
        help: "Clients that were denied, by the app in the certificate, or none, where a client CA vouches for it. The first 20 apps have a series each until the process ends; all others share the app other.",
        read: |seen| by_key([], seen.counters.denied_client_apps.counts()),
    },
    Metric {
        name: "vestibule_access_log_suppressed",
        unit: None,
        kind: MetricType::Counter,
        labels: &[],
        help: "Access log entries that were left out because there were too many with the same reason.",
        read: |seen| whole(seen.counters.access_log_suppressed()),
    },
    Metric {
        name: "vestibule_held_memory",
        unit: Some(Unit::Bytes),
        kind: MetricType::Gauge,
        labels: &["budget"],
        help: "Memory that clients have the proxy hold: until their handshake is done (handshakes), for what a side does not take (backlogs), and for connections that speak HTTP/2 (streams); what the app's own connections to others hold counts to backlogs. The last two may be up to one and a half times their limits, and backlogs have besides what the only request of each connection over HTTP/2 takes. Left out where memory is not limited.",
        read: |seen| budgets(seen, |budget| budget.limit().map(|_| budget.held())),
    },
    Metric {
        name: "vestibule_held_memory_limit",
        unit: Some(Unit::Bytes),
        kind: MetricType::Gauge,
        labels: &["budget"],
        help: "What they may hold before new clients are turned away (handshakes), traffic slows down (backlogs), or clients that speak HTTP/2 may ask for few things at once (streams; those that are idle are closed from three quarters on). Left out where memory is not limited.",
        read: |seen| budgets(seen, MemoryBudget::limit),
    },
    Metric {
        name: "vestibule_log_lines_dropped",
        unit: None,
        kind: MetricType::Counter,
        labels: &[],
        help: "Lines of the log that were not written, because nobody read stderr or it could not be written to.",
        read: |_| whole(log_writer::dropped_lines()),
    },
    Metric {
        name: "vestibule_certificate_not_before_timestamp",
        unit: Some(Unit::Seconds),
        kind: MetricType::Gauge,
        labels: &[],
        help: "The first moment of the validity of the certificate that is served, in seconds since 1970.",
        read: |seen| seen.readiness.validity().map_or_else(Vec::new, |validity| moment(validity.not_before)),
    },
    Metric {
        name: "vestibule_certificate_not_after_timestamp",
        unit: Some(Unit::Seconds),
        kind: MetricType::Gauge,
        labels: &[],
        help: "The end of the validity of the certificate that is served, in seconds since 1970.",
        read: |seen| seen.readiness.validity().map_or_else(Vec::new, |validity| moment(validity.not_after)),
    },
    Metric {
        name: "vestibule_credential_generation",
        unit: None,
        kind: MetricType::Gauge,
        labels: &[],
        help: "The generation of pair, client CAs and rules that is served. It counts from 1, and is 0 before the first.",
        read: |seen| whole(seen.rotation_stats.generation()),
    },
    Metric {
        name: "vestibule_rotations",
        unit: None,
        kind: MetricType::Counter,
        labels: &["result"],
        help: "New files: taken into service, the first ones included; or failed, once for each cause that lasted for two seconds.",
        read: |seen| {
            vec![
                labelled(["success"], seen.rotation_stats.successes()),
                labelled(["failed"], seen.rotation_stats.failures()),
            ]
        },
    },
    Metric {
        name: "vestibule_files_usable",
        unit: None,
        kind: MetricType::Gauge,
        labels: &["source"],
        help: "Whether the files are usable as they are now: 1, or 0 while the last good ones stay in service (or none is yet). One file of a folder that cannot be used makes it 0 as well. The sources are certificate, client_ca, client_crl, token_ca, token_crl, server_ca and policy, as far as they are configured. A fault of less than 2 seconds does not count.",
        read: |seen| {
            let files = seen.rotation_stats.files();
            let usable = |kind: FileKind| files.failures.iter().all(|failure| failure.kind != kind);
            files.kinds.iter().map(|kind| labelled([kind.as_str()], u64::from(usable(*kind)))).collect()
        },
    },
    Metric {
        name: "vestibule_client_ca_not_after_timestamp",
        unit: Some(Unit::Seconds),
        kind: MetricType::Gauge,
        labels: &[],
        help: "The last second of the client CA that is valid longest; with several listeners, of the one that comes to its end first. The CAs of --token-ca count as another listener's.",
        read: |seen| seen.rotation_stats.files().client_ca_not_after.map_or_else(Vec::new, moment),
    },
    Metric {
        name: "vestibule_client_crl_next_update_timestamp",
        unit: Some(Unit::Seconds),
        kind: MetricType::Gauge,
        labels: &["issuer"],
        help: "By when there is to be another CRL of this issuer, if its CRLs say so. The first 16 issuers have a series each.",
        read: |seen| {
            let crls = seen.rotation_stats.files().client_crl_next_update;
            let row = |(issuer, at)| {
                let labels = vec![SafeText::of(issuer).to_string()];
                moment(at).into_iter().map(move |sample| Sample { labels: labels.clone(), ..sample })
            };
            crls.into_iter().take(MAX_ISSUERS).flat_map(row).collect()
        },
    },
    Metric {
        name: "vestibule_unusable_trust_files",
        unit: None,
        kind: MetricType::Gauge,
        labels: &[],
        help: "Files in folders of CAs and CRLs that cannot be used now, as the log says of the first of them: they are left out, or count as they were when they were last good. A fault of less than 2 seconds does not count.",
        read: |seen| whole(seen.rotation_stats.unusable_files() as u64),
    },
    Metric {
        name: "vestibule_ready",
        unit: None,
        kind: MetricType::Gauge,
        labels: &["check"],
        help: "Whether a check of /readyz succeeds: 1 or 0. With several apps the check app succeeds when all are.",
        read: |seen| each(|part: Check| labelled([part.as_str()], u64::from(is_ready(seen, part)))),
    },
    Metric {
        name: "vestibule_secrets_resolved",
        unit: None,
        kind: MetricType::Counter,
        labels: &["source", "result"],
        help: "Questions for secrets of the app, by who was asked and what came of it: success, missing or failed. What several references ask for counts once. None where nothing was asked.",
        read: secrets_resolved,
    },
    Metric {
        name: "vestibule_secret_expiry_timestamp",
        unit: Some(Unit::Seconds),
        kind: MetricType::Gauge,
        labels: &[],
        help: "When the first of the app's secrets comes to its end, in seconds since 1970; none where none does.",
        read: |seen| seen.counters.secrets.expiry().map(moment).unwrap_or_default(),
    },
    Metric {
        name: "vestibule_vault_logins",
        unit: None,
        kind: MetricType::Counter,
        labels: &["method", "result"],
        help: "Logins to Vault or OpenBao, by method and what came of them: success or failed. None where nobody has tried.",
        read: vault_logins,
    },
    Metric {
        name: "vestibule_vault_token_expiry_timestamp",
        unit: Some(Unit::Seconds),
        kind: MetricType::Gauge,
        labels: &[],
        help: "When the Vault token comes to its end, in seconds since 1970; none where there is no token, or it has no end.",
        read: |seen| seen.counters.secrets.vault.token().and_then(|token| token.expiry).map(moment).unwrap_or_default(),
    },
    Metric {
        name: "vestibule_retiring",
        unit: None,
        kind: MetricType::Gauge,
        labels: &[],
        help: "Whether a retirement certificate was received, by which the platform announces that the instance will stop: 1 or 0.",
        read: |seen| whole(u64::from(!is_ready(seen, Check::Retirement))),
    },
    Metric {
        name: "vestibule_draining",
        unit: None,
        kind: MetricType::Gauge,
        labels: &[],
        help: "Whether somebody has asked the process to stop: 1 or 0.",
        read: |seen| whole(u64::from(!is_ready(seen, Check::Drain))),
    },
    Metric {
        name: "vestibule_http_requests",
        unit: None,
        kind: MetricType::Counter,
        labels: &["listener", "code_class", "method"],
        help: "Requests of clients that have been answered, by the first digit of the status and by the method, of which those that are not usual share other; at listeners with mode http alone.",
        read: requests::ended,
    },
    Metric {
        name: "vestibule_http_refused",
        unit: None,
        kind: MetricType::Counter,
        labels: &["listener", "reason"],
        help: "Requests that did not get the app's whole answer, by the `reason` of their access log entry.",
        read: requests::refused,
    },
    Metric {
        name: "vestibule_http_requests_active",
        unit: None,
        kind: MetricType::Gauge,
        labels: &["listener"],
        help: "Requests that are under way.",
        read: |seen| requests::whole(seen, |counters| counters.active() as u64),
    },
    Metric {
        name: "vestibule_http_request_duration",
        unit: Some(Unit::Seconds),
        kind: MetricType::Histogram,
        labels: &["listener"],
        help: "From the head of a request to the end of its answer.",
        read: requests::times,
    },
    Metric {
        name: "vestibule_http_upgrades_active",
        unit: None,
        kind: MetricType::Gauge,
        labels: &["listener"],
        help: "Connections that have become another protocol, such as WebSocket.",
        read: |seen| requests::whole(seen, |counters| counters.upgraded() as u64),
    },
    Metric {
        name: "vestibule_http_upstream_requests",
        unit: None,
        kind: MetricType::Counter,
        labels: &["listener", "connection"],
        help: "Requests by the connection to the app that they were sent on: one that had carried others (reused), or one that was made for them (opened).",
        read: requests::upstream_requests,
    },
    Metric {
        name: "vestibule_http_retries",
        unit: None,
        kind: MetricType::Counter,
        labels: &["listener"],
        help: "Requests that were sent to the app a second time, because the connection that was kept had ended without a byte.",
        read: |seen| requests::whole(seen, |counters| counters.retries()),
    },
    Metric {
        name: "vestibule_http_goaway",
        unit: None,
        kind: MetricType::Counter,
        labels: &["listener", "reason"],
        help: "HTTP/2 connections that were ended because of what their clients did: control_frames (too many of them, or no answer to our settings), or memory (there was none for what they had begun).",
        read: requests::goaways,
    },
    Metric {
        name: "vestibule_http_downgrades",
        unit: None,
        kind: MetricType::Counter,
        labels: &["listener"],
        help: "Clients that had offered HTTP/2 too and were given HTTP/1.1, because there was no memory for one more connection of HTTP/2.",
        read: |seen| requests::whole(seen, |counters| counters.downgrades()),
    },
    Metric {
        name: "vestibule_http_headers_stripped",
        unit: None,
        kind: MetricType::Counter,
        labels: &["listener", "name"],
        help: "Fields that were taken from requests because only a proxy may write them, in whatever spelling; names that begin alike are one, and other spellings of Content-Length, Host and their like are other.",
        read: requests::stripped,
    },
    Metric {
        name: "vestibule_http_drain_closes",
        unit: None,
        kind: MetricType::Counter,
        labels: &["listener"],
        help: "Clients that were told to let go of their connections because the instance goes.",
        read: |seen| requests::whole(seen, |counters| counters.drain_closes()),
    },
    Metric {
        name: "vestibule_http_callers",
        unit: None,
        kind: MetricType::Counter,
        labels: &["listener", "source"],
        help: "Requests, by what says who calls: tls (the client itself does, by its handshake), and of clients that may forward it xfcc (they were believed), absent, invalid.",
        read: requests::callers,
    },
    Metric {
        name: "vestibule_outbound_connections_opened",
        unit: None,
        kind: MetricType::Counter,
        labels: &["outbound"],
        help: "Connections of the app that an outbound listener with protocol tcp has accepted; the label is whom it dials.",
        read: |seen| outbound::of_tcp(seen, |counters| counters.opened()),
    },
    Metric {
        name: "vestibule_outbound_connections_active",
        unit: None,
        kind: MetricType::Gauge,
        labels: &["outbound"],
        help: "Outbound connections that are there now; with protocol tcp alone.",
        read: |seen| outbound::of_tcp(seen, |counters| counters.active() as u64),
    },
    Metric {
        name: "vestibule_outbound_connections_closed",
        unit: None,
        kind: MetricType::Counter,
        labels: &["outbound", "reason"],
        help: "Outbound connections that have ended, by the `close_reason` of their access log entry; with protocol tcp alone.",
        read: outbound::closed,
    },
    Metric {
        name: "vestibule_outbound_requests",
        unit: None,
        kind: MetricType::Counter,
        labels: &["outbound", "reason"],
        help: "Requests of the app that have ended, by the `close_reason` of their access log entry; with protocol http1 and by the forward proxy alone, where they are counted instead of connections.",
        read: outbound::requests,
    },
    Metric {
        name: "vestibule_outbound_responses",
        unit: None,
        kind: MetricType::Counter,
        labels: &["outbound", "status_class"],
        help: "Responses that the app got, by the first digit of their status: servers' own, and ours where there was none. With protocol http1 and by the forward proxy alone.",
        read: outbound::responses,
    },
    Metric {
        name: "vestibule_outbound_pool_idle",
        unit: None,
        kind: MetricType::Gauge,
        labels: &["outbound"],
        help: "Connections to endpoints that wait for a request; with protocol http1 and by the forward proxy alone.",
        read: |seen| outbound::of_http(seen, |counters| counters.idle() as u64),
    },
    Metric {
        name: "vestibule_outbound_pool_hits",
        unit: None,
        kind: MetricType::Counter,
        labels: &["outbound"],
        help: "Requests that were sent on a connection that was there; with protocol http1 and by the forward proxy alone.",
        read: |seen| outbound::of_http(seen, |counters| counters.pool().0),
    },
    Metric {
        name: "vestibule_outbound_pool_misses",
        unit: None,
        kind: MetricType::Counter,
        labels: &["outbound"],
        help: "Requests for which a connection was made; with protocol http1 and by the forward proxy alone.",
        read: |seen| outbound::of_http(seen, |counters| counters.pool().1),
    },
    Metric {
        name: "vestibule_outbound_retired",
        unit: None,
        kind: MetricType::Counter,
        labels: &["outbound"],
        help: "Connections to endpoints that were ended because the pair with which they were made was rotated or came to its end.",
        read: |seen| outbound::whole(seen, |counters| counters.rotation_closes()),
    },
    Metric {
        name: "vestibule_outbound_relayed",
        unit: Some(Unit::Bytes),
        kind: MetricType::Counter,
        labels: &["outbound", "direction"],
        help: "Plaintext bytes of outbound connections that have ended: up is from the app, down is to the app.",
        read: outbound::relayed,
    },
    Metric {
        name: "vestibule_outbound_attempts",
        unit: None,
        kind: MetricType::Counter,
        labels: &["outbound", "result"],
        help: "Attempts at endpoints, by what became of them: success (the handshake was done), connect_failed, handshake_failed, denied (it may not answer), rejected (it does not accept our certificate).",
        read: outbound::attempts,
    },
    Metric {
        name: "vestibule_outbound_handshake_duration",
        unit: Some(Unit::Seconds),
        kind: MetricType::Histogram,
        labels: &["outbound"],
        help: "TLS handshakes with endpoints that were completed.",
        read: |seen| outbound::some(seen, |counters| Some(Value::Histogram(counters.handshakes()))),
    },
    Metric {
        name: "vestibule_outbound_endpoints",
        unit: None,
        kind: MetricType::Gauge,
        labels: &["outbound", "state"],
        help: "Endpoints of outbound listeners: those that get connections (ready), those that are left alone after failures (ejected), and those that have announced their retirement (retiring).",
        read: outbound::endpoints,
    },
    Metric {
        name: "vestibule_outbound_ejections",
        unit: None,
        kind: MetricType::Counter,
        labels: &["outbound"],
        help: "How often an endpoint was ejected after failures in a row.",
        read: |seen| outbound::whole(seen, |counters| counters.ejections()),
    },
    Metric {
        name: "vestibule_outbound_resolves",
        unit: None,
        kind: MetricType::Counter,
        labels: &["outbound", "result"],
        help: "DNS lookups: with addresses (success), without any (empty), or failed, after which what was known stays.",
        read: outbound::resolves,
    },
    Metric {
        name: "vestibule_outbound_resolve_duration",
        unit: Some(Unit::Seconds),
        kind: MetricType::Histogram,
        labels: &["outbound"],
        help: "How long DNS lookups took.",
        read: |seen| outbound::some(seen, |counters| Some(Value::Histogram(counters.resolve_durations()))),
    },
    Metric {
        name: "vestibule_outbound_resolved_age",
        unit: Some(Unit::Seconds),
        kind: MetricType::Gauge,
        labels: &["outbound"],
        help: "How long ago the name was last looked up with success; left out for addresses.",
        read: |seen| outbound::some(seen, |counters| counters.resolved_age().map(|age| Value::Real(age.as_secs_f64()))),
    },
    Metric {
        name: "vestibule_outbound_forward_proxy_requests",
        unit: None,
        kind: MetricType::Counter,
        labels: &["mode", "status_class"],
        help: "Requests to the forward proxy that were answered, by the `mode` of their access log entry and the first digit of their status.",
        read: outbound::forward_proxy_requests,
    },
    Metric {
        name: "vestibule_identity_files",
        unit: None,
        kind: MetricType::Counter,
        labels: &["form", "result"],
        help: "Times that a file for the app was written, or could not be and stayed as it was, by what stands in it; a retry counts as well.",
        read: app_files::files,
    },
    Metric {
        name: "vestibule_rotation_hooks",
        unit: None,
        kind: MetricType::Counter,
        labels: &["result"],
        help: "Hooks of --on-rotation that have ended: success; failed, with a status other than 0; timeout, killed after 30 seconds; not_started.",
        read: app_files::hooks,
    },
    Metric {
        name: "vestibule_tokens_issued",
        unit: None,
        kind: MetricType::Counter,
        labels: &["form"],
        help: "Tokens that were signed, by their form. Those that were handed out again are not counted here.",
        read: |seen| tokens(seen, |tokens| by_key([], some_keys(tokens.signed()))),
    },
    Metric {
        name: "vestibule_token_requests",
        unit: None,
        kind: MetricType::Counter,
        labels: &["result"],
        help: "Requests to the identity endpoint: those that got a token (signed, or cached where it was there), those that were told who the instance is (identity) or what is thought of a token (verified), and the others by the `error` of their answer.",
        read: |seen| {
            tokens(seen, |tokens| {
                each(|result: TokenRequestResult| labelled([result.as_str()], tokens.requests(result)))
            })
        },
    },
    Metric {
        name: "vestibule_token_signature",
        unit: Some(Unit::Seconds),
        kind: MetricType::Histogram,
        labels: &[],
        help: "How long it took to sign a token, with all that belongs to it.",
        read: |seen| tokens(seen, |tokens| only(Value::Histogram(tokens.signature_times()))),
    },
    Metric {
        name: "vestibule_token_verifications",
        unit: None,
        kind: MetricType::Counter,
        labels: &["reason"],
        help: "Tokens that the identity endpoint was asked to verify: permit, or the reason of the denial.",
        read: |seen| tokens(seen, |tokens| by_key([], some_keys(tokens.verdicts()))),
    },
    Metric {
        name: "vestibule_build",
        unit: None,
        kind: MetricType::Info,
        labels: &["version", "tls", "crypto", "fips"],
        help: "Which program this is. The label fips says whether the cryptography is the validated one.",
        read: |_| {
            let fips = crate::crypto::provider().fips().to_string();
            vec![Sample {
                labels: [env!("CARGO_PKG_VERSION"), "rustls", "aws-lc-rs", &fips].map(str::to_owned).into(),
                value: Value::Info,
            }]
        },
    },
    Metric {
        name: "vestibule_sandbox_protection",
        unit: None,
        kind: MetricType::Gauge,
        labels: &["mode", "protection"],
        help: "How the proxy's own process is fenced in: 1 for each protection that holds, 0 for each that does not. The mode is that of --sandbox.",
        read: |seen| {
            let mode = seen.sandbox.mode.as_str();
            let of = |status: &ProtectionStatus| {
                labelled([mode, status.protection.as_str()], status.missing.is_none().into())
            };
            seen.sandbox.protections.iter().map(of).collect()
        },
    },
    Metric {
        name: "vestibule_worker_busy",
        unit: Some(Unit::Seconds),
        kind: MetricType::Counter,
        labels: &["worker"],
        help: "For how long each worker thread has had something to do.",
        read: |_| busy_workers(),
    },
    Metric {
        name: "process_cpu",
        unit: Some(Unit::Seconds),
        kind: MetricType::Counter,
        labels: &[],
        help: "Processor time of this process, user and system.",
        read: |_| only(Value::Real(process::cpu())),
    },
    Metric {
        name: "process_resident_memory",
        unit: Some(Unit::Bytes),
        kind: MetricType::Gauge,
        labels: &[],
        help: "Memory of this process that is resident.",
        read: |seen| seen.usage.map_or_else(Vec::new, |usage| whole(usage.resident)),
    },
    Metric {
        name: "process_open_fds",
        unit: None,
        kind: MetricType::Gauge,
        labels: &[],
        help: "Descriptors of this process that are open.",
        read: |_| process::open_descriptors().map_or_else(Vec::new, whole),
    },
    Metric {
        name: "process_max_fds",
        unit: None,
        kind: MetricType::Gauge,
        labels: &[],
        help: "Descriptors that this process may have open; left out if there is no limit.",
        read: |_| process::most_descriptors().map_or_else(Vec::new, whole),
    },
    Metric {
        name: "process_start_time",
        unit: Some(Unit::Seconds),
        kind: MetricType::Gauge,
        labels: &[],
        help: "When this process started, in seconds since 1970.",
        read: |seen| seen.started.map_or_else(Vec::new, |started| only(Value::Real(started))),
    },
];

fn only(value: Value) -> Vec<Sample> {
    vec![Sample { labels: Vec::new(), value }]
}

fn whole(value: u64) -> Vec<Sample> {
    only(Value::Whole(value))
}

fn moment(time: SystemTime) -> Vec<Sample> {
    only(Value::Real(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()))
}

fn labelled<const N: usize>(labels: [&str; N], value: u64) -> Sample {
    Sample { labels: labels.map(str::to_owned).into(), value: Value::Whole(value) }
}

/// A series for each key, and one for the others once there are any. `first`: the labels in front of the key's.
fn by_key<const N: usize>(first: [&str; N], counts: Counts<Option<impl Display>>) -> Vec<Sample> {
    let series = |key: String, count| {
        let labels = first.map(str::to_owned).into_iter().chain([key]).collect();
        Sample { labels, value: Value::Whole(count) }
    };
    let known = counts.known.into_iter();
    let others = (counts.others > 0).then(|| series(OTHER.to_owned(), counts.others));
    known
        .map(|(key, count)| series(key.map_or_else(|| NONE.to_owned(), |key| key.to_string()), count))
        .chain(others)
        .collect()
}

fn budgets(seen: &MetricsSnapshot<'_>, read: fn(&MemoryBudget) -> Option<usize>) -> Vec<Sample> {
    // What waits for room, and what DNS servers say, does so for seconds.
    let Budgets { handshakes, backlogs, streams, waiting_heads: _, lookups: _ } = seen.budgets;
    let budgets = [("handshakes", handshakes), ("backlogs", backlogs), ("streams", streams)];
    budgets.into_iter().filter_map(|(name, budget)| Some(labelled([name], read(budget)? as u64))).collect()
}

fn authorizations(seen: &MetricsSnapshot<'_>, verdict: Verdict) -> Vec<Sample> {
    by_key([verdict.as_str()], seen.counters.authorizations(verdict).counts())
}

/// One sample for each value of a closed set.
fn each<T: VariantArray + Copy>(sample: impl FnMut(T) -> Sample) -> Vec<Sample> {
    T::VARIANTS.iter().copied().map(sample).collect()
}

fn handshakes(seen: &MetricsSnapshot<'_>) -> Vec<Sample> {
    let completed = seen.counters.handshakes.counts().known.into_iter().map(|(agreed, count)| {
        let HandshakeKind { version, group, resumed } = agreed;
        let resumed = if resumed { "true" } else { "false" };
        labelled(["completed", version.unwrap_or(NONE), group.unwrap_or(NONE), resumed], count)
    });
    let unfinished =
        each(|how: HandshakeFailure| labelled([how.as_str(), NONE, NONE, NONE], seen.counters.unfinished(how)));
    completed.chain(unfinished).collect()
}

/// Of tokens; nothing where nobody can ask for any.
fn tokens(seen: &MetricsSnapshot<'_>, read: impl Fn(&TokenCounters) -> Vec<Sample>) -> Vec<Sample> {
    seen.counters.tokens.as_deref().map(read).unwrap_or_default()
}

/// Keys of which none is missing.
fn some_keys<K>(counts: Counts<K>) -> Counts<Option<K>> {
    Counts { known: counts.known.into_iter().map(|(key, count)| (Some(key), count)).collect(), others: counts.others }
}

fn secrets_resolved(seen: &MetricsSnapshot<'_>) -> Vec<Sample> {
    let sample = |source: SecretSource, result: SecretResult| {
        labelled([source.as_str(), result.as_str()], seen.counters.secrets.resolved(source, result))
    };
    let was_asked = |source: &&SecretSource| {
        SecretResult::VARIANTS.iter().any(|result| seen.counters.secrets.resolved(**source, *result) > 0)
    };
    let asked = SecretSource::VARIANTS.iter().filter(was_asked);
    asked.flat_map(|source| SecretResult::VARIANTS.iter().map(|result| sample(*source, *result))).collect()
}

fn vault_logins(seen: &MetricsSnapshot<'_>) -> Vec<Sample> {
    let of_method = |method: VaultMethod| {
        let [succeeded, failed] = seen.counters.secrets.vault.logins(method);
        let samples = [("success", succeeded), ("failed", failed)];
        let tried = succeeded + failed > 0;
        samples
            .into_iter()
            .filter(move |_| tried)
            .map(move |(result, count)| labelled([method.as_str(), result], count))
    };
    VaultMethod::VARIANTS.iter().copied().flat_map(of_method).collect()
}

fn is_ready(seen: &MetricsSnapshot<'_>, part: Check) -> bool {
    seen.checks.iter().filter(|check| check.check == part).all(|check| check.ready)
}

/// Nothing outside of a runtime, or where tokio does not measure it.
fn busy_workers() -> Vec<Sample> {
    let Ok(runtime) = Handle::try_current() else { return Vec::new() };
    let runtime = runtime.metrics();
    let busy = |worker| worker_busy(&runtime, worker);
    (0..runtime.num_workers())
        .filter_map(|worker| {
            Some(Sample { labels: vec![worker.to_string()], value: Value::Real(busy(worker)?.as_secs_f64()) })
        })
        .collect()
}

#[cfg(target_has_atomic = "64")]
fn worker_busy(runtime: &tokio::runtime::RuntimeMetrics, worker: usize) -> Option<Duration> {
    Some(runtime.worker_total_busy_duration(worker))
}

#[cfg(not(target_has_atomic = "64"))]
fn worker_busy(_: &tokio::runtime::RuntimeMetrics, _: usize) -> Option<Duration> {
    None
}
