//! Parse, build, run, exit status.
use std::process::ExitCode;
use std::time::Duration;
use vestibule::config::*;
fn main() -> ExitCode {
    let s = Duration::from_secs;
    let config = Config {
        listeners: vec![Listener { listen: Listen::EveryAddress(8443), app: AppAddr::Tcp("127.0.0.1:8080".parse().unwrap()), tls: TlsSettings { alpn: vec![b"http/1.1".to_vec()], min_version: TlsVersion::Tls12 } }],
        credential: CredentialFiles { cert: std::env::var("CF_INSTANCE_CERT").unwrap().into(), key: std::env::var("CF_INSTANCE_KEY").unwrap().into(), timeout: s(10) },
        timeouts: Timeouts { handshake: s(10), connect: s(1), idle: None, max_age: None },
        drain: Drain { delay: s(0), timeout: s(8) },
        log: Log { format: None, level: LogLevel::Debug, access: AccessLog::All },
        threads: 2, limits: Limits { connections: None, handshakes: None },
    };
    vestibule::telemetry::start_logging(&config.log);
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match rt.block_on(async { vestibule::sidecar::Sidecar::open(config)?.run(None).await }) { Ok(e) => e.into(), Err(f) => f.report() }
}
