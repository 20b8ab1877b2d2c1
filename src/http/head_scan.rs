//! Where each HTTP/1.1 request begins and ends in a stream of bytes, and which heads are refused before anybody acts on them.
//!
//! Two programs that read one head in two ways are how requests are smuggled: so what may be read in two ways is refused
//! (RFC 9112, 2.2, 5.1, 5.2, 6.3 and 11.2). The lines are read by the parser that hyper reads them with.

use memchr::memchr;

use super::chunk_scan::{CHUNK, ChunkScan, ChunkStep, SizeRules};
use super::head_rejection::HeadRejection;
use super::head_rules::{HeadRules, HttpRole, MAX_FIELDS};
use super::host_check::names_server;

/// The longest body that can be announced: hyper has another use for the two numbers above it.
const MAX_LENGTH: u64 = u64::MAX - 2;

/// What a head says of what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestHead {
    /// Where its body ends.
    pub(crate) body: BodyLength,
    /// What follows may be another protocol, if that is answered.
    pub(crate) switch: Option<UpgradeRequest>,
    /// It is for a server and for nothing on it: a URL with neither path nor query (RFC 9112, 3.2.4).
    pub(crate) is_for_server: bool,
    /// There was a fragment behind its target, which hyper cuts.
    pub(crate) has_fragment: bool,
}

/// How another protocol is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UpgradeRequest {
    /// By an upgrade that is not to HTTP/2 (RFC 9110, 7.8).
    Upgrade,
    /// By CONNECT (RFC 9110, 9.3.6).
    Connect,
}

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyLength {
    /// After so many bytes.
    Known(u64),
    /// With a chunk of no length.
    Chunked,
}

/// The complete head at the beginning of `head`, judged by `rules`.
fn judge(head: &[u8], rules: &HeadRules) -> Result<RequestHead, HeadRejection> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields[..rules.max_fields.min(MAX_FIELDS)]);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(HeadRejection::NotHttp),
        Err(httparse::Error::TooManyHeaders) => return Err(HeadRejection::TooManyFields),
        Err(httparse::Error::HeaderName | httparse::Error::HeaderValue) => return Err(HeadRejection::BadField),
        Err(_) => return Err(HeadRejection::NotHttp),
    }
    let target = request.path.unwrap_or_default();
    if target.len() > rules.max_target {
        return Err(HeadRejection::TargetTooLong);
    }
    let has_fragment = target.contains('#');
    if !is_target(request.method, target) || has_fragment && rules.role == HttpRole::ForwardProxy {
        return Err(HeadRejection::BadTarget);
    }
    if has_bare_lf(head) {
        return Err(HeadRejection::BareLf);
    }
    let (mut length, mut coding, mut hosts, mut upgrades) = (None, None, 0, Vec::new());
    for httparse::Header { name, value } in request.headers.iter() {
        let slot = match name {
            name if name.eq_ignore_ascii_case("content-length") => &mut length,
            name if name.eq_ignore_ascii_case("transfer-encoding") => &mut coding,
            name if name.eq_ignore_ascii_case("upgrade") => {
                upgrades.push(*value);
                continue;
            }
            name if name.eq_ignore_ascii_case("host") => {
                hosts += 1;
                if !is_host(value) || rules.role == HttpRole::Server && !names_server(value) {
                    return Err(HeadRejection::BadHost);
                }
                continue;
            }
            _ => continue,
        };
        match (slot.replace(*value), name.len()) {
            (None, _) => {}
            (Some(_), 14) => return Err(HeadRejection::BadLength),
            (Some(_), _) => return Err(HeadRejection::BadCoding),
        }
    }
    match (hosts, rules.role, request.version) {
        // HTTP/1.0 knows no Host.
        (0, HttpRole::Server, Some(1)) => return Err(HeadRejection::BadHost),
        (0 | 1, ..) => {}
        _ => return Err(HeadRejection::TwoHosts),
    }
    let body = match (length, coding) {
        (Some(_), Some(_)) => return Err(HeadRejection::LengthAndCoding),
        (None, None) => BodyLength::Known(0),
        (Some(length), None) => BodyLength::Known(parse_length(length)?),
        // HTTP/1.0 knows no codings.
        (None, Some(coding)) if coding.eq_ignore_ascii_case(b"chunked") && request.version == Some(1) => {
            BodyLength::Chunked
        }
        (None, Some(coding))
            if rules.role == HttpRole::Server && request.version == Some(1) && is_coded_and_chunked(coding) =>
        {
            return Err(HeadRejection::UnknownCoding);
        }
        (None, Some(_)) => return Err(HeadRejection::BadCoding),
    };
    let is_connect = request.method == Some("CONNECT");
    if is_connect && rules.role == HttpRole::Server {
        return Err(HeadRejection::NoTunnel);
    }
    if is_connect && body != BodyLength::Known(0) {
        return Err(HeadRejection::BodyOfConnect);
    }
    // Another protocol is asked for by GET (RFC 6455, 4.1), and some servers pass by the rules of a method that others stand for.
    let is_upgrade = request.version == Some(1)
        && (request.method == Some("GET") || rules.role == HttpRole::ForwardProxy)
        && body == BodyLength::Known(0)
        && matches!(upgrades[..], [protocol] if rules.upgrades.allow(protocol))
        && nominates_upgrade(request.headers);
    let switch = match (is_connect, is_upgrade) {
        (true, _) => Some(UpgradeRequest::Connect),
        (false, true) => Some(UpgradeRequest::Upgrade),
        (false, false) => None,
    };
    let is_for_server =
        !target.starts_with('/') && target.split_once("://").is_some_and(|(_, behind)| !behind.contains(['/', '?']));
    Ok(RequestHead { body, switch, is_for_server, has_fragment })
}

/// Whether `target` is one that `method` may have (RFC 9112, 3.2).
fn is_target(method: Option<&str>, target: &str) -> bool {
    let Ok(uri) = hyper::Uri::try_from(target) else { return false };
    let is_authority = uri.authority().is_some() && uri.scheme().is_none();
    is_authority == (method == Some("CONNECT")) && (target != "*" || method == Some("OPTIONS"))
}

/// Whether `codings` is a list of known codings that ends with `chunked`, once (RFC 9112, 7): a message that somebody could read, and not
/// one that is read in two ways.
fn is_coded_and_chunked(codings: &[u8]) -> bool {
    const KNOWN: [&str; 5] = ["gzip", "x-gzip", "deflate", "compress", "x-compress"];
    let codings: Vec<_> = codings.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).collect();
    let is_known = |coding: &&[u8]| KNOWN.iter().any(|known| coding.eq_ignore_ascii_case(known.as_bytes()));
    match codings.split_last() {
        Some((last, others)) => {
            last.eq_ignore_ascii_case(b"chunked") && !others.is_empty() && others.iter().all(is_known)
        }
        None => false,
    }
}

/// Whether `value` is what stands in Host (RFC 9110, 7.2). It may be empty.
fn is_host(value: &[u8]) -> bool {
    value.is_empty() || !value.contains(&b'@') && hyper::http::uri::Authority::try_from(value).is_ok()
}

/// Whether a Connection field names `upgrade` (RFC 9110, 7.8).
fn nominates_upgrade(fields: &[httparse::Header<'_>]) -> bool {
    let connection = fields.iter().filter(|field| field.name.eq_ignore_ascii_case("connection"));
    connection
        .flat_map(|field| field.value.split(|byte| *byte == b','))
        .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
}

fn parse_length(value: &[u8]) -> Result<u64, HeadRejection> {
    let digits = std::str::from_utf8(value).ok().filter(|value| value.bytes().all(|byte| byte.is_ascii_digit()));
    let length = digits.and_then(|digits| digits.parse().ok());
    length.filter(|length| *length <= MAX_LENGTH).ok_or(HeadRejection::BadLength)
}

fn has_bare_lf(head: &[u8]) -> bool {
    let mut at = 0;
    while let Some(next) = memchr(b'\n', &head[at..]) {
        let lf = at + next;
        if lf == 0 || head[lf - 1] != b'\r' {
            return true;
        }
        at = lf + 1;
    }
    false
}

/// Follows a stream of requests. What it has passed may be read by others; what it has not is kept from them.
#[derive(Debug)]
pub(crate) enum RequestScan {
    /// In a head, of which so many bytes were searched for its end.
    Head(usize),
    /// In a body of which so many bytes are to come.
    Body(u64),
    /// In a body of chunks.
    Chunks(ChunkScan),
    /// Behind a head after which another protocol may begin: nothing is passed.
    Switching(UpgradeRequest),
    /// Behind a head that was refused: nothing is passed.
    Refused,
}

impl Default for RequestScan {
    fn default() -> Self {
        Self::Head(0)
    }
}

/// What became of a look at some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ScanResult {
    /// So many of them may be read by others.
    pub(crate) bytes: usize,
    /// The body does not follow its own rules: the connection is of no use any more.
    pub(crate) is_broken: bool,
}

impl RequestScan {
    /// Looks at `bytes`, the first of which is the first that was not passed yet. Each head that is complete is judged by `rules` and given to
    /// `found`, `heads` of them at most: what follows is not passed.
    pub(crate) fn pass(
        &mut self,
        rules: &HeadRules,
        bytes: &[u8],
        mut heads: usize,
        mut found: impl FnMut(Result<RequestHead, HeadRejection>),
    ) -> ScanResult {
        let mut passed = 0;
        loop {
            let rest = &bytes[passed..];
            match self {
                Self::Switching(_) | Self::Refused => break,
                _ if rest.is_empty() => break,
                Self::Head(_) if heads == 0 => break,
                // One that says at once that it is none need not be waited for: TLS, for one.
                Self::Head(_) if !may_be_method(rest) => {
                    found(Err(HeadRejection::NotHttp));
                    *self = Self::Refused;
                    break;
                }
                Self::Head(searched) => {
                    let Some(end) = end_of_head(rest, *searched) else {
                        let is_other = first_line(rest, *searched).is_some_and(|line| !begins_request(line));
                        *searched = rest.len();
                        if let Some(refusal) = rules.too_long(rest).or(is_other.then_some(HeadRejection::NotHttp)) {
                            found(Err(refusal));
                            *self = Self::Refused;
                        }
                        break;
                    };
                    let judged = match end > rules.max_head {
                        true => Err(rules.too_long(&rest[..end]).unwrap_or(HeadRejection::HeadTooLong)),
                        false => judge(&rest[..end], rules),
                    };
                    found(judged);
                    heads -= 1;
                    *self = match judged {
                        Err(_) => Self::Refused,
                        Ok(RequestHead { switch: Some(switch), .. }) => Self::Switching(switch),
                        Ok(RequestHead { body: BodyLength::Known(0), .. }) => Self::Head(0),
                        Ok(RequestHead { body: BodyLength::Known(length), .. }) => Self::Body(length),
                        Ok(RequestHead { body: BodyLength::Chunked, .. }) => Self::Chunks(CHUNK),
                    };
                    passed += if judged.is_ok() { end } else { 0 };
                }
                Self::Body(left) => {
                    let taken = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    passed += taken;
                    *left -= taken as u64;
                    if *left == 0 {
                        *self = Self::Head(0);
                    }
                }
                Self::Chunks(chunk) => {
                    let (taken, next) = chunk.step(rest, SizeRules::STRICT);
                    passed += taken;
                    match next {
                        ChunkStep::Stay(next) => *chunk = next,
                        ChunkStep::Over => *self = Self::Head(0),
                        ChunkStep::Broken => {
                            *self = Self::Refused;
                            return ScanResult { bytes: passed, is_broken: true };
                        }
                    }
                }
            }
        }
        ScanResult { bytes: passed, is_broken: false }
    }

    /// Whether a head has begun that is not complete, if `held` bytes were not passed.
    pub(crate) fn is_within_head(&self, held: usize) -> bool {
        matches!(self, Self::Head(_)) && held > 0
    }

    /// The head that is under way was not there in time.
    pub(crate) fn give_up(&mut self) {
        *self = Self::Refused;
    }
}

/// Whether `bytes`, of which there may be few yet, may begin with a method, behind empty lines (RFC 9110, 5.6.2).
fn may_be_method(bytes: &[u8]) -> bool {
    let first = bytes.iter().find(|byte| !matches!(byte, b'\r' | b'\n'));
    first.is_none_or(|first| first.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(first))
}

/// The first line of `bytes`, with its end, if that does not lie within the first `searched` of them.
fn first_line(bytes: &[u8], searched: usize) -> Option<&[u8]> {
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let end = start.max(searched) + memchr(b'\n', &bytes[start.max(searched)..])?;
    (memchr(b'\n', &bytes[start..end]).is_none()).then(|| &bytes[start..=end])
}

/// Whether a request begins with this line: other protocols whose clients speak first are told at once, and not when their time is over.
fn begins_request(line: &[u8]) -> bool {
    httparse::Request::new(&mut []).parse(line).is_ok()
}

/// The length of the head at the beginning of `bytes`, if it is complete; the first `searched` bytes were looked at before. Empty lines
/// in front of it are part of it (RFC 9112, 2.2).
fn end_of_head(bytes: &[u8], searched: usize) -> Option<usize> {
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    // The end may lie across the border.
    let mut at = searched.saturating_sub(3).max(start);
    while let Some(next) = memchr(b'\n', &bytes[at..]) {
        let behind = at + next + 1;
        match &bytes[behind..] {
            [b'\n', ..] => return Some(behind + 1),
            [b'\r', b'\n', ..] => return Some(behind + 2),
            _ => at = behind,
        }
    }
    None
}

#[cfg(test)]
mod tests;
