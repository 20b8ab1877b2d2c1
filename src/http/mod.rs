//! HTTP: whether a response is under way, which requests are refused before anybody acts on them, by which path they are judged, and what is not passed on.

mod answer_head;
mod answer_scan;
mod body_lookahead;
mod body_part;
mod certain_path;
mod chunk_scan;
mod continue_gate;
mod counted_bytes;
#[cfg(any(test, feature = "fuzzing"))]
pub mod differential;
mod frames;
mod framing;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod head_memory;
mod head_rejection;
mod head_room;
mod head_rules;
mod head_scan;
mod heads;
mod hop_by_hop;
mod host_check;
mod keep_alive_ender;
mod local_reply;
pub mod path;
mod request_body;
mod response_check;
mod response_tracker;
mod route_check;
mod scanned_stream;
pub(crate) mod stream_memory;
mod trailer_room;
mod trailers;
mod unread_body;
mod unsent_bytes;
mod untaken_frames;
mod waiting_frames;
mod web_socket_ender;

pub(crate) use body_lookahead::BodyLookahead;
#[cfg(test)]
pub(crate) use body_part::body_part;
pub(crate) use body_part::{PartSize, poll_read_part};
pub(crate) use certain_path::certain_part;
pub(crate) use counted_bytes::CountedBytes;
pub(crate) use frames::{CALM_DOWN, ControlFrameBudget, FrameScan, FrameStart, NO_ROOM, TooManyControlFrames};
pub(crate) use framing::framing_lookalike;
pub(crate) use head_memory::{HeadMemory, TooLargeHeads};
pub(crate) use head_rejection::HeadRejection;
pub(crate) use head_room::FREE_ANSWER_HEAD;
pub(crate) use head_rules::{HeadRules, HttpRole, MAX_FIELDS, MAX_HEAD, Upgrades};
pub(crate) use head_scan::RequestHead;
pub(crate) use heads::{RequestHeads, RequestInFlight};
pub(crate) use hop_by_hop::{remove_from_request, remove_from_response, remove_hop_by_hop};
pub(crate) use host_check::{NamedHost, names_only, names_server};
pub(crate) use keep_alive_ender::KeepAliveEnder;
pub(crate) use local_reply::LocalReply;
pub(crate) use request_body::{BodyProgress, RequestBody, io_cause, is_malformed};
pub(crate) use response_check::{
    MAX_ANSWER_HEAD, MAX_RESPONSE_FIELDS, content_length, is_token, response_head_length, response_problem,
};
pub(crate) use response_tracker::ResponseTracker;
pub(crate) use route_check::{MarkerOutcome, ROUTE_CHECK, RouteCheck};
pub(crate) use scanned_stream::{RequestSource, ScannedStream};
pub(crate) use trailers::{may_be_trailer, remove_from_trailers, retain_trailer_names, retain_trailers};
pub(crate) use unsent_bytes::{BodyPace, UnsentBytes};
pub(crate) use untaken_frames::{AnswerFrames, UntakenFrames};
pub(crate) use waiting_frames::{FrameSlots, TooManyWaitingFrames, WaitingFrames};
pub(crate) use web_socket_ender::WebSocketEnder;
