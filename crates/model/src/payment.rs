//! A model of one payment on one shard: two routers, three workers, an issuer with a ledger, and
//! what may go wrong with each of them. It covers the protocol rules P1 to P8, with one order.
//!
//! Offsets and positions are small numbers; a position is the number of records applied. A clock
//! goes from 0 to `ticks`. A request that was sent at tick t arrives at t or t + 1 (the issuer's
//! window is one tick), or never. The model has no time-outs: a worker or router may assume at any
//! time that another one is dead, and claim. So no property depends on timing, except by `send_by`
//! and the window. Signs of life and doubts only forbid claims that are possible here; the
//! `handover` model shows what they are for.
//!
//! A router that has released its shard continues beside the next owner. Everything else that may
//! happen to it is covered by a take-over, so a scope with one release needs no other fault.

mod claims;
mod machine;
mod moves;
mod order_states;
mod properties;
mod routers;
mod rules;
mod steady_router;
mod surroundings;
mod workers;
mod world;

use crate::checker::{Model, Steps};
use moves::Moves;
use rules::PaymentRules;
use world::World;

/// The model with the settings of a scope.
pub(crate) struct Payment {
    rules: PaymentRules,
}

impl Payment {
    /// Reads the settings of a scope.
    pub(crate) fn parse(settings: &str) -> anyhow::Result<Self> {
        Ok(Self { rules: PaymentRules::parse(settings)? })
    }
}

impl Model for Payment {
    type State = World;

    fn initial(&self) -> World {
        let mut world = World::initial(&self.rules);
        if self.rules.steady_router {
            world.routers[1] = steady_router::owner();
            steady_router::advance(&self.rules, &mut world);
        }
        world
    }

    fn add_steps(&self, from: &World, steps: &mut Steps<World>) {
        let mut moves = Moves { rules: &self.rules, from, steps };
        surroundings::add_steps(&mut moves);
        if !self.rules.steady_router {
            routers::add_steps(&mut moves);
        }
        workers::add_steps(&mut moves);
    }

    fn violation(&self, world: &World) -> Option<&'static str> {
        properties::violation(&self.rules, world)
    }

    fn is_settled(&self, world: &World) -> bool {
        properties::is_settled(&self.rules, world)
    }

    fn describe(&self, world: &World) -> String {
        properties::describe(&self.rules, world)
    }
}
