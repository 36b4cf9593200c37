//! Signs of life, and how a process names itself in records.

use twqr_order::{Alive, Process};

use super::fault::{RecordFault, need};
use crate::bus;

pub(super) fn process_from(process: Option<bus::Process>) -> Result<Process, RecordFault> {
    let bus::Process { name, nonce } = need(process, "by")?;
    Ok(Process { name: name.into(), nonce })
}

pub(super) fn process_out(process: &Process) -> bus::Process {
    bus::Process { name: process.name.to_string(), nonce: process.nonce }
}

pub(super) fn alive_from(alive: bus::Alive) -> Result<Alive, RecordFault> {
    let bus::Alive { claim, position, by, is_leaving, protocol_known } = alive;
    Ok(Alive { claim, position, by: process_from(by)?, is_leaving, protocol_known })
}

pub(super) fn alive_out(alive: &Alive) -> bus::Alive {
    let Alive { claim, position, by, is_leaving, protocol_known } = alive.clone();
    bus::Alive { claim, position, by: Some(process_out(&by)), is_leaving, protocol_known }
}
