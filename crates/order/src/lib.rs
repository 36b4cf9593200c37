//! The order machine: `(state, record) → (state, effects)`, a pure function over one log. No clock, no random, no I/O.

mod policy;

pub use policy::{Policy, PolicyFault, Resolution, Route, StatusCodes};
