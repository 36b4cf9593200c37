//! The hops of a call, which divide the time from its arrival at the ingress to its answer, and the
//! text form of the hops in an answer.

use std::{fmt, str::FromStr};

/// The header with which a caller asks for hops (value `1`), and with which an answer carries them:
/// in the trailing metadata of gRPC, in the headers of the HTTP form.
pub const HOPS_HEADER: &str = "twqr-hops";

/// A part of the way of a call, in the order in which a payment passes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// The ingress, until it appended the request.
    Ingress,
    /// From the append of the request until a router read it; for a refund also from shard to
    /// shard.
    OrdersWait,
    /// The routers: the decision about the request, and that about the outcome.
    Router,
    /// From the append of the task until a worker read it.
    TasksWait,
    /// The queue of the issuer's lane.
    WorkerWait,
    /// The worker, before and after the backend.
    Worker,
    /// The wallet or FISC, with the connection to it.
    Backend,
    /// From the append of the outcome until a router read it.
    OutcomesWait,
    /// From the append of the reply until the call at the ingress read it.
    RepliesWait,
    /// The ingress, from the reply to the answer.
    Reply,
    /// Time of which no record says where it went.
    Unknown,
}

/// The kind of a hop: working, waiting or unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HopKind {
    /// A process, or the backend, has the call in hand.
    Working,
    /// The call waits in a queue.
    Waiting,
    /// Either of the two.
    Unknown,
}

impl Hop {
    /// Every hop, in the order of a payment's way.
    pub const ALL: [Self; 11] = [
        Self::Ingress,
        Self::OrdersWait,
        Self::Router,
        Self::TasksWait,
        Self::WorkerWait,
        Self::Worker,
        Self::Backend,
        Self::OutcomesWait,
        Self::RepliesWait,
        Self::Reply,
        Self::Unknown,
    ];

    /// The name in the text and in metrics; that of a queue ends in `_wait`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::OrdersWait => "orders_wait",
            Self::Router => "router",
            Self::TasksWait => "tasks_wait",
            Self::WorkerWait => "worker_wait",
            Self::Worker => "worker",
            Self::Backend => "backend",
            Self::OutcomesWait => "outcomes_wait",
            Self::RepliesWait => "replies_wait",
            Self::Reply => "reply",
            Self::Unknown => "unknown",
        }
    }

    /// Whether a call waits in the hop or is worked on.
    pub const fn kind(self) -> HopKind {
        match self {
            Self::Ingress | Self::Router | Self::Worker | Self::Backend | Self::Reply => HopKind::Working,
            Self::OrdersWait | Self::TasksWait | Self::WorkerWait | Self::OutcomesWait | Self::RepliesWait => {
                HopKind::Waiting
            }
            Self::Unknown => HopKind::Unknown,
        }
    }
}

impl HopKind {
    /// The label in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::Waiting => "waiting",
            Self::Unknown => "unknown",
        }
    }
}

/// The time of one call by hops. Its text is `total=1250us ingress=120us router=80us …`: hops in
/// the order of [`Hop::ALL`], those without time left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HopReport([u64; Hop::ALL.len()]);

impl HopReport {
    /// The time in a hop, in µs.
    pub fn us(&self, hop: Hop) -> u64 {
        self.0[hop as usize]
    }

    /// Adds time to a hop, in µs.
    pub fn add(&mut self, hop: Hop, us: u64) {
        let time = &mut self.0[hop as usize];
        *time = time.saturating_add(us);
    }

    /// From the call's arrival to its answer, in µs: the sum of all hops.
    pub fn total_us(&self) -> u64 {
        self.0.iter().fold(0, |total, us| total.saturating_add(*us))
    }

    /// The hops in which time passed, with that time in µs.
    pub fn passed(&self) -> impl Iterator<Item = (Hop, u64)> {
        Hop::ALL.into_iter().map(|hop| (hop, self.us(hop))).filter(|(_, us)| *us > 0)
    }
}

impl fmt::Display for HopReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "total={}us", self.total_us())?;
        self.passed().try_for_each(|(hop, us)| write!(f, " {}={us}us", hop.name()))
    }
}

/// The text is not that of a [`HopReport`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a list of hops such as `total=120us ingress=120us`, whose sum is the total")]
pub struct HopsFault;

impl FromStr for HopReport {
    type Err = HopsFault;

    /// Reads the text of an answer. Time in a hop that this build does not know is unknown.
    fn from_str(text: &str) -> Result<Self, HopsFault> {
        let (mut report, mut total) = (Self::default(), None);
        for part in text.split_ascii_whitespace() {
            let (name, time) = part.split_once('=').ok_or(HopsFault)?;
            let us = time.strip_suffix("us").and_then(|us| us.parse().ok()).ok_or(HopsFault)?;
            if name == "total" {
                total = Some(us);
            } else {
                let hop = Hop::ALL.into_iter().find(|hop| hop.name() == name);
                report.add(hop.unwrap_or(Hop::Unknown), us);
            }
        }
        if total == Some(report.total_us()) { Ok(report) } else { Err(HopsFault) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_an_answer_is_read_as_it_was_written() {
        let mut report = HopReport::default();
        report.add(Hop::Backend, 10_000);
        report.add(Hop::Ingress, 120);
        report.add(Hop::OrdersWait, 2_310);
        assert_eq!(report.to_string(), "total=12430us ingress=120us orders_wait=2310us backend=10000us");
        assert_eq!(report.to_string().parse(), Ok(report));
        assert_eq!("total=5us newer=5us".parse().map(|report: HopReport| report.us(Hop::Unknown)), Ok(5));
        for text in ["", "total=1us", "total=5us ingress=4us", "total=1us ingress=1", "total", "total=x ingress=1us"] {
            assert_eq!(text.parse::<HopReport>(), Err(HopsFault), "{text}");
        }
    }

    #[test]
    fn each_hop_has_its_own_place_and_a_name_that_says_its_kind() {
        for (index, hop) in Hop::ALL.into_iter().enumerate() {
            assert_eq!(hop as usize, index);
            assert_eq!(hop.name().ends_with("_wait"), hop.kind() == HopKind::Waiting);
        }
    }
}
