//! How much of a DNS message is read (RFC 1035, 4.1): some records of fourteen bytes become a thousand, as names are written once and pointed to.

use std::ops::Range;

use hickory_resolver::proto::rr::Record;

/// The length of a header, and of the type and class behind a question's name, in bytes.
const HEADER: usize = 12;
const TYPE_AND_CLASS: usize = 4;

/// Type, class, TTL and the length of the data, which stand behind a record's name.
const FIXED: usize = 10;

/// Where the header says how many records there are of answers, authorities and additionals.
const COUNTS: [Range<usize>; 3] = [6..8, 8..10, 10..12];

/// The longest name (RFC 1035, 2.3.4), in bytes.
const LONGEST_NAME: usize = 255;

/// A name that is no longer, in bytes and labels, needs no memory beside its record's.
const INLINE: (usize, usize) = (32, 24);

/// What data of other kinds become, for each byte, and for the two names that may be in them: lists of short texts, and sets of types.
const OTHER_DATA: usize = 64;
const TWO_NAMES: usize = 4 * LONGEST_NAME;

/// What of a message is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Truncated {
    /// Its bytes.
    pub(super) length: usize,
    /// What its records become when they are read once, in bytes.
    pub(super) size: usize,
    /// There are answers, and not even the first of them is left: read as it is, it would say that there are none.
    pub(super) lacks_answers: bool,
}

/// The kinds of records whose data are an address or a name (RFC 1035, 3.2.2; RFC 3596; RFC 6672).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DataKind {
    Address,
    Name,
    Other,
}

impl DataKind {
    fn of(kind: u16) -> Self {
        match kind {
            1 | 28 => Self::Address,
            2 | 5 | 12 | 39 => Self::Name,
            _ => Self::Other,
        }
    }
}

/// Leaves the first records in `message`, as many as become no more than `most` bytes. A message in which something cannot be read ends before that,
/// so that nobody reads it otherwise.
pub(super) fn truncate(message: &mut [u8], most: usize) -> Truncated {
    let ended = |length, size| Truncated { length, size, lacks_answers: false };
    let Some(questions) = number(message, 4) else { return ended(message.len(), 0) };
    let mut at = HEADER.min(message.len());
    if questions > 1 {
        // We ask one at a time.
        return ended(at, 0);
    }
    let mut size = 0;
    if questions == 1 {
        let Some((end, name)) = name(message, at) else { return ended(at, size) };
        (at, size) = (end + TYPE_AND_CLASS, size_of::<Record>() + name);
    }
    for (nth, place) in COUNTS.iter().enumerate() {
        for position in 0..number(message, place.start).unwrap_or_default() {
            let Some((end, record)) = record(message, at) else { return ended(at.min(message.len()), size) };
            if size + record > most {
                message[place.clone()].copy_from_slice(&position.to_be_bytes());
                COUNTS[nth + 1..].iter().for_each(|later| message[later.clone()].fill(0));
                return Truncated { lacks_answers: nth == 0 && position == 0, ..ended(at, size) };
            }
            (at, size) = (end, size + record);
        }
    }
    ended(message.len(), size)
}

/// The record at `at`: where it ends, and what it becomes. `None`: none can be read there.
fn record(message: &[u8], at: usize) -> Option<(usize, usize)> {
    let (fixed, owner) = name(message, at)?;
    let data = fixed + FIXED;
    let length = usize::from(number(message, data - 2)?);
    let end = data + length;
    message.get(data..end)?;
    let more = match DataKind::of(number(message, fixed)?) {
        DataKind::Address => 0,
        DataKind::Name => name(message, data)?.1,
        DataKind::Other => OTHER_DATA * length + TWO_NAMES,
    };
    // Lists grow by doubling.
    Some((end, 2 * size_of::<Record>() + owner + more))
}

/// The name at `at`: where it ends, and the memory that it takes. `None`: it has no end, or is too long.
fn name(message: &[u8], at: usize) -> Option<(usize, usize)> {
    let (mut here, mut end, mut begins_before) = (at, None, at);
    let (mut bytes, mut labels) = (0, 0);
    loop {
        let length = usize::from(*message.get(here)?);
        match length >> 6 {
            0 if length == 0 => break,
            0 => {
                (bytes, labels) = (bytes + length + 1, labels + 1);
                if bytes >= LONGEST_NAME {
                    return None;
                }
                here += 1 + length;
            }
            3 => {
                let target = usize::from(number(message, here)? & 0x3fff);
                end.get_or_insert(here + 2);
                // A prior occurrence (RFC 1035, 4.1.4): each is before the last, so there is an end.
                if target >= begins_before {
                    return None;
                }
                (begins_before, here) = (target, target);
            }
            _ => return None,
        }
    }
    let is_inline = bytes <= INLINE.0 && labels <= INLINE.1;
    Some((end.unwrap_or(here + 1), if is_inline { 0 } else { 2 * (bytes + labels) }))
}

/// The two bytes at `at`.
fn number(message: &[u8], at: usize) -> Option<u16> {
    message.get(at..at + 2)?.first_chunk::<2>().map(|bytes| u16::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_resolver::proto::op::{Message, MessageType, OpCode, Query};
    use hickory_resolver::proto::rr::rdata::{A, CNAME};
    use hickory_resolver::proto::rr::{Name, RData, RecordType};

    use super::*;

    fn message(answers: impl IntoIterator<Item = Record>) -> Vec<u8> {
        let mut message = Message::new(7, MessageType::Response, OpCode::Query);
        message.add_query(Query::query("backend.apps.internal.".parse().unwrap(), RecordType::A));
        message.add_answers(answers);
        message.to_vec().unwrap()
    }

    fn addresses(owner: &str, count: u8) -> Vec<Record> {
        let owner: Name = owner.parse().unwrap();
        (0..count)
            .map(|nth| Record::from_rdata(owner.clone(), 60, RData::A(A(Ipv4Addr::new(192, 0, 2, nth)))))
            .collect()
    }

    /// What is read of `bytes` where `most` are let through.
    fn read(bytes: &[u8], most: usize) -> (Truncated, Option<Message>) {
        let mut bytes = bytes.to_vec();
        let truncated = truncate(&mut bytes, most);
        (truncated, Message::from_vec(&bytes[..truncated.length]).ok())
    }

    #[test]
    fn what_fits_is_left_as_it_is_and_of_the_rest_the_first_records() {
        let whole = message(addresses("backend.apps.internal.", 100));
        let (truncated, all) = read(&whole, usize::MAX);
        assert_eq!(truncated.length, whole.len());
        assert_eq!(all.unwrap().answers.len(), 100);
        let (half, some) = read(&whole, truncated.size / 2);
        assert!(half.length < whole.len() && half.size <= truncated.size / 2);
        let some = some.unwrap();
        assert!((48..=50).contains(&some.answers.len()), "{}", some.answers.len());
        assert_eq!(some.answers, addresses("backend.apps.internal.", 100)[..some.answers.len()]);
        let (nothing, none) = read(&whole, 0);
        assert!(none.unwrap().answers.is_empty() && nothing.length < whole.len());
        // What is beside the answers may be missing.
        let none = message([]);
        assert!(nothing.lacks_answers && !half.lacks_answers && !truncated.lacks_answers);
        assert!(!read(&none, 0).0.lacks_answers);
    }

    #[test]
    fn names_count_as_long_as_they_become_wherever_they_are_written() {
        let long = format!("{}internal.", "a.".repeat(120));
        let plain = read(&message(addresses("backend.apps.internal.", 100)), usize::MAX).0;
        let pointed = message(addresses(&long, 100));
        let far = read(&pointed, usize::MAX).0;
        assert!(pointed.len() < plain.length + 300, "each is two bytes but for the first");
        assert!(far.size > plain.size + 100 * 2 * 240, "{} and {}", far.size, plain.size);
        let alias = |target: &str| {
            let target = RData::CNAME(CNAME(target.parse().unwrap()));
            vec![Record::from_rdata("backend.apps.internal.".parse().unwrap(), 60, target); 100]
        };
        let (short, long) = (message(alias("other.")), message(alias(&long)));
        assert!(read(&long, usize::MAX).0.size > read(&short, usize::MAX).0.size + 100 * 2 * 240);
    }

    #[test]
    fn what_cannot_be_read_is_read_by_nobody_behind_that() {
        let whole = message(addresses("backend.apps.internal.", 3));
        let answers = whole.len() - 3 * (2 + FIXED + 4);
        let pointer = |target: usize| (0xc000 | u16::try_from(target).unwrap()).to_be_bytes();
        let with = |at: usize, bytes: &[u8]| {
            let mut changed = whole.clone();
            changed[at..at + bytes.len()].copy_from_slice(bytes);
            changed
        };
        let second = answers + 2 + FIXED + 4;
        for broken in [
            with(second, &pointer(second)),
            with(second, &pointer(second + 2)),
            with(second, &[0x40, 0]),
            with(second + 2 + 8, &[0xff, 0xff]),
            with(4, &[0xff, 0xff]),
            whole[..second + 3].to_vec(),
        ] {
            let (truncated, message) = read(&broken, usize::MAX);
            assert!(message.is_none(), "{broken:?}");
            assert!(truncated.length <= second, "{truncated:?}");
        }
        for short in 0..HEADER {
            assert_eq!(read(&whole[..short], usize::MAX).0, Truncated { length: short, size: 0, lacks_answers: false });
        }
    }

    #[test]
    fn whatever_comes_ends_within_what_is_let_through_and_reads_as_it_did_where_all_of_it_is() {
        let mut state = fastrand::Rng::with_seed(7);
        let seed = message(addresses("backend.apps.internal.", 20));
        let mut readable = 0;
        for _ in 0..20_000 {
            let mut bytes = seed.clone();
            for _ in 0..state.usize(..4) {
                let at = state.usize(..bytes.len());
                bytes[at] = state.u8(..);
            }
            let most = state.usize(..20_000);
            let (truncated, message) = read(&bytes, most);
            assert!(truncated.length <= bytes.len() && truncated.size <= most.max(size_of::<Record>() + 600));
            let whole = read(&bytes, usize::MAX);
            if let (Some(message), Some(whole)) = (&message, &whole.1) {
                readable += 1;
                assert!(message.answers.len() <= whole.answers.len());
                assert_eq!(message.answers, whole.answers[..message.answers.len()]);
            }
        }
        assert!(readable > 1000, "{readable}");
    }
}
