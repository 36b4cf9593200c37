//! `[simulator]`: stands for the wallet and for FISC with its issuers.

use std::{fs, net::SocketAddr, path::PathBuf};

use twqr_simulator::{Script, Settings};

use super::{
    setting::{Any, Faults},
    table::table,
};

table! {
    /// The simulated wallet and FISC with its issuers; a process of its own (twqr simulator).
    Simulator {
        /// Where the wallet listens.
        wallet_listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 50061)), Any("an IP address and a port");
        /// Where FISC listens.
        fisc_listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 50062)), Any("an IP address and a port");
        /// Whether the two may be addresses that other machines reach.
        expose: bool = false, Any("true or false");
        /// The folder of its ledger.
        data_dir: PathBuf = PathBuf::from("./data-simulator"), Any("a path");
        /// A file that says what goes wrong at which issuer; empty: nothing does.
        script: String = String::new(), Any("the path of a TOML file, or empty");
    }
}

impl Simulator {
    /// Reads the script.
    fn script(&self) -> Result<Script, String> {
        if self.script.is_empty() {
            return Ok(Script::default());
        }
        let text =
            fs::read_to_string(&self.script).map_err(|error| format!("{} cannot be read: {error}", self.script))?;
        Script::parse(&text).map_err(|error| format!("{}: {error}", self.script))
    }

    /// The simulator's settings; the error says what is wrong with the script.
    pub(crate) fn settings(&self) -> Result<Settings, String> {
        Ok(Settings {
            wallet_address: self.wallet_listen,
            fisc_address: self.fisc_listen,
            data_dir: self.data_dir.clone(),
            script: self.script()?,
        })
    }

    /// Notes a script that cannot be used.
    pub(crate) fn check(&self, faults: &mut Faults) {
        if let Err(problem) = self.script() {
            faults.add("simulator.script", problem, None);
        }
    }
}
