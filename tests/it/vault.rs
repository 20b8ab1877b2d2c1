//! Vault and OpenBao: the instance logs in, is given secrets, and lets its token go.

mod bao;
mod documents;
mod faults;
mod leases;
mod resolving;
mod tokens;

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::app_secrets::Instance;
use crate::support::http_app::{Asked, HttpApp, Reply};
use crate::support::sidecar::Setup;

/// What the stand-in gives for a login, and nobody else may ever see. Each login gives another.
const TOKEN: &str = "hvs.ThatNobodyButUsAndVaultMayEverSee";

/// The value of all its secrets.
const VALUE: &str = "value-that-only-the-app-may-see";

/// A stand-in for Vault on this machine, which answers by a script, or else as Vault does.
pub(crate) fn vault(script: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static) -> HttpApp {
    let logins = AtomicUsize::new(0);
    HttpApp::start(move |asked| {
        if let Some(reply) = script(asked) {
            return reply;
        }
        match path(asked) {
            "/v1/auth/jwt/login" => {
                let token = format!("{TOKEN}{}", logins.fetch_add(1, Ordering::Relaxed));
                said(200, &json!({ "auth": { "client_token": token, "lease_duration": 3600, "renewable": true } }))
            }
            "/v1/auth/token/revoke-self" => Reply::Send(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
            "/v1/auth/token/lookup-self" => said(200, &json!({ "data": {} })),
            "/v1/auth/token/renew-self" => said(200, &json!({ "auth": { "lease_duration": 3600, "renewable": true } })),
            "/v1/secret/data/app" => {
                said(200, &json!({ "data": { "data": { "password": VALUE, "n": 1 }, "metadata": { "version": 2 } } }))
            }
            _ => refused(404, &[]),
        }
    })
}

fn said(status: u16, body: &serde_json::Value) -> Reply {
    let body = body.to_string();
    Reply::Send(format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
}

/// What is wrong, as Vault says it.
fn refused(status: u16, errors: &[&str]) -> Reply {
    said(status, &json!({ "errors": errors }))
}

fn path(asked: &Asked) -> &str {
    asked.head.split(' ').nth(1).unwrap()
}

/// What was asked of `vault`: each path without `/v1/`, in its order.
fn paths(vault: &HttpApp) -> Vec<String> {
    vault.asked().iter().map(|asked| path(asked).trim_start_matches("/v1/").to_owned()).collect()
}

fn url(vault: &HttpApp) -> String {
    format!("http://{}", vault.addr())
}

/// `vestibule run` with the secrets of `vault`, to which it logs in by a JWT.
fn run(instance: &Instance, vault: &HttpApp, more: &[&str]) -> Setup {
    instance.resolving("vault,transit", &[&options(&url(vault))[..], more].concat())
}

fn options(url: &str) -> Vec<&str> {
    vec!["--vault-addr", url, "--vault-method", "jwt", "--vault-role", "app", "--vault-audience", "vault"]
}
