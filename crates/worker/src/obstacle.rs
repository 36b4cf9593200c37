//! The reasons why a call is not made at present.

/// The reason why a transfer is not sent, or an inquiry not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// The clock is too wrong to tell what is in time.
    WrongClock,
    /// `send_by` had passed when the task was read.
    Late,
    /// `send_by` passed in the queue of the issuer's lane.
    LateInQueue,
    /// `send_by` passed before the transport took the call.
    LateAtTransport,
    /// Another worker has claimed the partition.
    Superseded,
    /// There is no connection to the backend.
    NoConnection,
    /// The connection broke while the transfer waited.
    ConnectionLost,
    /// The transport takes no more calls.
    TransportFull,
    /// The issuer has not answered lately.
    CircuitOpen,
    /// The lane has no free slot in flight and none in its queue.
    LaneFull,
    /// Too many transfers of the partition wait for their issuers.
    PartitionFull,
    /// The issuer's budget of inquiries is used up for now.
    BudgetUsedUp,
    /// The card token of the charge cannot be opened, and never can.
    SealedToken,
    /// The key of the card token did not arrive before `send_by` had passed.
    CardKeyMissing,
}

impl Obstacle {
    /// Every obstacle, in the order of their numbers.
    pub(crate) const ALL: [Self; 14] = [
        Self::WrongClock,
        Self::Late,
        Self::LateInQueue,
        Self::LateAtTransport,
        Self::Superseded,
        Self::NoConnection,
        Self::ConnectionLost,
        Self::TransportFull,
        Self::CircuitOpen,
        Self::LaneFull,
        Self::PartitionFull,
        Self::BudgetUsedUp,
        Self::SealedToken,
        Self::CardKeyMissing,
    ];

    /// The reason in an outcome.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::WrongClock => "the clock of this worker is wrong",
            Self::Late => "its time to be sent had passed",
            Self::LateInQueue => "its time to be sent passed in the issuer's queue",
            Self::LateAtTransport => "its time to be sent passed before the transport took it",
            Self::Superseded => "another worker took over before it was sent",
            Self::NoConnection => "there is no connection to the issuer",
            Self::ConnectionLost => "the connection to the issuer broke before it was sent",
            Self::TransportFull => "the connection to the issuer takes no more calls",
            Self::CircuitOpen => "the issuer has not answered lately; its circuit is open",
            Self::LaneFull => "too many calls to the issuer are in flight, and its queue is full",
            Self::PartitionFull => "too many tasks wait for their issuers",
            Self::SealedToken => "its card token cannot be opened",
            Self::CardKeyMissing => "the key of its card token is missing here",
            Self::BudgetUsedUp => "the issuer's budget of inquiries is used up for now",
        }
    }

    /// The label in metrics.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::WrongClock => "wrong_clock",
            Self::Late => "late",
            Self::LateInQueue => "late_in_queue",
            Self::LateAtTransport => "late_at_transport",
            Self::Superseded => "superseded",
            Self::NoConnection => "no_connection",
            Self::ConnectionLost => "connection_lost",
            Self::TransportFull => "transport_full",
            Self::CircuitOpen => "circuit_open",
            Self::LaneFull => "lane_full",
            Self::PartitionFull => "partition_full",
            Self::BudgetUsedUp => "budget_used_up",
            Self::SealedToken => "sealed_token",
            Self::CardKeyMissing => "card_key_missing",
        }
    }
}
