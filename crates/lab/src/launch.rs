//! Starts the simulator and the services as real processes on loopback, for the laboratory's
//! commands and for tests. All of them are killed when the [`System`] is dropped.

mod older;
mod ports;
mod programs;
mod run_dir;
mod simulator;
mod system;

pub use ports::{connect, free_addresses, is_ready, on_free_ports};
pub use programs::{Build, Programs};
pub use run_dir::empty;
pub use system::{Launch, Shape, System};

pub(crate) use programs::{end, this_program};
