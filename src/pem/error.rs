//! Why a text is refused.

/// Why a text is refused: what is wrong, in which line, and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct PemError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong.
    pub fault: PemFault,
}

/// What may be wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PemFault {
    /// It ends within a block or a mark, as one that is being written does.
    #[error("it ends in the middle of a block")]
    Torn,
    /// The line breaks within a block are gone.
    #[error("the line breaks are missing: one line of {0} characters; write the text with its line breaks")]
    LineBreaksMissing(usize),
    /// Line breaks are written as `\n`.
    #[error("the line breaks are written as \\n; write the text with real line breaks")]
    LineBreaksEscaped,
    /// A BEGIN mark without its last dashes.
    #[error("a BEGIN mark without its end; write the block anew")]
    MarkUnclosed,
    /// A block is followed by another one without its END mark.
    #[error("a block without its END mark; write it anew")]
    NoEnd,
    /// An END mark behind no BEGIN mark, which may be there in another spelling.
    #[error("an END mark without its BEGIN mark; write the block anew")]
    NoBegin,
    /// Base64 outside of all blocks.
    #[error("base64 that stands in no block; write its BEGIN mark exactly as -----BEGIN LABEL-----, or take it out")]
    NoMarks,
    /// BEGIN and END do not have the same label.
    #[error("a block's BEGIN and END marks have different labels; write it anew")]
    OtherEnd,
    /// What is between the marks is not base64.
    #[error("what stands between the marks is not base64; write the block anew")]
    NotBase64,
    /// Nothing is between the marks.
    #[error("nothing stands between the marks; write the block anew")]
    Empty,
    /// The settings of a trusted certificate cannot be read.
    #[error("a TRUSTED CERTIFICATE that cannot be read; give the certificate alone: openssl x509 -in FILE -out PLAIN")]
    TrustSettings,
}
