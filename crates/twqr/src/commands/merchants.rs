//! `twqr merchants`: shows and changes the directory of merchants, entry by entry, without a
//! restart.

mod import;
mod list;
mod set;

use std::{path::PathBuf, process::ExitCode};

use anyhow::anyhow;
use clap::{Args, Subcommand};
use tonic::Code;
use twqr_config::Config;
use twqr_files::print_error_line;
use twqr_order::{Listing, ListingChange, ListingKey};
use twqr_types::{MerchantId, StoreId};
use twqr_wire::{
    convert::{listing_change_from, listing_change_out},
    ops::{
        ChangeMerchantsRequest, GetMerchantRequest, ListMerchantsRequest, ListedMerchant, ListingResult,
        listing_result::Outcome,
    },
};

use super::policy::{CALL_WITHIN, Operators, Server, failed, history_text, with_deadline};

/// The subcommands of `twqr merchants`.
#[derive(Debug, Subcommand)]
pub(crate) enum Merchants {
    /// Prints the directory as JSON lines, in the form that `import` reads
    List(List),
    /// Prints one entry with its version, who changed it, why and when
    Show(Show),
    /// Adds or changes an entry; options that are not given leave their values unchanged
    Set(Set),
    /// Removes an entry from the directory; the stores of a merchant may be paid only while it is
    /// listed. Revokes no key
    Remove(Remove),
    /// Prints what `import` would change; exit code 0 if nothing, 2 if something, 1 on an error
    Diff(DiffListings),
    /// Makes the directory contain the entries of a file; entries that are already equal are not
    /// written again
    Import(Import),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only this merchant and its stores (MerchantID)
    #[arg(long, default_value = "")]
    merchant: String,
    /// Only entries whose newest version a shard does not have yet, and these shards
    #[arg(long)]
    behind: bool,
    #[command(flatten)]
    server: Server,
}

/// The entry that a command is about.
#[derive(Debug, Args)]
pub(crate) struct Entry {
    /// The merchant's MerchantID
    merchant: String,
    /// The StoreID, if the entry is about a store
    store: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    entry: Entry,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    #[command(flatten)]
    entry: Entry,
    /// The largest payment in TWD; 0 for no limit
    #[arg(long, value_name = "TWD", value_parser = clap::value_parser!(i64).range(0..))]
    payment_max: Option<i64>,
    /// Whether payments and refunds are accepted
    #[arg(long)]
    open: Option<bool>,
    /// The names of the merchant's accepted keys
    #[arg(long, value_name = "NAME,NAME")]
    keys: Option<String>,
    /// Accept every key of the merchant that the ingresses have, instead of those that are named
    #[arg(long)]
    any_key: bool,
    /// Whether StoreIDs of the merchant that are not listed are accepted, too
    #[arg(long)]
    any_store: Option<bool>,
    #[command(flatten)]
    change: EntryChange,
}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    #[command(flatten)]
    entry: Entry,
    #[command(flatten)]
    change: EntryChange,
}

/// The arguments of a change of one entry.
#[derive(Debug, Args)]
pub(crate) struct EntryChange {
    /// The version of the entry that your change is based on, 0 for one that was never listed; by
    /// default the newest
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u64).range(..u64::MAX))]
    expect: Option<u64>,
    #[command(flatten)]
    reason: Reason,
}

/// Who changes the directory, and why. Each entry records both.
#[derive(Debug, Args)]
pub(crate) struct Reason {
    /// Who changes the directory
    #[arg(long, value_name = "NAME", value_parser = history_text)]
    who: String,
    /// Why it is changed
    #[arg(long, value_name = "TEXT", value_parser = history_text)]
    why: String,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Args)]
pub(crate) struct DiffListings {
    /// The entries as JSON lines, or - for standard input; or a policy document (FILE.toml), for
    /// its merchants
    file: PathBuf,
    /// Also take out every entry that the file does not contain
    #[arg(long)]
    remove_others: bool,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The entries as JSON lines, or - for standard input; or a policy document (FILE.toml), for
    /// its merchants
    file: PathBuf,
    /// Also take out every entry that the file does not contain
    #[arg(long)]
    remove_others: bool,
    /// Also change merchants whose keys are named now, and not in the file: every key of theirs
    /// that the ingresses have is accepted then
    #[arg(long)]
    any_key: bool,
    /// The maximum number of changed entries per second: each is a record on every shard
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    per_second: u32,
    #[command(flatten)]
    reason: Reason,
}

/// The exit code if an entry was changed in the meantime.
const CONFLICT: u8 = 3;
/// The largest page of the operators' API.
const PAGE_SIZE: i32 = 1_000;

/// Runs the subcommand.
pub(crate) async fn run(command: Merchants, config: &Config) -> anyhow::Result<ExitCode> {
    match command {
        Merchants::List(arguments) => list::list(arguments, config).await,
        Merchants::Show(arguments) => list::show(arguments, config).await,
        Merchants::Set(arguments) => set::set(arguments, config).await,
        Merchants::Remove(arguments) => set::remove(arguments, config).await,
        Merchants::Diff(arguments) => import::diff(arguments, config).await,
        Merchants::Import(arguments) => import::import(arguments, config).await,
    }
}

impl Entry {
    fn key(&self) -> anyhow::Result<ListingKey> {
        let merchant_id = MerchantId::parse(self.merchant.clone());
        let store_id = self.store.clone().map(StoreId::parse).transpose();
        Ok(ListingKey {
            merchant_id: merchant_id.map_err(|problem| anyhow!("the MerchantID {problem}"))?,
            store_id: store_id.map_err(|problem| anyhow!("the StoreID {problem}"))?,
        })
    }
}

/// Whether the merchant's keys are named before a change, and not after it. Every key of the
/// merchant that the ingresses have is accepted then, also one that leaked.
fn unnames_keys(before: Option<&Listing>, after: Option<&Listing>) -> bool {
    let names_keys = |listing: Option<&Listing>| match listing {
        Some(Listing::Merchant(merchant)) => !merchant.keys.is_empty(),
        Some(Listing::Store(_)) | None => false,
    };
    names_keys(before) && !names_keys(after)
}

/// Warns that a removal lets more keys in.
fn warn_of_unnamed_keys(key: &ListingKey) {
    print_error_line(format_args!(
        "twqr: warning: {key} names the keys that are accepted, and a removal revokes none: if the policy accepts \
         merchants that are not listed, every key of the merchant in merchant_keys_file is accepted from then on"
    ));
}

fn change_of(entry: ListedMerchant) -> anyhow::Result<ListingChange> {
    let change = entry.change.ok_or_else(|| anyhow!("the answer contains an entry without content"))?;
    Ok(listing_change_from(change)?)
}

/// Fetches one entry, also a removed one; `None` if it was never listed.
async fn fetch_entry(operators: &mut Operators, key: &ListingKey) -> anyhow::Result<Option<ListedMerchant>> {
    let (merchant_id, store_id) = (key.merchant_id.to_string(), key.store_id.as_ref().map(ToString::to_string));
    let request = with_deadline(GetMerchantRequest { merchant_id, store_id }, CALL_WITHIN);
    match operators.get_merchant(request).await {
        Ok(found) => Ok(found.into_inner().entry),
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(failed(&status)),
    }
}

/// Fetches the page at `filter.page_token`, and sets that of the next page. Returns `None` after
/// the last page.
async fn fetch_page(
    operators: &mut Operators,
    filter: &mut Option<ListMerchantsRequest>,
) -> anyhow::Result<Option<Vec<ListedMerchant>>> {
    let Some(request) = filter.take() else { return Ok(None) };
    let call = with_deadline(ListMerchantsRequest { page_size: PAGE_SIZE, ..request.clone() }, CALL_WITHIN);
    let page = operators.list_merchants(call).await.map_err(|status| failed(&status))?.into_inner();
    let page_token = page.next_page_token;
    *filter = (!page_token.is_empty()).then_some(ListMerchantsRequest { page_token, ..request });
    Ok(Some(page.entries))
}

/// Sends changes; returns the results in the same order.
async fn send(
    operators: &mut Operators,
    changes: &[ListingChange],
    reason: &Reason,
) -> anyhow::Result<Vec<(Outcome, ListingResult)>> {
    let changes = changes.iter().map(listing_change_out).collect();
    let request = ChangeMerchantsRequest { changes, who: reason.who.clone(), why: reason.why.clone() };
    let answer = operators.change_merchants(with_deadline(request, CALL_WITHIN)).await;
    let results = answer.map_err(|status| failed(&status))?.into_inner().results;
    Ok(results.into_iter().map(|result| (result.outcome(), result)).collect())
}
