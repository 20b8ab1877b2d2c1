use super::*;
use crate::outbound::OutboundOverview;

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::config::SandboxMode;
use crate::identity::{Client, Guid, Identity, PeerCertificate};
use crate::io::Transferred;
use crate::lifecycle::Validity;
use crate::policy;
use crate::policy::{Policy, PolicyMode, Routes, Rule};
use crate::telemetry::CloseReason;
use crate::tls::Negotiated;

struct MetricsFixture {
    counters: Arc<Counters>,
    readiness: Arc<Readiness>,
    metrics: Metrics,
}

fn budgets() -> Budgets {
    Budgets::new(Some(4 << 20), Some(4 << 20))
}

fn measured() -> MetricsFixture {
    let (counters, readiness) = (Arc::new(Counters::default()), Arc::new(Readiness::new(1, Vec::new(), Vec::new())));
    let metrics = Metrics::new(MetricsSources {
        counters: Arc::clone(&counters),
        budgets: Arc::new(budgets()),
        rotations: Arc::default(),
        readiness: Arc::clone(&readiness),
        outbound: OutboundOverview::default(),
        app_files: None,
        sandbox: Arc::new(SandboxReport::none(SandboxMode::Strict)),
        max_connections: 100,
    });
    MetricsFixture { counters, readiness, metrics }
}

impl MetricsFixture {
    /// The series of the family `name`, with their values.
    fn series(&self, name: &str) -> HashMap<String, f64> {
        let text = self.metrics.open_metrics().unwrap();
        let series = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
        series
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(at, value)| (at.to_owned(), value.parse().unwrap()))
            .collect()
    }
}

/// The `nth` caller; no two share an app.
fn caller(nth: u32) -> Client {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&nth.to_be_bytes());
    let app = Guid::from_random(bytes);
    Client::Authenticated(Arc::new(PeerCertificate {
        identity: Ok(Some(Identity { organization: None, space: None, app: Some(app), instance: None })),
        names: Default::default(),
        common_name: None,
        common_name_is_unclear: false,
        subject: String::new(),
        serial: String::new(),
        not_after: SystemTime::UNIX_EPOCH,
        chain: Vec::new(),
    }))
}

fn app_of(client: &Client) -> Guid {
    client.identity().unwrap().app.unwrap()
}

#[test]
fn ten_thousand_callers_and_rules_leave_the_number_of_series_bounded_and_every_connection_counted() {
    const CALLERS: u32 = 10_000;
    let measured = measured();
    let text = |of: &Metrics| of.open_metrics().unwrap().lines().count();
    let before = text(&measured.metrics);
    for nth in 0..CALLERS {
        let client = caller(nth);
        // Each has a rule of its own, as if the policy were changed all the time.
        let mut policy = Policy {
            mode: PolicyMode::Enforce,
            allow: vec![Rule::App(app_of(&client))],
            deny: Vec::new(),
            routes: Routes::default(),
        };
        measured.counters.count_verdict(Some(&client), &policy.authorize(&client, None));
        policy.deny = policy.allow.clone();
        measured.counters.count_verdict(Some(&client), &policy.authorize(&client, None));
        policy.mode = PolicyMode::Audit;
        measured.counters.count_verdict(Some(&client), &policy.authorize(&client, None));
    }
    // 20 apps and the others, twice; 32 rules and the others, three times.
    assert_eq!(text(&measured.metrics) - before, HEADS + 2 * 21 + 3 * 33);
    let sum = |name: &str| measured.series(name).values().sum::<f64>();
    // Let in by a rule, and by audit mode.
    assert_eq!(sum("vestibule_client_connections_total"), f64::from(2 * CALLERS));
    assert_eq!(sum("vestibule_client_denials_total"), f64::from(CALLERS));
    assert_eq!(sum("vestibule_authorizations_total"), f64::from(3 * CALLERS));
    assert_eq!(sum("vestibule_denials_total"), f64::from(CALLERS));

    // The first stay what they were, and go on.
    let first = caller(0);
    let at = format!("vestibule_client_connections_total{{app=\"{}\"}}", app_of(&first));
    assert_eq!(measured.series("vestibule_client_connections_total")[&at], 2.0);
    measured.counters.count_verdict(
        Some(&first),
        &Policy { mode: PolicyMode::Enforce, allow: vec![Rule::Any], deny: Vec::new(), routes: Routes::default() }
            .authorize(&first, None),
    );
    assert_eq!(measured.series("vestibule_client_connections_total")[&at], 3.0);
}

/// Families that are left out while they have no series: HELP and TYPE of callers, their denials and authorizations.
const HEADS: usize = 3 * 2;

#[test]
fn strangers_that_are_denied_take_no_series_from_those_that_are_let_in() {
    let measured = measured();
    let nobody = Policy { mode: PolicyMode::Enforce, allow: Vec::new(), deny: Vec::new(), routes: Routes::default() };
    for nth in 1..100 {
        let stranger = caller(nth);
        measured.counters.count_verdict(Some(&stranger), &nobody.authorize(&stranger, None));
    }
    let friend = caller(0);
    let all = Policy {
        mode: PolicyMode::Enforce,
        allow: vec![Rule::CloudFoundry],
        deny: Vec::new(),
        routes: Routes::default(),
    };
    measured.counters.count_verdict(Some(&friend), &all.authorize(&friend, None));
    let app = format!("vestibule_client_connections_total{{app=\"{}\"}}", app_of(&friend));
    assert_eq!(measured.series("vestibule_client_connections_total"), HashMap::from([(app, 1.0)]));
}

#[test]
fn those_without_a_certificate_are_counted_when_they_are_denied_only() {
    let measured = measured();
    let everybody = Policy::anonymous();
    measured.counters.count_verdict(Some(&Client::Anonymous), &everybody.authorize(&Client::Anonymous, None));
    assert!(measured.series("vestibule_authorizations_total").is_empty());
    measured.counters.count_verdict(None, &Err(policy::DenialReason::NoCertificate.into()));
    let denied = measured.series("vestibule_authorizations_total");
    assert_eq!(denied["vestibule_authorizations_total{verdict=\"denial\",rule=\"none\"}"], 1.0);
    assert_eq!(measured.series("vestibule_denials_total")["vestibule_denials_total{reason=\"no_certificate\"}"], 1.0);
    assert!(measured.series("vestibule_client_denials_total").is_empty(), "nobody has vouched for who it is");
}

#[test]
fn handshakes_are_counted_by_what_was_agreed_on_and_once() {
    let measured = measured();
    let negotiated = Negotiated {
        version: Some(rustls::ProtocolVersion::TLSv1_3),
        suite: None,
        group: Some(rustls::NamedGroup::X25519),
        alpn: None,
        resumed: true,
    };
    measured.counters.count_opened(Instant::now());
    measured.counters.count_handshake(&negotiated, Duration::from_millis(3));
    measured.counters.count_closed(CloseReason::Denied, true, Transferred::default(), Instant::now());
    for reason in [CloseReason::HandshakeFailed, CloseReason::Denied, CloseReason::HandshakeTimeout, CloseReason::Probe]
    {
        measured.counters.count_opened(Instant::now());
        measured.counters.count_closed(reason, false, Transferred { up: 3, down: 4 }, Instant::now());
    }
    let series = measured.series("vestibule_handshakes_total");
    let at = |labels: &str| series[&format!("vestibule_handshakes_total{{{labels}}}")];
    assert_eq!(at("result=\"completed\",version=\"TLSv1_3\",group=\"X25519\",resumed=\"true\""), 1.0);
    for result in ["failed", "denied", "timeout"] {
        assert_eq!(at(&format!("result=\"{result}\",version=\"none\",group=\"none\",resumed=\"none\"")), 1.0);
    }
    assert_eq!(series.len(), 4);
    assert_eq!(measured.series("vestibule_connections_active")["vestibule_connections_active"], 0.0);
    assert_eq!(
        measured.series("vestibule_relayed_bytes_total")["vestibule_relayed_bytes_total{direction=\"down\"}"],
        16.0
    );
    let times = measured.series("vestibule_handshake_duration_seconds_bucket");
    assert_eq!(times["vestibule_handshake_duration_seconds_bucket{le=\"0.0025\"}"], 0.0);
    assert_eq!(times["vestibule_handshake_duration_seconds_bucket{le=\"0.005\"}"], 1.0);
    assert_eq!(times["vestibule_handshake_duration_seconds_bucket{le=\"+Inf\"}"], 1.0);
}

#[test]
fn the_served_certificate_and_the_readiness_are_shown() {
    let measured = measured();
    assert!(measured.series("vestibule_certificate_not_after_timestamp_seconds").is_empty(), "there is none yet");
    let not_before = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let validity = Validity { not_before, not_after: not_before + Duration::from_secs(86_400) };
    measured.readiness.set_serving(validity);
    measured.readiness.set_retiring(true);
    let value = |name: &str| measured.series(name)[name];
    assert_eq!(value("vestibule_certificate_not_before_timestamp_seconds"), 1_700_000_000.0);
    assert_eq!(value("vestibule_certificate_not_after_timestamp_seconds"), 1_700_086_400.0);
    assert_eq!((value("vestibule_retiring"), value("vestibule_draining")), (1.0, 0.0));
    let ready = measured.series("vestibule_ready");
    assert_eq!(ready["vestibule_ready{check=\"retirement\"}"], 0.0);
    assert_eq!(ready["vestibule_ready{check=\"listeners\"}"], 1.0);
    assert_eq!(ready.len(), 7);
}

#[test]
fn every_row_is_a_sentence_and_follows_the_rules_for_names() {
    let mut names = HashSet::new();
    for metric in METRICS {
        let (name, help) = (metric.name(), metric.help());
        assert!(names.insert(metric.name), "{name} is there twice");
        assert!(name.starts_with("vestibule_") || name.starts_with("process_"), "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert_eq!(metric.kind() == "counter", name.ends_with("_total"), "{name}");
        assert!(help.ends_with('.') && help.starts_with(char::is_uppercase), "{help}");
        assert!(!help.contains(['\\', '"', '\n']), "would have to be escaped: {help}");
    }
}

#[test]
fn every_series_has_the_labels_of_its_row() {
    let measured = measured();
    let seen = measured.metrics.reader.snapshot();
    let client = caller(1);
    measured.counters.count_verdict(Some(&client), &Err(policy::DenialReason::NotAllowed.into()));
    for metric in METRICS {
        for sample in (metric.read)(&seen) {
            assert_eq!(sample.labels.len(), metric.labels.len(), "{}", metric.name());
        }
    }
}
