//! What the fuzz target of answers over HTTP holds: those of CredHub and Vault, or of whoever stands in their place.

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::{ApiError, ApiResponse};

/// Bytes that a body may have here.
const MAX_BODY: usize = 4096;

/// What is on its way at once, in bytes.
const ON_THE_WAY: usize = 1 << 20;

/// The most that may be said of what is wrong, in bytes.
const LONGEST_ERROR: usize = 400;

/// Has a server answer one request with `bytes`, in pieces of `piece`, and close. The status, if it was a whole answer.
///
/// # Panics
/// Where the answer is larger than it may be, or is not what stands in `bytes`; where more is said of an error than helps.
pub async fn exchange(bytes: &[u8], piece: usize) -> Option<u16> {
    match asked(bytes, piece.max(1)).await {
        Ok(ApiResponse { status, body, .. }) => {
            assert!(body.len() <= MAX_BODY);
            assert!(!status.is_informational() || status.as_u16() == 101, "{status} comes before an answer");
            let line = format!("{}", status.as_u16());
            assert!(bytes.windows(3).any(|three| three == line.as_bytes()), "{status} was not said");
            let is_said = |byte: &u8| bytes.contains(byte);
            assert!(body.iter().all(is_said) && body.len() < bytes.len(), "the body was not said");
            Some(status.as_u16())
        }
        Err(error) => {
            let said = error.to_string();
            assert!(said.len() <= LONGEST_ERROR, "{said}");
            None
        }
    }
}

async fn asked(bytes: &[u8], piece: usize) -> Result<ApiResponse, ApiError> {
    let (client, mut server) = duplex(ON_THE_WAY);
    let answer = async {
        let mut question = [0; 1024];
        let _ = server.read(&mut question).await;
        for piece in bytes.chunks(piece) {
            // Whoever has enough closes.
            if server.write_all(piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(server);
    };
    let request = Request::new(Full::new(Bytes::new()));
    tokio::join!(super::exchange(client, request, MAX_BODY), answer).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_is_the_same_however_it_is_cut() {
        let long = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(MAX_BODY + 1));
        for (answer, status) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", Some(200)),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
                Some(404),
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}", None),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n", None),
            ("SSH-2.0-OpenSSH_9.2\r\n", None),
            ("", None),
            (&long, None),
        ] {
            for piece in [1, 7, usize::MAX] {
                assert_eq!(exchange(answer.as_bytes(), piece).await, status, "{piece}: {answer:.80}");
            }
        }
    }
}
