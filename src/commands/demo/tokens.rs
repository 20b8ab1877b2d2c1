//! What `--tokens` shows: tokens that the pair in service signs, and what receivers make of them that have the CA and nothing else.

use std::convert::Infallible;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::sleep;

use super::reporter;
use super::settings::{KEY, issuing};
use crate::commands::text;
use crate::credentials::{Pair, ServedCertificate};
use crate::exit::{Exit, Fault};
use crate::identity::Role;
use crate::issuer::{CertificateAuthority, InstanceSpec};
use crate::token::{
    CallerCertificate, IssuedToken, RequiredIdentity, TokenQuestion, TokenRequest, VerifiedForm, Verifier, issue,
};
use crate::trust::{Text, TrustAnchors};

/// For whom the tokens are.
const RECEIVER: &str = "billing";

/// Another receiver, who has the same CA.
const OTHER_RECEIVER: &str = "payroll";

/// Short enough to wait for its end.
const TTL: Duration = Duration::from_secs(5);

/// So that what was told can be read.
const PAUSE: Duration = Duration::from_secs(5);

/// The receivers and the thief of the demo about tokens.
pub(super) struct TokenDemo {
    /// How both receivers judge: nothing is forgiven, so that the end of a token is its end.
    verifier: Verifier,
    /// The certificate of one who has got hold of a token: another app of the platform.
    thief: CallerCertificate,
}

impl TokenDemo {
    /// Under the CA `authority`, whose certificates lie in the file `roots`.
    ///
    /// # Errors
    /// The cryptographic library failed.
    pub(super) fn new(authority: &CertificateAuthority, roots: &Path) -> Result<Self, Fault> {
        let cas = Text { path: roots.to_owned(), bytes: authority.roots_pem().into_bytes(), named: true };
        let (anchors, _) = TrustAnchors::parse(&[cas], &[], Role::Client)
            .map_err(|error| Fault::new(Exit::Internal, error.to_string()))?;
        let thief = InstanceSpec { key: KEY, ..InstanceSpec::generate().map_err(issuing)? };
        let thief = authority.issue(&thief, SystemTime::now()).map_err(issuing)?;
        let verifier = Verifier {
            anchors,
            identity: RequiredIdentity::CloudFoundry,
            skew: Duration::ZERO,
            max_ttl: TTL,
            issuer: None,
            require_bound: false,
            roles: None,
        };
        Ok(Self { verifier, thief: CallerCertificate::of(&thief.leaf.into()) })
    }

    /// Tokens to make in a shell, with the pair and CA of these files.
    pub(super) fn command(cert: &Path, key: &Path, roots: &Path) -> String {
        let program = std::env::current_exe().unwrap_or_else(|_| "vestibule".into());
        let [program, cert, key, roots] = [&program, cert, key, roots].map(text::quoted);
        format!(
            "{program} token jwt --cert {cert} --key {key} --audience {RECEIVER} | \
             {program} token verify --ca {roots} --audience {RECEIVER}"
        )
    }

    async fn rounds(&self, shown: watch::Receiver<Vec<ServedCertificate>>) -> Result<Infallible, Fault> {
        loop {
            let served = shown.borrow().first().cloned();
            if let Some(served) = served {
                self.round(&served.pair).await?;
            }
            sleep(PAUSE).await;
        }
    }

    async fn round(&self, pair: &Pair) -> Result<(), Fault> {
        let request = TokenRequest::new(RECEIVER, TTL);
        let Some(token) = make(pair, &request, "for whoever shows it")? else { return Ok(()) };
        self.verify(RECEIVER, &token, CallerCertificate::Unknown, "")?;
        self.verify(OTHER_RECEIVER, &token, CallerCertificate::Unknown, "")?;
        let bound = TokenRequest { bind: true, ..request };
        let Some(bound) = make(pair, &bound, "bound to our certificate")? else { return Ok(()) };
        self.verify(RECEIVER, &bound, CallerCertificate::of(pair.leaf()), "from us, by mTLS: ")?;
        self.verify(RECEIVER, &bound, self.thief, "from a thief, by mTLS: ")?;
        let over = UNIX_EPOCH + Duration::from_secs(token.expires_at + 1);
        sleep(over.duration_since(SystemTime::now()).unwrap_or_default()).await;
        self.verify(RECEIVER, &token, CallerCertificate::Unknown, "the first once more: ")
    }

    /// Tells what `receiver` makes of `token`.
    fn verify(&self, receiver: &str, token: &IssuedToken, caller: CallerCertificate, how: &str) -> Result<(), Fault> {
        let audiences = [receiver.to_owned()];
        let form = VerifiedForm::Standard;
        let question =
            TokenQuestion { token: token.text(), audiences: &audiences, form, caller, role: None, once: None };
        let verdict = match self.verifier.verify(&question, SystemTime::now()) {
            Ok(verified) => {
                let app = verified.client().identity().and_then(|identity| identity.app);
                format!("permit, app {}", app.map(|app| app.to_string()).unwrap_or_default())
            }
            Err(denial) => format!("denial, {}; {denial}", denial.reason.as_str()),
        };
        reporter::print(receiver, &format!("{how}{verdict}"))
    }
}

/// Shows it again and again, with the pair that is in service then, once it was told what is running. Ends only by a fault; never, if there
/// is nothing to show.
pub(super) async fn show_again_and_again(
    demo: Option<TokenDemo>,
    shown: watch::Receiver<Vec<ServedCertificate>>,
    mut introduced: watch::Receiver<bool>,
) -> Fault {
    let told = introduced.wait_for(|introduced| *introduced).await.map(drop);
    let (Some(demo), Ok(())) = (demo, told) else {
        // Nothing is asked for; or the sidecar is gone, and ends the demo itself.
        return std::future::pending().await;
    };
    match demo.rounds(shown).await {
        Err(fault) => fault,
        Ok(never) => match never {},
    }
}

/// Makes a token and tells of it. `None`: the pair is about to expire, which is told.
fn make(pair: &Pair, request: &TokenRequest, what: &str) -> Result<Option<IssuedToken>, Fault> {
    let ttl = text::duration(TTL);
    match issue(pair, request, SystemTime::now()) {
        Ok(token) => {
            let size = token.text().len();
            reporter::print("token", &format!("made for {RECEIVER}, {what}: {ttl} to live, {size} bytes"))?;
            Ok(Some(token))
        }
        Err(error) => {
            reporter::print("token", &format!("not made: {error}"))?;
            Ok(None)
        }
    }
}
