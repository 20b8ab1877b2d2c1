//! The differences that are wanted, each with its reason. Whatever else differs is a fault.

use super::report::Verdict;

/// A difference that is wanted. In all three texts `*` stands for anything.
struct Expected {
    case: &'static str,
    envoy: &'static str,
    vestibule: &'static str,
    reason: &'static str,
}

/// Of what a client hears that is not on the list.
const UNLISTED: &str = "A client that is not on the list hears 42, of which gorouter makes a 496 and asks elsewhere; of 46 it makes a 502.";

/// Of what a client hears that has no certificate.
const NAMELESS: &str =
    "A client without a certificate hears 116 in TLS 1.2 too, of which gorouter makes a 496; of 40 it makes a 525.";

/// Of an app that refuses.
const APP_DOWN: &str = "The app is dialled before the handshake is answered, and if it refuses the client is reset: gorouter asks another instance, \
                        whatever the method, and leaves this one alone for 30 seconds.";

const ALL: &[Expected] = &[
    Expected {
        case: "openssl: tls1*",
        envoy: "*tlsv1 alert protocol version*",
        vestibule: "*handshake failure*",
        reason: "Both refuse TLS 1.0 and 1.1. rustls sees first that such a client names no signature algorithms, and says 40 rather than 70.",
    },
    Expected {
        case: "offers: *, groups P-384*",
        envoy: "*",
        vestibule: "*secp384r1, ALPN none",
        reason: "Vestibule speaks P-384 as well; Envoy's default is X25519MLKEM768, X25519 and P-256.",
    },
    Expected {
        case: "offers: TLS 1.3, groups X25519, X25519MLKEM768",
        envoy: "*X25519MLKEM768, ALPN none",
        vestibule: "*X25519, ALPN none",
        reason: "Vestibule takes a group of which the client has sent a share; Envoy asks for the share of another one, at the price of a round trip.",
    },
    Expected {
        case: "bytes: *, the client sends FIN without close_notify, then the app answers",
        envoy: "app: 0 bytes, FIN; answer sent; client: 6 bytes, close_notify",
        vestibule: "app: 0 bytes, RST; answer RST; client: 0 bytes, FIN",
        reason: "A client whose TCP ends without close_notify was cut off: the app is reset, so that a part of an upload never looks like the whole.",
    },
    Expected {
        case: "bytes: *, the app closes after its answer",
        envoy: "client: 4 bytes, close_notify, then open",
        vestibule: "client: 4 bytes, close_notify, then FIN",
        reason: "FIN follows close_notify at once; Envoy sends it when the client has closed as well.",
    },
    Expected {
        case: "bytes: *, the app *",
        envoy: "client: * bytes, RST, then FIN",
        vestibule: "client: * bytes, FIN, then FIN",
        reason: "An app that resets ends the client's connection by FIN without close_notify after all that it wrote: never by RST, which may overtake bytes, and after which a router does not \
                 retry.",
    },
    Expected {
        case: "clients: *",
        envoy: "alert 46 CertificateUnknown *",
        vestibule: "alert 42 BadCertificate *",
        reason: UNLISTED,
    },
    Expected {
        case: "clients: *TLS 1.2, no certificate",
        envoy: "alert 40 HandshakeFailure in the handshake",
        vestibule: "alert 116 CertificateRequired in the handshake",
        reason: NAMELESS,
    },
    Expected {
        case: "app down: *, gorouter's *",
        envoy: "* retried; *",
        vestibule: "always retried; marked",
        reason: APP_DOWN,
    },
    Expected { case: "app down: *, a client *", envoy: "*", vestibule: "rst *", reason: APP_DOWN },
    Expected { case: "app down: *, a client *", envoy: "*", vestibule: "RST in the handshake", reason: APP_DOWN },
    Expected {
        case: "strangers: *",
        envoy: "connections*",
        vestibule: "connections*: 0",
        reason: "The app is dialled for a whole ClientHello, and not for a health check.",
    },
    Expected {
        case: "strangers: *",
        envoy: "*, FIN",
        vestibule: "alert 50 (level 2), FIN",
        reason: "What is no ClientHello is answered by alert 50, decode_error; Envoy's answer depends on what BoringSSL takes it for.",
    },
    Expected {
        case: "strangers: a silent client after 12 s",
        envoy: "open",
        vestibule: "FIN",
        reason: "A handshake may take ten seconds.",
    },
    Expected {
        case: "retirement: an idle connection, 2.5 s later",
        envoy: "open",
        vestibule: "close_notify",
        reason: "Idle connections are closed gently while the instance is going, so that routers let go of them before the app ends.",
    },
    Expected {
        case: "clients: empty roots*",
        envoy: "* in the handshake",
        vestibule: "alert *",
        reason: "Without roots nobody is let in by either. Envoy does not take such a file, and closes; Vestibule names the reason by its alert.",
    },
    Expected {
        case: "rotation: *, the stranger after its name was taken from the list",
        envoy: "alert 46 CertificateUnknown after it",
        vestibule: "alert 42 BadCertificate after it",
        reason: UNLISTED,
    },
    Expected {
        case: "rotation: *, a connection from before all this",
        envoy: "served",
        vestibule: "close_notify",
        reason: "A connection whose client would not be let in any more is closed; Envoy keeps it for as long as both ends like.",
    },
    Expected {
        case: "openssl: tls1_2, no certificate",
        envoy: "*sslv3 alert handshake failure",
        vestibule: "*tlsv13 alert certificate required",
        reason: NAMELESS,
    },
];

/// What comes of a comparison.
pub(super) fn judge(case: &str, envoy: &str, vestibule: &str) -> Verdict {
    if envoy == vestibule {
        return Verdict::Same;
    }
    let fits = |it: &&Expected| is_like(it.case, case) && is_like(it.envoy, envoy) && is_like(it.vestibule, vestibule);
    ALL.iter().find(fits).map_or(Verdict::Differs, |it| Verdict::Expected(it.reason))
}

/// Whether `text` is what `pattern` says.
fn is_like(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            (0..=text.len()).filter(|at| text.is_char_boundary(*at)).any(|at| is_like(rest, &text[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        assert!(is_like("a*c", "abbc") && is_like("*", "") && is_like("a", "a"));
        assert!(!is_like("a*c", "abcd") && !is_like("a", "ab"));
    }

    #[test]
    fn what_is_alike_needs_no_reason_and_what_is_not_has_to_have_one() {
        assert_eq!(judge("anything", "same", "same"), Verdict::Same);
        assert_eq!(judge("anything", "this", "that"), Verdict::Differs);
    }
}
