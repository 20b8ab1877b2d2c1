//! What may happen next to a simulated connection.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RelayStep {
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
pub(super) const USUAL: [(usize, RelayStep); 9] = [
    (6, RelayStep::ClientSays),
    (1, RelayStep::ClientUpdatesKeys),
    (8, RelayStep::ClientDelivers),
    (8, RelayStep::ClientHears),
    (6, RelayStep::AppSays),
    (8, RelayStep::AppHears),
    (2, RelayStep::TimePasses),
    (16, RelayStep::Polled),
    (4, RelayStep::Settled),
];
/// Most runs take most of these not at all.
pub(super) const RARE: [RelayStep; 11] = [
    RelayStep::MemoryIsShort,
    RelayStep::MemoryIsFree,
    RelayStep::ClientCloses,
    RelayStep::ClientEnds,
    RelayStep::ClientResets,
    RelayStep::ClientErrs,
    RelayStep::AppEnds,
    RelayStep::AppResets,
    RelayStep::AppIsGone,
    RelayStep::IdleTimeout,
    RelayStep::DrainIdleTimeout,
];
