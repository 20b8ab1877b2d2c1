//! Reading what concerns the app as a process, its end, and who may ask for its health.

use std::time::Duration;

use super::options::Table;
use super::raw_value::RawValue;
use super::reader::{OptionReader, Reported, is_user_given};
use super::resolve::in_order;
use super::values::Range;
use super::{Admin, AdminAction, AppConfig, AppReady, Drain, values};
use crate::diagnostics::redact::quote;
use crate::diagnostics::{Problem, Source};
use crate::signal::SignalMap;

impl OptionReader {
    /// All but [`AppConfig::hold`]. `ours`: whether we start it.
    pub(super) fn app(&mut self, ours: bool) -> Result<AppConfig, Reported> {
        let scope = self.required("signal-scope", values::one_of);
        let map = self.signal_map();
        let hide_key = self.hiding("hide-key", ours);
        let hide_port = self.hiding("hide-app-port", ours).and_then(|asked| self.only_way_in(asked));
        let ready = self.required("app-ready", app_ready);
        Ok(AppConfig {
            scope: scope?,
            map: map?,
            hide_port: hide_port?,
            hide_key: hide_key?,
            ready: ready?,
            hold_until_ready: None,
        })
    }

    fn signal_map(&mut self) -> Result<SignalMap, Reported> {
        let place = self.sources.values("signal-map").first().map(|given| given.place.clone());
        let pairs = self.all("signal-map", |text| text.parse::<SignalMap>().map(|_| text.to_owned()))?;
        let pairs: Vec<_> = pairs.into_iter().map(|(_, pair)| pair).collect();
        // Each is right for itself; together they may name one signal twice.
        pairs
            .join(",")
            .parse()
            .map_err(|problem: Problem| self.report(problem.at(place.unwrap_or(Source::Default("signal-map")))))
    }

    /// Whether something is hidden from the app, which only whoever starts it can do.
    fn hiding(&mut self, name: &'static str, ours: bool) -> Result<bool, Reported> {
        let Some((place, true)) = self.all(name, values::switch)?.pop() else { return Ok(false) };
        if ours {
            return Ok(true);
        }
        let problem =
            Problem::new("the app is not ours to start here", "leave it out, or use vestibule run -- COMMAND");
        Err(self.report(problem.at(place)))
    }

    /// Whether the app gets another port than others know, as far as it can be read.
    pub(super) fn hides_app_port(&self) -> bool {
        self.sources.values("hide-app-port").last().is_some_and(|given| given.value == "true")
    }

    /// A hidden port is ours to choose: nobody else may have named one.
    fn only_way_in(&mut self, hidden: bool) -> Result<bool, Reported> {
        let Some(asked) = self.sources.values("hide-app-port").first().filter(|_| hidden) else { return Ok(false) };
        let names_app = |listener: &&RawValue| listener.value.as_encoded_bytes().contains(&b'=');
        let named = self.sources.values("app").first();
        let named = named.into_iter().chain(self.sources.values("listener").iter().find(names_app));
        let section = self.sources.sections(Table::Listener).find(|section| section.given.contains_key("app"));
        let clashes: Vec<_> = named
            .map(|named| &named.place)
            .filter(|place| is_user_given(place))
            .chain(section.map(|section| &section.place))
            .map(|named| in_order(&asked.place, named))
            .map(|(place, other)| {
                let what = format!("given beside {other}");
                Problem::new(what, "let the app take its port from PORT, or leave one of the two out").at(place)
            })
            .collect();
        clashes.into_iter().map(|clash| self.report(clash)).last().map_or(Ok(true), Err)
    }

    /// How long clients wait for an app that starts: within the time that their handshake has, and only if somebody
    /// looks when it is ready.
    pub(super) fn hold(&mut self) -> Result<Option<Duration>, Reported> {
        let length = |text: &str| values::duration_or_off(text, &Range::A_MILLISECOND_TO_TEN_MINUTES);
        let (place, hold) = self.placed("hold-until-ready", length)?;
        let Some(hold) = hold else { return Ok(None) };
        let never_asked = self.sources.values("app-ready").first().is_some_and(|given| given.value == "off");
        // An error in the other option is noted where that is read.
        let handshake = self.sources.values("handshake-timeout").first().and_then(|given| {
            let text = values::text(&given.value).ok()?;
            values::duration(text, &Range::A_MILLISECOND_TO_TEN_MINUTES).ok()
        });
        let problem = match handshake {
            _ if never_asked => Problem::new("the app is never asked whether it is ready", "set --app-ready to tcp"),
            Some(limit) if hold >= limit => Problem::new(
                format!("{hold:?} is not shorter than the handshake timeout, {limit:?}"),
                "write a shorter one, or raise --handshake-timeout",
            ),
            _ => return Ok(Some(hold)),
        };
        Err(self.report(problem.at(place)))
    }

    /// How the process goes. The delay is part of the timeout, so that the timeout is a promise.
    pub(super) fn drain(&mut self) -> Result<Drain, Reported> {
        let delay = self.placed("drain-delay", |text| values::duration(text, &Range::ZERO_TO_AN_HOUR));
        let timeout = self.required("drain-timeout", |text| values::duration(text, &Range::ZERO_TO_A_DAY));
        let http = self.required("drain-http", values::on_or_off);
        let ((place, delay), timeout, http) = (delay?, timeout?, http?);
        if delay > timeout {
            let what = format!("{delay:?} is longer than the whole drain, {timeout:?}");
            return Err(self.report(Problem::new(what, "write a shorter one, or raise --drain-timeout").at(place)));
        }
        Ok(Drain { delay, timeout, http })
    }

    /// All but [`Admin::actions`] and [`Admin::hosts`].
    pub(super) fn admin(&mut self) -> Result<Option<Admin>, Reported> {
        let (place, addr) = self.placed("admin", values::admin)?;
        Ok(addr.map(|addr| Admin { addr, explicit: is_user_given(&place), actions: Vec::new(), hosts: Vec::new() }))
    }

    /// What the admin listener may be asked to do. There has to be one.
    pub(super) fn admin_actions(&mut self) -> Result<Vec<AdminAction>, Reported> {
        self.beside_admin("admin-actions", values::one_of)
    }

    /// By which names it may be asked. There has to be an admin listener.
    pub(super) fn admin_hosts(&mut self) -> Result<Vec<String>, Reported> {
        self.beside_admin("admin-host", values::host_name)
    }

    /// The values of an option that means nothing without an admin listener.
    fn beside_admin<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, Problem>,
    ) -> Result<Vec<T>, Reported> {
        let given = self.all(name, parse)?;
        let off = self.sources.values("admin").first().filter(|admin| admin.value == "off");
        if let (Some((place, _)), Some(admin)) = (given.first(), off) {
            let (place, other) = in_order(place, &admin.place);
            let problem = Problem::new(
                format!("given beside {other}"),
                "there would be nowhere to ask: leave one of the two out",
            );
            return Err(self.report(problem.at(place)));
        }
        Ok(given.into_iter().map(|(_, value)| value).collect())
    }
}

/// `tcp`, `http:/PATH` or `off`.
pub(super) fn app_ready(text: &str) -> Result<AppReady, Problem> {
    let path = text.strip_prefix("http:");
    match (text, path) {
        ("off", _) => Ok(AppReady::Off),
        ("tcp", _) => Ok(AppReady::Tcp),
        (_, Some(path)) if path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(AppReady::Http(path.to_owned()))
        }
        _ => Err(Problem::new(
            format!("{} is no way to ask", quote(text)),
            "write tcp, off, or http:/PATH such as http:/health",
        )),
    }
}
