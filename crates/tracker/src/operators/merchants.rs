//! `ListMerchants`, `GetMerchant` and `ChangeMerchants`. Each change is a record on shard 0, whose
//! router decides whether to apply it. The tracker reads the decision when that router writes the
//! entry's versions to `order-states`.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::time::{Instant, timeout_at};
use tonic::Status;
use tonic_types::FieldViolation;
use tracing::info;
use twqr_journal::{Entry, Journal};
use twqr_order::{Command, ListingChange, ListingKey, Record};
use twqr_types::{MerchantId, StoreId, UnixMs};
use twqr_wire::{
    convert::{encode_record, listing_change_from, listing_change_out},
    ops::{
        ChangeMerchantsRequest, ChangeMerchantsResponse, GetMerchantRequest, GetMerchantResponse, ListMerchantsRequest,
        ListMerchantsResponse, ListedMerchant, ListingResult, OperatorRefusalReason, ShardListing,
        listing_result::Outcome,
    },
};

use super::{
    change::{Actor, ChangeTimes, append_changes, text_violations},
    policy::deciding,
    refusal::{invalid, invalid_arguments, refuse},
};
use crate::{
    directory::{TrackedDirectory, TrackedListing},
    policies::Policies,
};

/// How many entries are on a page by default, and at most.
const PAGE_SIZE_DEFAULT: i32 = 100;
const PAGE_SIZE_MAX: i32 = 1_000;
/// How many changes one call makes at most.
const CHANGES_MAX: usize = 1_000;

/// Reads and changes the directory of merchants.
pub(super) struct DirectoryEditor {
    directory: Arc<TrackedDirectory>,
    policies: Arc<Policies>,
    journal: Arc<dyn Journal>,
    times: Arc<ChangeTimes>,
    wait: Duration,
}

impl DirectoryEditor {
    /// `wait` is how long changes may take to be written and decided.
    pub(super) fn new(
        directory: Arc<TrackedDirectory>,
        policies: Arc<Policies>,
        journal: Arc<dyn Journal>,
        times: Arc<ChangeTimes>,
        wait: Duration,
    ) -> Self {
        Self { directory, policies, journal, times, wait }
    }

    /// A page of the directory as the shard that decides has it.
    pub(super) fn list(&self, request: ListMerchantsRequest) -> Result<ListMerchantsResponse, Status> {
        deciding(&self.policies)?;
        if !(0..=PAGE_SIZE_MAX).contains(&request.page_size) {
            return Err(invalid("page_size", "must be 0 (which means 100) to 1000"));
        }
        let size = if request.page_size == 0 { PAGE_SIZE_DEFAULT } else { request.page_size }.cast_unsigned() as usize;
        let merchant = Some(request.merchant_id).filter(|id| !id.is_empty());
        let merchant =
            merchant.map(MerchantId::parse).transpose().map_err(|problem| invalid("merchant_id", &problem))?;
        let after = match request.page_token.as_str() {
            "" => None,
            token => Some(
                parse_token(token)
                    .ok_or_else(|| invalid("page_token", "must be next_page_token of an earlier page"))?,
            ),
        };
        let select = |entry: &TrackedListing| {
            let Some(newest) = &entry.newest else { return false };
            (request.removed || newest.listing.is_some())
                && merchant.as_ref().is_none_or(|merchant| *merchant == newest.key.merchant_id)
                && (!request.behind_only || entry.behind().next().is_some())
        };
        let page = self.directory.page(after.as_ref(), size + 1, select);
        let next = page.get(size).and_then(|_| page[..size].last()?.newest.as_ref());
        Ok(ListMerchantsResponse {
            next_page_token: next.map_or_else(String::new, |last| token_of(&last.key)),
            entries: page.iter().take(size).map(listed_out).collect(),
        })
    }

    /// One entry of the directory.
    pub(super) fn get(&self, request: GetMerchantRequest) -> Result<GetMerchantResponse, Status> {
        deciding(&self.policies)?;
        let merchant_id = MerchantId::parse(request.merchant_id).map_err(|problem| invalid("merchant_id", &problem))?;
        let store_id = request.store_id.map(StoreId::parse).transpose();
        let key = ListingKey { merchant_id, store_id: store_id.map_err(|problem| invalid("store_id", &problem))? };
        let entry = self.directory.get(&key).filter(|entry| entry.newest.is_some());
        let unlisted = || refuse(OperatorRefusalReason::NotFound, format!("{key} was never listed"));
        let entry = entry.ok_or_else(unlisted)?;
        Ok(GetMerchantResponse { entry: Some(listed_out(&entry)) })
    }

    /// Writes changes and waits for the decision on each.
    pub(super) async fn change(
        &self,
        request: ChangeMerchantsRequest,
        actor: &Actor,
    ) -> Result<ChangeMerchantsResponse, Status> {
        let changes = self.changes(request, actor)?;
        let policies = deciding(&self.policies)?;
        if !policies.newest().is_some_and(|newest| newest.policy.takes_listings()) {
            let text = "nothing was changed: the directory of merchants needs protocol_version = 2 in the policy; \
                        raise it with `twqr policy apply` once every process runs a build that knows it";
            return Err(refuse(OperatorRefusalReason::ProtocolTooOld, text));
        }
        let newest_version = |key| self.directory.newest(key).map_or(0, |newest| newest.version);
        let is_next: Vec<bool> =
            changes.iter().map(|change| change.version == newest_version(&change.key) + 1).collect();
        let written: Vec<ListingChange> =
            changes.iter().zip(&is_next).filter(|(_, is_next)| **is_next).map(|(change, _)| change.clone()).collect();
        let deadline = Instant::now() + self.wait;
        if self.write(&written, deadline).await? {
            // What is not decided until then is reported as such below.
            let _late = timeout_at(deadline, self.directory.wait_for(&written)).await;
        }
        let result = |(change, was_written): (&ListingChange, &bool)| {
            let newest = self.directory.newest(&change.key);
            let outcome = outcome_of(change, *was_written, newest.as_deref());
            let newest_version = newest.map_or(0, |newest| newest.version);
            ListingResult { outcome: outcome.into(), newest_version }
        };
        Ok(ChangeMerchantsResponse { results: changes.iter().zip(&is_next).map(result).collect() })
    }

    /// Appends the changes. Returns false if it is not known whether all were written.
    async fn write(&self, changes: &[ListingChange], deadline: Instant) -> Result<bool, Status> {
        let Some(first) = changes.first() else { return Ok(true) };
        info!(changes = changes.len(), first = %first.key, who = %first.who, why = %first.why, "writing changes of the directory of merchants");
        let entry = |change: &ListingChange| {
            let command = Command::Listing(Box::new(change.clone()));
            Entry::plain(encode_record(&Record { at: change.at, signed_by: None, nonce: None, command }))
        };
        append_changes(&*self.journal, changes.iter().map(entry).collect(), deadline).await
    }

    /// Returns the changes that a request asks for; the error lists every fault.
    fn changes(&self, request: ChangeMerchantsRequest, actor: &Actor) -> Result<Vec<ListingChange>, Status> {
        let ChangeMerchantsRequest { changes, who, why } = request;
        let mut violations = text_violations(&who, &why);
        let who = actor.named(&who);
        if changes.is_empty() || changes.len() > CHANGES_MAX {
            let problem = format!("has {} entries, must have 1 to {CHANGES_MAX}", changes.len());
            return Err(invalid_arguments(vec![FieldViolation::new("changes", problem)]));
        }
        let (at, mut keys, mut read) = (self.times.next(), BTreeSet::new(), Vec::with_capacity(changes.len()));
        for (i, change) in changes.into_iter().enumerate() {
            match listing_change_from(change) {
                Ok(change) if change.version == 0 => {
                    violations.push(FieldViolation::new(format!("changes[{i}].version"), "must be 1 or more"));
                }
                Ok(change) if !keys.insert(change.key.clone()) => {
                    violations.push(FieldViolation::new(format!("changes[{i}]"), "is about an earlier entry, too"));
                }
                Ok(change) => read.push(stamped(change, &who, &why, at)),
                Err(fault) => violations.push(FieldViolation::new(format!("changes[{i}]"), fault.to_string())),
            }
        }
        if violations.is_empty() { Ok(read) } else { Err(invalid_arguments(violations)) }
    }
}

/// What has become of a change, if this is the newest one of its entry.
fn outcome_of(change: &ListingChange, was_written: bool, newest: Option<&ListingChange>) -> Outcome {
    match newest {
        Some(newest) if newest == change => Outcome::Taken,
        // A newer version may have replaced it after it was in force.
        Some(newest) if was_written && newest.version != change.version => Outcome::Undecided,
        None if was_written => Outcome::Undecided,
        Some(_) | None => Outcome::Conflict,
    }
}

fn stamped(change: ListingChange, who: &str, why: &str, at: UnixMs) -> ListingChange {
    ListingChange { who: who.into(), why: why.into(), at, ..change }
}

fn listed_out(entry: &TrackedListing) -> ListedMerchant {
    let behind = entry.behind().map(|(shard, version)| ShardListing { shard, version });
    ListedMerchant { change: entry.newest.as_deref().map(listing_change_out), behind: behind.collect() }
}

/// Writes a page token: `length of the MerchantID:MerchantID`, and for a store `:StoreID`.
fn token_of(key: &ListingKey) -> String {
    let merchant = key.merchant_id.as_str();
    let store = key.store_id.as_ref().map_or_else(String::new, |store| format!(":{store}"));
    format!("{}:{merchant}{store}", merchant.len())
}

fn parse_token(token: &str) -> Option<ListingKey> {
    let (length, rest) = token.split_once(':')?;
    let (merchant, store) = rest.split_at_checked(length.parse().ok()?)?;
    let store = if store.is_empty() { None } else { Some(store.strip_prefix(':')?) };
    Some(ListingKey {
        merchant_id: MerchantId::parse(merchant.to_owned()).ok()?,
        store_id: store.map(|store| StoreId::parse(store.to_owned())).transpose().ok()?,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_written_change_that_a_newer_one_has_replaced_is_undecided() {
        let change = |version, who: &str| ListingChange {
            key: ListingKey { merchant_id: MerchantId::parse("M1".into()).unwrap(), store_id: None },
            version,
            at: UnixMs(1),
            listing: None,
            who: who.into(),
            why: "a test".into(),
        };
        let own = change(5, "alice");
        for (was_written, newest, expected) in [
            (true, Some(own.clone()), Outcome::Taken),
            (true, Some(change(5, "bob")), Outcome::Conflict),
            (true, Some(change(6, "bob")), Outcome::Undecided),
            (true, Some(change(4, "bob")), Outcome::Undecided),
            (true, None, Outcome::Undecided),
            (false, Some(change(6, "bob")), Outcome::Conflict),
        ] {
            assert_eq!(outcome_of(&own, was_written, newest.as_ref()), expected, "{was_written} {newest:?}");
        }
    }

    #[test]
    fn a_page_token_names_an_entry() {
        for (merchant, store) in [("M", None), ("M", Some("")), ("M:1", Some("S:2")), ("商", Some("店"))] {
            let store_id = store.map(|store| StoreId::parse(store.into()).unwrap());
            let key = ListingKey { merchant_id: MerchantId::parse(merchant.into()).unwrap(), store_id };
            assert_eq!(parse_token(&token_of(&key)), Some(key));
        }
        for wrong in ["", "1", "9:M", "x:M", "0:", "1:Mx", "1:商"] {
            assert_eq!(parse_token(wrong), None, "{wrong}");
        }
    }
}
