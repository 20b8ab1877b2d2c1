//! What the head of an answer over HTTP/1.1 says of its end, read line by line (RFC 9112, 4 and 6).

/// How an answer begins (RFC 9112, 4).
pub(super) const ANSWER: &[u8] = b"HTTP/1.";

/// What is known of it so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct AnswerHead {
    /// `None`: its first line has not come, or says none.
    pub(super) status: Option<u16>,
    /// Content-Length, where it is a number of so many bits.
    pub(super) length: Option<u32>,
    pub(super) chunked: bool,
}

impl AnswerHead {
    /// Reads its next `line`, of which the end may be there or not. Whether it was the last one.
    pub(super) fn read_line(&mut self, line: &[u8]) -> bool {
        // Two letters tell most lines from those that matter: every answer pays for this.
        let is_at = |at: usize, letter: u8| line.get(at).is_some_and(|byte| byte.eq_ignore_ascii_case(&letter));
        match line.first() {
            Some(b'h' | b'H') if self.status.is_none() && line.starts_with(ANSWER) => self.status = status(line),
            Some(b'c' | b'C') if is_at(8, b'l') => {
                if let Some(value) = field(line, b"content-length:") {
                    self.length = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
                }
            }
            Some(b't' | b'T') if is_at(9, b'e') => {
                if let Some(value) = field(line, b"transfer-encoding:") {
                    self.chunked = value.to_ascii_lowercase().ends_with(b"chunked");
                }
            }
            // Empty lines in front of it are nothing.
            None | Some(b'\r' | b'\n') => return self.status.is_some() && line.trim_ascii().is_empty(),
            Some(_) => {}
        }
        false
    }
}

/// What the first `line` of an answer says became of the request.
fn status(line: &[u8]) -> Option<u16> {
    std::str::from_utf8(line.get(9..12)?).ok()?.parse().ok()
}

/// The value of `line` if `name`, in small letters and with its colon, is what it begins with.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, value) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}
