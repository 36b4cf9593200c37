//! A model of how processes take a partition from each other (protocol rule P4): signs of life,
//! doubts, claims that name the claim they replace, releases and intents. The payment and the
//! storage model let any process claim at any time, which is more than the rules allow. This model
//! shows what those cannot: that a holder with signs of life keeps its partition, and that finally
//! one process holds it.
//!
//! There are three processes and no clock. The rules' waits rest on one assumption, which is built
//! in: a process that is not paused shows signs of life in time, and answers a doubt in time. So:
//!
//! - A sign of life is not a record but a step in which a watch reads it. Its position is behind
//!   the claim and the records that its author had read.
//! - A watch may doubt while no sign of life would reach it, or by mistake (`false_silences`: the
//!   broker or its own reader is silent). Writing the doubt and reading it back is one step.
//! - The wait after a doubt may end in any moment in which no process would answer. The ranks of
//!   candidates only make it rare that two of them claim, so here they claim in any order.
//! - A claim lands any time after it was decided, also when its author is dead.
//!
//! A process begins to read anywhere in the log, so it may take a claim for valid that does not
//! count. A router judges its own claim exactly before it holds the partition
//! (`router/src/newest_claim.rs`), and so does a worker (`worker/src/holding.rs`).

mod rules;
mod steps;
mod world;

use crate::checker::{Model, Steps};
use rules::HandoverRules;
use steps::HandoverMoves;
use world::HandoverWorld;

/// The model with the settings of a scope.
pub(crate) struct Handover {
    rules: HandoverRules,
}

impl Handover {
    /// Reads the settings of a scope.
    pub(crate) fn parse(settings: &str) -> anyhow::Result<Self> {
        Ok(Self { rules: HandoverRules::parse(settings)? })
    }
}

impl Model for Handover {
    type State = HandoverWorld;

    fn initial(&self) -> HandoverWorld {
        HandoverWorld::initial(&self.rules)
    }

    fn add_steps(&self, from: &HandoverWorld, steps: &mut Steps<HandoverWorld>) {
        HandoverMoves { rules: &self.rules, from, steps }.add_all();
    }

    fn violation(&self, world: &HandoverWorld) -> Option<&'static str> {
        if world.has_replaced_living {
            return Some("a holder that showed life was replaced without its release");
        }
        if world.has_stopped_for_void {
            return Some("a holder stopped for a claim that does not count");
        }
        world.log.is_full().then_some("endless: processes claim again and again")
    }

    fn is_settled(&self, world: &HandoverWorld) -> bool {
        world.has_one_holder()
    }

    fn describe(&self, world: &HandoverWorld) -> String {
        format!("{world:?}")
    }
}
