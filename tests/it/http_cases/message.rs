//! A reader of HTTP/1.1 that is stricter than any server has to be, and owes nothing to the crates that the program reads with.

use super::cases::latin1;

/// Fields in their order. Names in lower case; values without the blanks around them.
pub(super) type Fields = Vec<(String, String)>;

/// What the body's end is told by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    NoBody,
    Length(usize),
    Chunked,
    /// The end of the connection.
    UntilEnd,
}

/// A request, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) fields: Fields,
    pub(super) body: String,
    pub(super) trailers: Fields,
    pub(super) framing: Framing,
}

/// An answer, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) fields: Fields,
    pub(super) body: String,
    pub(super) trailers: Fields,
    /// As `HTTP/1.1`.
    pub(super) version: String,
}

/// A message and how many bytes it took; `None` while it is not whole.
pub(super) type Read<T> = Result<Option<(T, usize)>, String>;

/// The values of a field.
pub(super) fn values<'a>(fields: &'a Fields, name: &str) -> Vec<&'a str> {
    fields.iter().filter(|(of, _)| of == name).map(|(_, value)| value.as_str()).collect()
}

/// The elements of a field that is a list of words, in lower case.
pub(super) fn words(fields: &Fields, name: &str) -> Vec<String> {
    let lists = values(fields, name);
    let words = lists.iter().flat_map(|list| list.split(',')).map(|word| word.trim().to_ascii_lowercase());
    words.filter(|word| !word.is_empty()).collect()
}

/// The request at the front of `bytes`.
pub(super) fn request(bytes: &[u8]) -> Read<Request> {
    let Some((line, fields, at)) = head(bytes)? else { return Ok(None) };
    let [method, target, version] = line.split(' ').collect::<Vec<_>>()[..] else {
        return Err(format!("a request-line that is not three words: {line:?}"));
    };
    if method.is_empty() || !method.bytes().all(is_token) {
        return Err(format!("no method: {method:?}"));
    }
    if target.is_empty() || target.chars().any(char::is_control) || target.contains('#') {
        return Err(format!("no target: {target:?}"));
    }
    if version != "HTTP/1.1" {
        return Err(format!("the version is {version:?}"));
    }
    let framing = framing(&fields)?.unwrap_or(Framing::NoBody);
    let Some((body, trailers, end)) = body(framing, bytes, at, false)? else { return Ok(None) };
    let (method, target) = (method.to_owned(), target.to_owned());
    Ok(Some((Request { method, target, fields, body, trailers, framing }, end)))
}

/// The answer at the front of `bytes`, which was not to HEAD. `ended`: nothing follows, and that is no accident.
pub(super) fn answer(bytes: &[u8], ended: bool) -> Read<Answer> {
    let Some((line, fields, at)) = head(bytes)? else { return Ok(None) };
    let (version, rest) = line.split_once(' ').ok_or_else(|| format!("no status-line: {line:?}"))?;
    if version != "HTTP/1.1" {
        return Err(format!("the version is {version:?}"));
    }
    let (status, reason) = rest.split_once(' ').ok_or_else(|| format!("no status-line: {line:?}"))?;
    if status.len() != 3 || reason.chars().any(|c| c.is_control() && c != '\t') {
        return Err(format!("no status-line: {line:?}"));
    }
    let status = status.parse().map_err(|_| format!("no status: {line:?}"))?;
    let framing = match status {
        100..200 | 204 | 304 => Framing::NoBody,
        _ => framing(&fields)?.unwrap_or(Framing::UntilEnd),
    };
    let Some((body, trailers, end)) = body(framing, bytes, at, ended)? else { return Ok(None) };
    Ok(Some((Answer { status, fields, body, trailers, version: version.to_owned() }, end)))
}

/// An answer as far as it came, with its body as it stands on the wire.
pub(super) fn beginning(bytes: &[u8]) -> Option<Answer> {
    let (line, fields, at) = head(bytes).ok()??;
    let (version, rest) = line.split_once(' ')?;
    let (status, version) = (rest.get(..3)?.parse().ok()?, version.to_owned());
    Some(Answer { status, fields, body: latin1(&bytes[at..]), trailers: Fields::new(), version })
}

/// The first line, the fields, and where the head ends.
fn head(bytes: &[u8]) -> Result<Option<(String, Fields, usize)>, String> {
    let Some((line, at)) = line(bytes, 0)? else { return Ok(None) };
    let Some((fields, at)) = fields(bytes, at)? else { return Ok(None) };
    Ok(Some((line, fields, at)))
}

/// The line at `at` and where the next one begins.
fn line(bytes: &[u8], at: usize) -> Result<Option<(String, usize)>, String> {
    let rest = &bytes[at..];
    let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else { return Ok(None) };
    match rest.get(end..end + 2) {
        Some(b"\r\n") => Ok(Some((latin1(&rest[..end]), at + end + 2))),
        None if rest[end] == b'\r' => Ok(None),
        _ => Err(format!("a line that does not end in CR LF: {:?}", latin1(&rest[..end]))),
    }
}

/// Fields and the empty line behind them.
fn fields(bytes: &[u8], mut at: usize) -> Result<Option<(Fields, usize)>, String> {
    let mut fields = Fields::new();
    loop {
        let Some((line, next)) = line(bytes, at)? else { return Ok(None) };
        at = next;
        if line.is_empty() {
            return Ok(Some((fields, at)));
        }
        let (name, value) = line.split_once(':').ok_or_else(|| format!("no field: {line:?}"))?;
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(format!("no field name: {line:?}"));
        }
        let value = value.trim_matches([' ', '\t']);
        if value.chars().any(|c| c != '\t' && c.is_ascii_control()) {
            return Err(format!("a control character in a field: {line:?}"));
        }
        fields.push((name.to_ascii_lowercase(), value.to_owned()));
    }
}

/// What frames the body, if anything does.
fn framing(fields: &Fields) -> Result<Option<Framing>, String> {
    match (&values(fields, "content-length")[..], &values(fields, "transfer-encoding")[..]) {
        ([], []) => Ok(None),
        ([], ["chunked"]) => Ok(Some(Framing::Chunked)),
        ([length], []) if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => {
            Ok(Some(Framing::Length(length.parse().map_err(|_| format!("a length of {length}"))?)))
        }
        (lengths, codings) => Err(format!("framed by Content-Length {lengths:?} and Transfer-Encoding {codings:?}")),
    }
}

/// The body that begins at `at`, the trailers, and where they end.
fn body(framing: Framing, bytes: &[u8], at: usize, ended: bool) -> Result<Option<(String, Fields, usize)>, String> {
    match framing {
        Framing::NoBody => Ok(Some((String::new(), Fields::new(), at))),
        Framing::Length(length) if bytes.len() - at < length => Ok(None),
        Framing::Length(length) => Ok(Some((latin1(&bytes[at..at + length]), Fields::new(), at + length))),
        Framing::UntilEnd if !ended => Ok(None),
        Framing::UntilEnd => Ok(Some((latin1(&bytes[at..]), Fields::new(), bytes.len()))),
        Framing::Chunked => chunks(bytes, at),
    }
}

fn chunks(bytes: &[u8], mut at: usize) -> Result<Option<(String, Fields, usize)>, String> {
    let mut body = String::new();
    loop {
        let Some((size, next)) = line(bytes, at)? else { return Ok(None) };
        // No extensions: they are never forwarded.
        if size.is_empty() || size.len() > 8 || !size.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(format!("no size of a chunk: {size:?}"));
        }
        let size = usize::from_str_radix(&size, 16).unwrap();
        if size == 0 {
            return Ok(fields(bytes, next)?.map(|(trailers, end)| (body, trailers, end)));
        }
        match bytes.get(next..next + size + 2) {
            None => return Ok(None),
            Some(chunk) if chunk.ends_with(b"\r\n") => body.push_str(&latin1(&chunk[..size])),
            Some(_) => return Err(format!("a chunk of {size} that does not end behind it")),
        }
        at = next + size + 2;
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_once_it_is_whole_and_no_byte_more() {
        let text =
            b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\nGET";
        for end in 0..text.len() - 3 {
            assert_eq!(request(&text[..end]), Ok(None), "{end}");
        }
        let (read, length) = request(text).unwrap().unwrap();
        assert_eq!((read.body.as_str(), &read.trailers[..], length), ("abc", &[("x-t".into(), "1".into())][..], 78));
        assert_eq!(read.framing, Framing::Chunked);
    }

    #[test]
    fn whatever_two_readers_could_take_differently_is_a_fault() {
        for head in [
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
            "GET  / HTTP/1.1\r\n\r\n",
            "GET /a#b HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.1\r\nX : a\r\n\r\n",
            "GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
            "GET / HTTP/1.1\r\nX: \0\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
            "GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\na",
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\na\r\n0\r\n\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
        ] {
            assert!(request(head.as_bytes()).is_err(), "{head:?}");
        }
    }

    #[test]
    fn an_answer_without_framing_lasts_until_a_clean_end() {
        let text = b"HTTP/1.1 200 OK\r\n\r\nok";
        assert_eq!(answer(text, false), Ok(None));
        assert_eq!(answer(text, true).unwrap().unwrap().0.body, "ok");
        let text = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 20\r\n\r\nHTTP/1.1";
        assert_eq!(answer(text, false).unwrap().unwrap().1, text.len() - 8);
    }
}
