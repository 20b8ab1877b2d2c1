//! HTTP: whether a response is under way, which requests are refused before anybody acts on them, by which path they are judged, and what is not passed on.

mod certain_path;
mod chunk_scan;
#[cfg(any(test, feature = "fuzzing"))]
pub mod differential;
mod end_ahead;
mod frames;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod head_rules;
mod head_scan;
mod heads;
mod hop_by_hop;
mod host_check;
mod keep_alive_ender;
mod own_answer;
pub mod path;
mod request_body;
mod response_check;
mod response_tracker;
mod route_check;
mod scanned_stream;
mod web_socket_ender;

pub(crate) use certain_path::certain_part;
pub(crate) use end_ahead::EndAhead;
pub(crate) use frames::{CALM_DOWN, ControlFrameBudget, FrameScan, TooManyControlFrames};
pub(crate) use head_rules::{HeadRules, HttpRole, MAX_FIELDS, MAX_HEAD, Upgrades};
pub(crate) use head_scan::{HeadRefusal, RequestHead};
pub(crate) use heads::{Heads, RequestInFlight};
pub(crate) use hop_by_hop::{remove_from_request, remove_from_response, remove_from_trailers, remove_hop_by_hop};
pub(crate) use host_check::{NamedHost, names_only, names_server};
pub(crate) use keep_alive_ender::KeepAliveEnder;
pub(crate) use own_answer::OwnAnswer;
pub(crate) use request_body::{BodyProgress, RequestBody, io_cause};
pub(crate) use response_check::response_problem;
pub(crate) use response_tracker::ResponseTracker;
pub(crate) use route_check::{MarkerFate, ROUTE_CHECK, RouteCheck};
pub(crate) use scanned_stream::{HangUp, ScannedStream};
pub(crate) use web_socket_ender::WebSocketEnder;
