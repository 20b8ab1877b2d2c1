//! What helps where a server of the app's was denied: which setting is to be corrected, where it stands.

use crate::config::SettingsPlace;
use crate::trust::ServerRemedies;

/// Those against a denial by settings that stand at `place`.
pub(super) fn remedies(place: &SettingsPlace) -> ServerRemedies {
    let (expect, ca) = (expect(place), ca(place));
    let name_mismatch = match place {
        SettingsPlace::Options => {
            "dial a name that it has, name it by --outbound-server-name, or expect an identity and add --outbound-server-name off"
                .to_owned()
        }
        SettingsPlace::Table { .. } => {
            "dial a name that it has, name it by the key server-name of its [[outbound]] table, or expect an identity and write server-name = \"off\" there"
                .to_owned()
        }
        // One name for all of a proxy's servers is not taken.
        SettingsPlace::Pattern { pattern, expects } => {
            let rule = if *expects { String::new() } else { format!("write --forward-proxy-to {pattern}=RULE and ") };
            format!("ask for a name that it has, or {rule}add --outbound-server-name off")
        }
    };
    ServerRemedies {
        untrusted: format!("add the CA of that server by {ca}, if it is the right one"),
        no_ca: format!("give the CAs by {ca}"),
        ca_out_of_date: format!(
            "give the CA that has taken its place by {ca}, or in the file of --cert where it follows our own certificate"
        ),
        name_mismatch,
        unexpected_identity: format!("see where the route leads, or expect this app by {expect}"),
    }
}

/// What helps where CAs that are not asked would vouch: those of the platform's folder where `is_platform`, else our own issuer.
pub(super) fn remedy_for_other_anchors(place: &SettingsPlace, is_platform: bool) -> String {
    let ca = ca(place);
    match is_platform {
        true => format!("add that CA by {ca}, if it may name apps"),
        false => format!("expect a rule as cf:app:GUID, for which it is asked, or add own-issuer by {ca}"),
    }
}

/// Where the rules stand that count.
fn expect(place: &SettingsPlace) -> String {
    match place {
        SettingsPlace::Table { expects: true } => "the key expect of its [[outbound]] table".to_owned(),
        SettingsPlace::Pattern { pattern, expects: true } => format!("--forward-proxy-to {pattern}=RULE"),
        SettingsPlace::Options | SettingsPlace::Table { .. } | SettingsPlace::Pattern { .. } => {
            "--outbound-expect".to_owned()
        }
    }
}

/// Where CAs may be given that count.
fn ca(place: &SettingsPlace) -> &'static str {
    match place {
        SettingsPlace::Table { .. } => "the key ca of its [[outbound]] table",
        SettingsPlace::Options | SettingsPlace::Pattern { .. } => "--outbound-ca",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_names_the_setting_that_counts_and_no_other() {
        let pattern = |expects| SettingsPlace::Pattern { pattern: "*.apps.internal:8443".to_owned(), expects };
        let expect = |place| remedies(&place).unexpected_identity;
        assert!(expect(SettingsPlace::Options).ends_with("by --outbound-expect"));
        assert!(
            expect(SettingsPlace::Table { expects: true }).ends_with("by the key expect of its [[outbound]] table")
        );
        assert!(expect(SettingsPlace::Table { expects: false }).ends_with("by --outbound-expect"));
        assert!(expect(pattern(true)).ends_with("by --forward-proxy-to *.apps.internal:8443=RULE"));
        assert!(expect(pattern(false)).ends_with("by --outbound-expect"));
        for place in [SettingsPlace::Table { expects: true }, SettingsPlace::Table { expects: false }] {
            let said = remedies(&place);
            for said in [&said.untrusted, &said.no_ca, &said.ca_out_of_date] {
                assert!(said.contains("key ca"), "{said:?}");
            }
            assert!(remedy_for_other_anchors(&place, true).contains("key ca"));
            assert!(said.name_mismatch.contains("key server-name") && !said.name_mismatch.contains("--"), "{said:?}");
        }
        for expects in [true, false] {
            let said = remedies(&pattern(expects)).name_mismatch;
            assert!(!said.contains("by --outbound-server-name"), "it is not taken there: {said}");
            assert_eq!(said.contains("=RULE"), !expects, "{said}");
        }
    }
}
