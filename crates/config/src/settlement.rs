//! The section `[settlement]`: how accounting files are laid out.

use serde::{Deserialize, Serialize};
use twqr_settlement::LayoutConfig;

/// The section `[settlement]`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct SettlementConfig {
    /// Columns, formats, delimiter and encoding of accounting files.
    pub layout: LayoutConfig,
}

impl SettlementConfig {
    pub(crate) fn faults(&self) -> Vec<String> {
        let faults = self.layout.layout().err().into_iter().flat_map(|faults| faults.0);
        faults.map(|fault| format!("settlement.layout.{fault}")).collect()
    }
}
