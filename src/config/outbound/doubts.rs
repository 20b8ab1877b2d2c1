//! What was said of outbound connections and comes to nothing.

use super::reading::is_deliberate;
use super::{EjectOn, OutboundSettings, Protocol};
use crate::config::Config;
use crate::config::reader::OptionReader;
use crate::diagnostics::Source;

/// A setting that has no effect beside another: no error, as a start may do without it, and hardly what was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingDoubt {
    /// Where it was given.
    pub place: Source,
    /// What is wrong with it.
    pub what: String,
    /// What to do.
    pub help: &'static str,
    /// The option that it is about.
    option: &'static str,
    /// It is about HTTP, and the listener carries bytes.
    is_of_http: bool,
    /// It was said of one listener alone.
    is_of_one: bool,
}

impl SettingDoubt {
    /// Those `options` were given for its listener alone.
    pub(super) fn note_own(&mut self, options: &[&str]) {
        self.is_of_one = options.contains(&self.option);
    }
}

impl Config {
    /// The settings of outbound connections that have no effect, each once.
    pub fn outbound_doubts(&self) -> Vec<&SettingDoubt> {
        let speaks_http = self.outbounds.iter().any(|outbound| outbound.settings.protocol == Protocol::Http1)
            || self.forward_proxy.is_some();
        // What is said for all may be meant for those that speak HTTP.
        let is_in_vain = |doubt: &&SettingDoubt| !doubt.is_of_http || !speaks_http || doubt.is_of_one;
        let listeners = self.outbounds.iter().map(|outbound| &outbound.settings);
        let proxy = self.forward_proxy.iter().map(|proxy| &proxy.unlisted_settings);
        let mut doubts: Vec<&SettingDoubt> = Vec::new();
        for doubt in listeners.chain(proxy).flat_map(|settings| &settings.doubts).filter(is_in_vain) {
            if !doubts.contains(&doubt) {
                doubts.push(doubt);
            }
        }
        doubts
    }
}

impl OptionReader {
    /// What of `settings` was said for this very start, and has no effect.
    pub(super) fn setting_doubts(&self, settings: &OutboundSettings) -> Vec<SettingDoubt> {
        let mut doubts = Vec::new();
        let mut doubt = |option: &'static str, is_in_vain: bool, what: &dyn Fn() -> String, help, is_of_http| {
            let given = self.sources.values(option).first().filter(|given| is_in_vain && is_deliberate(&given.place));
            doubts.extend(given.map(|given| SettingDoubt {
                place: given.place.clone(),
                what: what(),
                help,
                option,
                is_of_http,
                is_of_one: false,
            }));
        };
        let timeouts = &settings.timeouts;
        for (name, one, whose) in [
            ("outbound-connect-timeout", timeouts.connect, "to accept"),
            ("outbound-handshake-timeout", timeouts.handshake, "for the handshake"),
        ] {
            let total = timeouts.total;
            let what = || format!("an endpoint has {one:?} {whose}, and all attempts together have {total:?}");
            doubt(name, one > total, &what, "shorten it, or raise --outbound-timeout", false);
        }
        let what = || "no proxy is on the way to anybody".to_owned();
        let in_vain = settings.proxy.is_none() && !settings.no_proxy.is_empty();
        doubt("outbound-no-proxy", in_vain, &what, "add --outbound-proxy, or leave it out", false);
        let is_tcp = settings.protocol == Protocol::Tcp;
        let what = || "the listener carries bytes, and sees neither status nor Host".to_owned();
        let help = "add --outbound-protocol http1, or leave it out";
        let in_vain = is_tcp && settings.eject_on == EjectOn::ServerErrors;
        doubt("outbound-eject-on", in_vain, &what, help, true);
        doubt("outbound-preserve-host", is_tcp && settings.preserve_host, &what, help, true);
        doubts
    }
}

#[cfg(test)]
mod tests {
    use crate::config::tests::ConfigInput;

    fn doubts(typed: &ConfigInput) -> Vec<String> {
        let config = typed.config();
        config
            .outbound_doubts()
            .iter()
            .map(|doubt| format!("{}: {}; {}", doubt.place, doubt.what, doubt.help))
            .collect()
    }

    fn outbound() -> ConfigInput {
        ConfigInput::default().flag("outbound", "9000=a:1")
    }

    #[test]
    fn what_was_said_in_vain_is_told_with_a_remedy() {
        let http = "the listener carries bytes, and sees neither status nor Host; add --outbound-protocol http1, or leave it out";
        for (typed, said) in [
            (
                outbound().flag("outbound-connect-timeout", "10s"),
                "--outbound-connect-timeout: an endpoint has 10s to accept, and all attempts together have 5s; shorten it, or raise --outbound-timeout".to_owned(),
            ),
            (
                outbound().flag("outbound-handshake-timeout", "3s").flag("outbound-timeout", "2s"),
                "--outbound-handshake-timeout: an endpoint has 3s for the handshake, and all attempts together have 2s; shorten it, or raise --outbound-timeout".to_owned(),
            ),
            (
                outbound().flag("outbound-no-proxy", ".example"),
                "--outbound-no-proxy: no proxy is on the way to anybody; add --outbound-proxy, or leave it out".to_owned(),
            ),
            (outbound().flag("outbound-eject-on", "5xx"), format!("--outbound-eject-on: {http}")),
            (outbound().flag("outbound-preserve-host", "true"), format!("--outbound-preserve-host: {http}")),
            (
                outbound().file("[[outbound]]\nlisten = 9001\nto = \"b:1\"\nprotocol = \"http1\"\n[[outbound]]\nlisten = 9002\nto = \"c:1\"\neject-on = \"5xx\"\n"),
                format!("v.toml:8: outbound-eject-on: {http}"),
            ),
        ] {
            assert_eq!(doubts(&typed), [said]);
        }
    }

    #[test]
    fn defaults_variables_for_many_and_what_is_meant_for_others_are_no_doubts() {
        for typed in [
            outbound().flag("outbound-timeout", "500ms"),
            outbound().variable("VESTIBULE_OUTBOUND_CONNECT_TIMEOUT", "10s"),
            outbound().flag("outbound-no-proxy", ".example").flag("outbound-proxy", "http://proxy:3128"),
            outbound().flag("outbound-eject-on", "5xx").flag("outbound-protocol", "http1"),
            outbound()
                .flag("outbound-eject-on", "5xx")
                .file("[[outbound]]\nlisten = 9001\nto = \"b:1\"\nprotocol = \"http1\"\n"),
            ConfigInput::default()
                .flag("forward-proxy", "on")
                .flag("forward-proxy-to", "b:1")
                .flag("outbound-eject-on", "5xx"),
        ] {
            assert_eq!(doubts(&typed), [] as [String; 0]);
        }
    }
}
