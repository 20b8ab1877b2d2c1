//! Why the head of a request is refused.

use strum::{IntoStaticStr, VariantArray};

/// Why a head is refused. A closed set: answers, the access log and metrics name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum HeadRejection {
    /// It does not begin as a request does.
    NotHttp,
    /// What it asks for is written in no way that there is.
    BadTarget,
    /// What it asks for is longer than it may be.
    TargetTooLong,
    /// It asks for a tunnel, and there is none here.
    NoTunnel,
    /// The Host field names no server, or is missing where it must not.
    BadHost,
    /// A line is no field, or has bytes that none may have.
    BadField,
    /// A line ends without a carriage return.
    BareLf,
    /// Both a length and a coding say where the body ends.
    LengthAndCoding,
    /// The length is no number, or there are two.
    BadLength,
    /// The body's coding is another than `chunked`, or named twice.
    BadCoding,
    /// The body has a coding below `chunked` that we do not speak.
    UnknownCoding,
    /// CONNECT has a body, which others take for the beginning of the tunnel.
    BodyOfConnect,
    /// There are two Host fields.
    TwoHosts,
    /// It is longer than it may be.
    HeadTooLong,
    /// It has more fields than it may have.
    TooManyFields,
    /// It was not there in time.
    HeadTimeout,
    /// There is no memory for the rest of it.
    Overloaded,
}

impl HeadRejection {
    /// The status of the answer.
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::HeadTooLong | Self::TooManyFields => 431,
            Self::TargetTooLong => 414,
            Self::NoTunnel | Self::UnknownCoding => 501,
            Self::HeadTimeout => 408,
            Self::Overloaded => 503,
            _ => 400,
        }
    }

    /// What is wrong, for people.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::NotHttp => "this is no HTTP/1.1 request; where the client's URL begins with https://, write http://",
            Self::BadTarget => "what the request asks for is neither a path nor a URL, nor HOST:PORT behind CONNECT",
            Self::TargetTooLong => "what the request asks for is too long",
            Self::NoTunnel => "CONNECT is for forward proxies",
            Self::BadHost => "Host is missing, or not HOST or HOST:PORT",
            Self::BadField => "a field of the head is malformed",
            Self::BareLf => "a line of the head ends without a carriage return",
            Self::LengthAndCoding => "Content-Length and Transfer-Encoding stand in one head",
            Self::BadLength => "Content-Length is no number, or stands twice",
            Self::BadCoding => "Transfer-Encoding is not chunked alone",
            Self::UnknownCoding => "Transfer-Encoding names a coding beside chunked that is not known here",
            Self::BodyOfConnect => "CONNECT has a body",
            Self::TwoHosts => "Host stands twice",
            Self::HeadTooLong => "the head is longer than 64 KiB",
            Self::TooManyFields => "the head has more than 100 fields",
            Self::HeadTimeout => "the head did not arrive in time",
            Self::Overloaded => {
                "the memory for requests that have come in part is spent; raise the container's memory limit (or --memory-limit)"
            }
        }
    }
}
