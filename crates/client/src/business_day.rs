//! The business day that a date names, by the cut-offs in the history of the policy.

use anyhow::Context as _;
use twqr_types::{BusinessDay, CutOff, CutOffs, UnixMs};
use twqr_wire::ops::{GetPolicyRequest, PolicyHistoryEntry};

use crate::connect;

/// Reads from the operators' API which cut-offs were in force when, as far as versions of the
/// policy are kept.
pub async fn cut_offs(endpoint: &str) -> anyhow::Result<CutOffs> {
    let mut operators = connect::operators(endpoint).await?;
    let refused = || format!("cannot read the cut-offs of the policy's versions from {endpoint}");
    let found = operators.get_policy(GetPolicyRequest::default()).await.with_context(refused)?.into_inner();
    let mut versions = found.history.iter();
    let (_, oldest) = versions.next().context("it has no version").and_then(cut_off_of).with_context(refused)?;
    let later = versions.map(cut_off_of).collect::<anyhow::Result<_>>().with_context(refused)?;
    Ok(CutOffs::new(oldest, later))
}

fn cut_off_of(version: &PolicyHistoryEntry) -> anyhow::Result<(UnixMs, CutOff)> {
    let minutes = version.day_begins_min.context("the tracker runs an earlier build; upgrade it first")?;
    Ok((UnixMs(version.at_ms), CutOff::from_minutes(minutes)?))
}

/// Returns the business day that `--date` names: YYYY-MM-DD or YYYYMMDD.
pub async fn business_day(date: &str, endpoint: &str) -> anyhow::Result<BusinessDay> {
    // Checked first, so that a mistyped date is reported even if the operators' API is unreachable.
    let date = BusinessDay::parse(date, CutOff::default()).with_context(|| format!("--date is {date:?}"))?;
    Ok(cut_offs(endpoint).await?.day(date))
}

/// Fails if the day has other bounds by now. To be called after its movements were listed, which
/// waits until the tracker has read everything: before, a change of the cut-off may have been
/// missing.
pub async fn check_bounds(day: BusinessDay, endpoint: &str) -> anyhow::Result<()> {
    let is_same = cut_offs(endpoint).await?.day(day) == day;
    anyhow::ensure!(is_same, "the tracker has just read another cut-off for {day}; run the command again");
    Ok(())
}
