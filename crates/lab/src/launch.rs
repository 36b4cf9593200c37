//! Starts the simulator and the services as real processes on loopback, for the laboratory's
//! commands and for tests. All of them are killed when the [`System`] is dropped.

mod certificates;
pub(crate) mod held_orders;
mod older;
mod ports;
mod programs;
mod run_dir;
mod secure_broker;
mod simulator;
mod system;

pub use certificates::Authority;
pub use ports::{ReservedAddresses, admin_page, connect, is_ready};
pub use programs::{Build, Programs, command};
pub use run_dir::empty;
pub use secure_broker::SecureBroker;
pub use system::{Launch, Listen, Shape, System};

pub(crate) use programs::{end, this_program};
