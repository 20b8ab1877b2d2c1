//! What may happen next to a simulated connection.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    ClientSays,
    ClientUpdatesKeys,
    ClientDelivers,
    ClientHears,
    AppSays,
    AppHears,
    TimePasses,
    Polled,
    Settled,
    MemoryIsShort,
    MemoryIsFree,
    ClientCloses,
    ClientEnds,
    ClientResets,
    ClientErrs,
    AppEnds,
    AppResets,
    AppIsGone,
    IdleTimeout,
    DrainIdleTimeout,
}

/// How often each of these is taken; each run takes some of them more often.
pub(super) const USUAL: [(usize, Step); 9] = [
    (6, Step::ClientSays),
    (1, Step::ClientUpdatesKeys),
    (8, Step::ClientDelivers),
    (8, Step::ClientHears),
    (6, Step::AppSays),
    (8, Step::AppHears),
    (2, Step::TimePasses),
    (16, Step::Polled),
    (4, Step::Settled),
];
/// Most runs take most of these not at all.
pub(super) const RARE: [Step; 11] = [
    Step::MemoryIsShort,
    Step::MemoryIsFree,
    Step::ClientCloses,
    Step::ClientEnds,
    Step::ClientResets,
    Step::ClientErrs,
    Step::AppEnds,
    Step::AppResets,
    Step::AppIsGone,
    Step::IdleTimeout,
    Step::DrainIdleTimeout,
];
