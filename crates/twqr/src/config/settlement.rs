//! Accounting file and reconciliation: when business days end, and how files are laid out.

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use twqr_settlement::{CutOff, LayoutConfig};

/// The section `[settlement]`.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SettlementConfig {
    cut_off: String,
    pub(crate) layout: LayoutConfig,
}

impl Default for SettlementConfig {
    fn default() -> Self {
        Self { cut_off: CutOff::default().to_string(), layout: LayoutConfig::default() }
    }
}

impl SettlementConfig {
    /// When business days end.
    pub(crate) fn cut_off(&self) -> anyhow::Result<CutOff> {
        CutOff::parse(&self.cut_off).with_context(|| format!("settlement.cut_off is {:?}", self.cut_off))
    }

    pub(super) fn faults(&self) -> Vec<String> {
        let cut_off = self.cut_off().err().map(|error| format!("{error:#}"));
        let layout = self.layout.layout().err().into_iter().flat_map(|faults| faults.0);
        cut_off.into_iter().chain(layout.map(|fault| format!("settlement.layout.{fault}"))).collect()
    }
}
