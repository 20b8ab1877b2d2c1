//! The questions that a plan has, each asked once, a few at a time.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::bindings::BindingFolder;
use super::reference::{Reference, SecretTemplate, TemplatePart};
use super::resolved::ResolvedName;
use super::source::{LastError, MAX_AT_ONCE, Request, SecretResponse, SourceError};
use super::variable::{AS_FILE, unfit};
use super::vcap::{self, CredHubBinding, ServiceName};
use super::{Plan, SecretStores, SecretValue, credhub};
use crate::config::{SecretSource, Secrets};
use crate::exit::{Exit, Fault};
use crate::telemetry::{SecretCounters, SecretResult};

/// Names that are told where the time is over.
const MOST_NAMED: usize = 5;

/// One question.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FetchKey {
    Reference(Request),
    /// The credentials of the document in this place.
    Document(usize),
    /// Those of the folder in this place.
    Binding(usize),
}

/// What was answered.
pub(super) enum FetchResult {
    Answer(SecretResponse),
    /// In the order of the bindings.
    Credentials(Vec<SecretValue>),
}

/// Why there is no value.
#[derive(Clone)]
pub(super) enum FetchError {
    /// Its source says why.
    Refused(SourceError),
    /// It was not asked to the end, since something else had failed or the time was over; what the last try came to, if there was one.
    NoAnswer(Option<SourceError>),
}

/// The requests to secret stores, each made once, and their results so far.
pub(super) struct Fetches {
    left: Vec<FetchKey>,
    pub(super) asked: BTreeMap<FetchKey, Option<Result<FetchResult, SourceError>>>,
    last_errors: BTreeMap<FetchKey, Arc<LastError>>,
    running: JoinSet<(FetchKey, Result<FetchResult, SourceError>)>,
}

impl Fetches {
    pub(super) fn of(plan: &Plan) -> Self {
        let references =
            plan.templates().flat_map(SecretTemplate::references).map(|reference| reference.request.clone());
        let documents = plan.documents.iter().enumerate().filter(|(_, document)| !document.found.bindings.is_empty());
        let bindings = plan.bindings.iter().flat_map(|root| root.bindings.iter().enumerate());
        let bindings = bindings.filter(|(_, binding)| binding.reference.is_some());
        let mut left: Vec<_> = references.map(FetchKey::Reference).collect();
        left.extend(documents.map(|(at, _)| FetchKey::Document(at)));
        left.extend(bindings.map(|(at, _)| FetchKey::Binding(at)));
        left.sort();
        left.dedup();
        left.reverse();
        Self { left, asked: BTreeMap::new(), last_errors: BTreeMap::new(), running: JoinSet::new() }
    }

    /// Asks for all of them, a few at a time; with `stops`, until one could not be had. Cancel safe.
    pub(super) async fn run(&mut self, plan: &Plan, sources: &SecretStores, counters: &SecretCounters, stops: bool) {
        loop {
            while self.running.len() < MAX_AT_ONCE
                && let Some(question) = self.left.pop()
            {
                self.asked.insert(question.clone(), None);
                let last_error = Arc::<LastError>::default();
                self.last_errors.insert(question.clone(), Arc::clone(&last_error));
                let asking = ask(question.clone(), plan, sources, last_error);
                self.running.spawn(async move { (question, asking.await) });
            }
            let (question, reply) = match self.running.join_next().await {
                None => return,
                Some(Ok(answered)) => answered,
                // A panic, whose message is on stderr; who asked stays without an answer.
                Some(Err(_)) => continue,
            };
            let (result, fails) = match &reply {
                Ok(_) => (SecretResult::Success, false),
                Err(error) if error.is_missing => (SecretResult::Missing, false),
                Err(_) => (SecretResult::Failed, true),
            };
            counters.count(question.source(), result);
            self.asked.insert(question, Some(reply));
            if fails && stops {
                self.running.abort_all();
                return;
            }
        }
    }

    fn reply(&self, question: &FetchKey) -> Option<&Result<FetchResult, SourceError>> {
        self.asked.get(question).and_then(Option::as_ref)
    }

    /// What the last try to answer `question` came to.
    fn last_error(&self, question: &FetchKey) -> Option<SourceError> {
        self.last_errors.get(question)?.get()
    }

    pub(super) fn overdue(&self, secrets: &Secrets) -> Fault {
        let late: Vec<_> =
            self.asked.iter().filter(|(_, reply)| reply.is_none()).map(|(question, _)| question).collect();
        let more = late.len().saturating_sub(MOST_NAMED) + self.left.len();
        let mut names = late.iter().take(MOST_NAMED).map(ToString::to_string).collect::<Vec<_>>().join(", ");
        if more > 0 {
            names += &format!(" and {more} more");
        }
        let mut what = format!("secrets are not resolved within {:?}: no answer for {names}", secrets.timeout);
        let last_error = late.into_iter().find_map(|question| self.last_error(question));
        if let Some(last_error) = &last_error {
            what += &format!("; the last try: {}", last_error.what);
        }
        let help = last_error.and_then(|last_error| last_error.help);
        let help = help.unwrap_or_else(|| {
            "see whether their server runs and can be reached, or raise --resolve-timeout".to_owned()
        });
        Fault::new(Exit::Unavailable, what).with_help(help)
    }

    /// Which value `reference` stands for; `None`: it may be missing, and is.
    pub(super) fn value(&self, reference: &Reference) -> Result<Option<&SecretValue>, FetchError> {
        let question = FetchKey::Reference(reference.request.clone());
        let value = match self.reply(&question) {
            Some(Ok(FetchResult::Answer(answer))) => answer.part(reference.key.as_deref()),
            Some(Err(error)) => Err(error.clone()),
            Some(Ok(FetchResult::Credentials(_))) | None => {
                return Err(FetchError::NoAnswer(self.last_error(&question)));
            }
        };
        match value {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_missing && reference.optional => Ok(None),
            Err(error) => Err(FetchError::Refused(error)),
        }
    }

    /// Whether all of `template` is there; what no variable called `name` can have is refused.
    fn fits(&self, name: &OsStr, template: &SecretTemplate) -> Result<bool, FetchError> {
        let mut whole = SecretValue::with_capacity(0);
        for piece in &template.0 {
            match piece {
                TemplatePart::Text(text) => whole.push(text.as_bytes()),
                TemplatePart::Reference(reference) => match self.value(reference)? {
                    // A path is short.
                    Some(_) if reference.as_file => {}
                    Some(value) => whole.push(value.bytes()),
                    None => return Ok(false),
                },
            }
        }
        match unfit(name, &whole) {
            None => Ok(true),
            Some(why) => Err(FetchError::Refused(SourceError::failed(format!("it {why}")).with_help(AS_FILE))),
        }
    }

    pub(super) fn credentials(&self, question: &FetchKey) -> Result<&[SecretValue], FetchError> {
        match self.reply(question) {
            Some(Ok(FetchResult::Credentials(credentials))) => Ok(credentials),
            Some(Err(error)) => Err(FetchError::Refused(error.clone())),
            Some(Ok(FetchResult::Answer(_))) | None => Err(FetchError::NoAnswer(self.last_error(question))),
        }
    }

    pub(super) fn names(&self, plan: &Plan, secrets: &Secrets) -> Vec<ResolvedName> {
        let to_error = |gap: FetchError| match gap {
            FetchError::Refused(error) => error,
            FetchError::NoAnswer(last_error) => {
                let what = format!("there was no answer within {:?}", secrets.timeout);
                match last_error {
                    Some(SourceError { what: last, help, .. }) => {
                        SourceError { help, ..SourceError::failed(format!("{what}; the last try: {last}")) }
                    }
                    None => SourceError::failed(what),
                }
            }
        };
        let of_template = |template: &SecretTemplate| {
            let mut values = template.references().map(|reference| self.value(reference).map(|value| value.is_some()));
            values.try_fold(true, |all, is_there| Ok::<_, FetchError>(all && is_there?))
        };
        // In the order of the names.
        let mut results: Vec<_> = plan.variables.iter().map(|(name, template)| self.fits(name, template)).collect();
        for (at, document) in plan.documents.iter().enumerate() {
            results.extend(document.found.strings.iter().map(|string| of_template(&string.template)));
            let credentials = self.credentials(&FetchKey::Document(at)).map(|_| true);
            results.extend(document.found.bindings.iter().map(|_| credentials.clone()));
        }
        for (at, binding) in plan.bindings.iter().flat_map(|root| root.bindings.iter().enumerate()) {
            results.extend(binding.templates.iter().map(|(_, template)| of_template(template)));
            if binding.reference.is_some() {
                results.push(self.credentials(&FetchKey::Binding(at)).map(|_| true));
            }
        }
        let results = results.into_iter().map(|result| result.map_err(to_error));
        plan.names()
            .into_iter()
            .zip(results)
            .map(|((name, request), result)| ResolvedName { name, request, result })
            .collect()
    }
}

/// The future of an answer, which borrows nothing.
fn ask(
    question: FetchKey,
    plan: &Plan,
    sources: &SecretStores,
    last_error: Arc<LastError>,
) -> impl Future<Output = Result<FetchResult, SourceError>> + Send + use<> {
    let credhub = sources.credhub.clone();
    let (source, document) = match &question {
        FetchKey::Reference(request) => (sources.source(request.source()), None),
        FetchKey::Document(at) => {
            let document = plan.documents.get(*at);
            (None, document.map(|document| (document.text.clone(), document.found.bindings.clone())))
        }
        FetchKey::Binding(at) => {
            let binding = plan.bindings.as_ref().and_then(|root| root.bindings.get(*at));
            (None, binding.and_then(document_of))
        }
    };
    async move {
        let nobody = || SourceError::failed("nobody was set up to answer it");
        match question {
            FetchKey::Reference(request) => {
                source.ok_or_else(nobody)?.fetch(&request, &last_error).await.map(FetchResult::Answer)
            }
            FetchKey::Document(_) | FetchKey::Binding(_) => {
                let (text, bindings) = document.ok_or_else(nobody)?;
                let credhub = credhub.ok_or_else(nobody)?;
                credhub.interpolate(&text, &bindings, &last_error).await.map(FetchResult::Credentials)
            }
        }
    }
}

/// The document in which a binding that is a folder is all there is.
fn document_of(binding: &BindingFolder) -> Option<(String, Vec<CredHubBinding>)> {
    let text = String::from_utf8(credhub::alone(binding.reference.as_ref()?).to_vec()).ok()?;
    let mut bindings = vcap::find(&text, &[SecretSource::Credhub]).ok()?.bindings;
    bindings.iter_mut().for_each(|found| found.service = ServiceName::named(&binding.name));
    Some((text, bindings))
}

impl FetchKey {
    fn source(&self) -> SecretSource {
        match self {
            Self::Reference(request) => request.source(),
            Self::Document(_) | Self::Binding(_) => SecretSource::Credhub,
        }
    }
}

impl fmt::Display for FetchKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reference(request) => request.fmt(f),
            Self::Document(_) => f.write_str("the credhub refs of VCAP_SERVICES"),
            Self::Binding(_) => f.write_str("the credhub refs of SERVICE_BINDING_ROOT"),
        }
    }
}
