//! Which names of fields speak of an identity, in whatever spelling.

/// The fields by which some proxy says who calls, each as a server sees it that takes all but letters and digits for `-`.
const IDENTITY_NAMES: [&str; 6] = [
    "x-forwarded-client-cert",
    "client-cert",
    "client-cert-chain",
    "x-forwarded-tls-client-cert",
    "x-forwarded-tls-client-cert-info",
    "l5d-client-id",
];

/// How our own begin.
const OWN: &str = "x-vestibule-";

/// Whether a field of this name says who calls, for some server: CGI, WSGI, Rack and PHP read `_` and `-` as one, others whatever is
/// neither letter nor digit. Nothing is allocated.
pub fn is_identity_name(name: &str) -> bool {
    let is = |known: &&str| known.len() == name.len() && starts_with(name, known);
    starts_with(name, OWN) || IDENTITY_NAMES.iter().any(is)
}

/// How the fields begin by which proxies, gorouter among them, say where a request comes from and goes to.
const ORIGIN: [&str; 3] = ["x-forwarded-", "x-cf-", "x-vcap-"];

/// Whether a field of this name says, for some server, where a request comes from: `X-Forwarded-*`, `Forwarded`, `X-Cf-*`, `X-Vcap-*`. Nothing
/// is allocated.
pub fn is_origin_name(name: &str) -> bool {
    name.eq_ignore_ascii_case("forwarded") || ORIGIN.iter().any(|start| starts_with(name, start))
}

/// Whether a name is written with letters, digits and `-` alone, so that every server reads it as the same.
pub fn is_exact_spelling(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Whether `name`, as a careless server reads it, begins with `start`.
fn starts_with(name: &str, start: &str) -> bool {
    let Some(head) = name.as_bytes().get(..start.len()) else { return false };
    head.iter().zip(start.bytes()).all(|(byte, wanted)| match byte.is_ascii_alphanumeric() {
        true => byte.to_ascii_lowercase() == wanted,
        false => wanted == b'-',
    })
}

#[cfg(test)]
mod tests {
    use super::{is_exact_spelling, is_identity_name, is_origin_name};

    #[test]
    fn names_that_speak_of_identities_are_known_in_every_spelling() {
        for name in [
            "x-forwarded-client-cert",
            "X-FORWARDED-CLIENT-CERT",
            "X_Forwarded_Client_Cert",
            "X-Forwarded_Client-Cert",
            "X.Forwarded.Client.Cert",
            "x~forwarded!client|cert",
            "Client-Cert",
            "client_cert_chain",
            "X-Forwarded-Tls-Client-Cert",
            "X-Forwarded-Tls-Client-Cert-Info",
            "l5d-client-id",
            "L5D_CLIENT_ID",
            "x-vestibule-app",
            "X_Vestibule_Space",
            "X-Vestibule-",
            "x-vestibule-whatever-comes",
        ] {
            assert!(is_identity_name(name), "{name}");
        }
    }

    #[test]
    fn other_names_are_left_alone() {
        for name in [
            "",
            "x",
            "x-forwarded-for",
            "x-forwarded-client-cer",
            "x-forwarded-client-certs",
            "x--forwarded-client-cert",
            "xforwardedclientcert",
            "client-certificate",
            "x-vestibule",
            "x-vestibules-app",
            "vestibule-app",
            "l5d-client-idx",
            "é-forwarded-client-cert",
        ] {
            assert!(!is_identity_name(name), "{name}");
        }
    }

    #[test]
    fn names_that_speak_of_origins_are_known_in_every_spelling() {
        for name in [
            "X-Forwarded-For",
            "X_Forwarded_Proto",
            "x.forwarded.host",
            "Forwarded",
            "x-cf-applicationid",
            "X_Vcap_Request_Id",
        ] {
            assert!(is_origin_name(name), "{name}");
        }
        for name in ["", "x-forwarded", "xforwardedfor", "x-cfx", "forwarded-for", "x-vcap", "traceparent"] {
            assert!(!is_origin_name(name), "{name}");
        }
    }

    #[test]
    fn only_letters_digits_and_dashes_are_an_exact_spelling() {
        for name in ["X-Forwarded-Client-Cert", "l5d-client-id"] {
            assert!(is_exact_spelling(name), "{name}");
        }
        for name in ["X_Forwarded-Client-Cert", "x.y", "a b", "é"] {
            assert!(!is_exact_spelling(name), "{name}");
        }
    }
}
