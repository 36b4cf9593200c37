//! The business day that a date names, by the cut-off of the newest policy.

use anyhow::Context as _;
use twqr_types::{BusinessDay, CutOff};
use twqr_wire::{convert::policy_change_from, ops::GetPolicyRequest};

use crate::connect;

/// Reads the cut-off, when one business day ends and the next begins, from the operators' API.
pub async fn cut_off(endpoint: &str) -> anyhow::Result<CutOff> {
    let mut operators = connect::operators(endpoint).await?;
    let refused = || format!("cannot read the cut-off of the newest policy from {endpoint}");
    let found = operators.get_policy(GetPolicyRequest::default()).await.with_context(refused)?.into_inner();
    let change = found.change.with_context(refused)?;
    Ok(policy_change_from(change).with_context(refused)?.policy.cut_off)
}

/// Returns the business day that `--date` names: YYYY-MM-DD or YYYYMMDD.
pub async fn business_day(date: &str, endpoint: &str) -> anyhow::Result<BusinessDay> {
    let invalid = || format!("--date is {date:?}");
    // Checked first, so that a mistyped date is reported even if the operators' API is unreachable.
    BusinessDay::parse(date, CutOff::default()).with_context(invalid)?;
    BusinessDay::parse(date, cut_off(endpoint).await?).with_context(invalid)
}
