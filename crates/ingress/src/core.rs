//! What all calls of one instance share.

use std::{num::NonZeroUsize, sync::Arc};

use twqr_service::CancellationToken;

use crate::{
    Error, Settings, correlation::Table, gate::Gate, metrics::Meters, orders::Orders, refusal::Refusal, repeats::Repeats,
};

/// Everything that a call needs.
pub(crate) struct Core {
    pub(crate) settings: Settings,
    pub(crate) orders: Orders,
    pub(crate) table: Arc<Table>,
    pub(crate) repeats: Repeats,
    pub(crate) calls: Arc<Gate>,
    pub(crate) watches: Arc<Gate>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) shutdown: CancellationToken,
}

impl Core {
    pub(crate) fn new(
        settings: Settings,
        orders: Orders,
        table: Arc<Table>,
        meters: Arc<Meters>,
        shutdown: CancellationToken,
    ) -> Result<Self, Error> {
        let kept = NonZeroUsize::new(settings.repeats_kept);
        let kept = kept.ok_or(Error::Setting { name: "repeats_kept", allowed: "must be above 0" })?;
        Ok(Self {
            orders,
            table,
            repeats: Repeats::new(kept),
            calls: Gate::new(settings.calls_in_flight_max, meters.calls_in_flight.clone()),
            watches: Gate::new(settings.watches_max, meters.watches_open.clone()),
            meters,
            shutdown,
            settings,
        })
    }

    /// Counts a refusal by cause.
    pub(crate) fn note(&self, refusal: &Refusal) {
        match refusal {
            Refusal::TooManyCalls | Refusal::TooManyWatches | Refusal::TooManyWatchers => self.meters.shed.increment(1),
            Refusal::NoAnswerInTime => self.meters.deadline_reached.increment(1),
            Refusal::Invalid(_)
            | Refusal::DifferentRequest(_)
            | Refusal::LogRefused
            | Refusal::ShuttingDown
            | Refusal::WatchedTooLong
            | Refusal::NotOffered(_) => {}
        }
    }
}
