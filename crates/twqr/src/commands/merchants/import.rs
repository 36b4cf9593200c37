//! `twqr merchants import` and `diff`: make the directory contain the entries of a file. Only
//! entries that differ are changed, so the same command continues an interrupted import.

use std::{collections::BTreeMap, io::Write as _, path::Path, process::ExitCode, time::Duration};

use anyhow::anyhow;
use tokio::time::{Instant, sleep_until};
use twqr_config::{Config, listing_line, read_listings};
use twqr_files::{print_error_line, print_line};
use twqr_order::{Listing, ListingChange, ListingKey};
use twqr_types::UnixMs;
use twqr_wire::ops::{ListMerchantsRequest, listing_result::Outcome};

use super::{
    CONFLICT, DiffListings, Import, Operators, Reason, change_of, fetch_page, send, unnames_keys, warn_of_unnamed_keys,
};

/// The exit code if something differs.
const DIFFERS: u8 = 2;
/// How many changes are sent at once.
const CHUNK: usize = 500;
/// The time between two lines about the progress, in ms.
const PROGRESS_MS: u64 = 5_000;
/// How many entries that were changed in the meantime are named.
const NAMED_MAX: usize = 20;

/// The directory: each entry's version and content; no content once it was taken out.
type Present = BTreeMap<ListingKey, (u64, Option<Listing>)>;

pub(super) async fn diff(arguments: DiffListings, config: &Config) -> anyhow::Result<ExitCode> {
    let wanted = read(&arguments.file)?;
    let mut operators = arguments.server.connect(config).await?;
    let present = fetch_all(&mut operators).await?;
    let changes = changes(&present, wanted, arguments.remove_others);
    let mut out = twqr_files::stdout();
    for change in &changes {
        let before = present.get(&change.key).and_then(|(_, listing)| listing.as_ref());
        for (sign, listing) in [('-', before), ('+', change.listing.as_ref())] {
            if let Some(listing) = listing {
                writeln!(out, "{sign} {}", listing_line(&change.key, listing))?;
            }
        }
    }
    if changes.is_empty() {
        writeln!(out, "nothing differs")?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::from(DIFFERS))
}

pub(super) async fn import(arguments: Import, config: &Config) -> anyhow::Result<ExitCode> {
    let wanted = read(&arguments.file)?;
    let mut operators = arguments.reason.server.connect(config).await?;
    let present = fetch_all(&mut operators).await?;
    let unchanged = wanted.len();
    let changes = changes(&present, wanted, arguments.remove_others);
    let set = changes.iter().filter(|change| change.listing.is_some()).count();
    let (kept, removed): (Vec<_>, Vec<_>) = unnamed(&present, &changes).partition(|change| change.listing.is_some());
    if !arguments.any_key
        && let Some(first) = kept.first()
    {
        anyhow::bail!(
            "the file names no keys of {} ({} merchants), and the directory does: every key of theirs in \
             merchant_keys_file would be accepted. Name the keys that stay, or write --any-key; nothing was changed",
            first.key,
            kept.len()
        );
    }
    removed.into_iter().take(NAMED_MAX).for_each(|change| warn_of_unnamed_keys(&change.key));
    let conflicts = send_all(&mut operators, &changes, &arguments.reason, arguments.per_second).await?;
    print_line(format_args!(
        "{} entries changed, {} unchanged, {} changed by others in the meantime",
        changes.len() - conflicts.len(),
        unchanged - set,
        conflicts.len()
    ))?;
    for key in conflicts.iter().take(NAMED_MAX) {
        print_error_line(format_args!("twqr: {key} was changed in the meantime; see it with `twqr merchants show`"));
    }
    Ok(if conflicts.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(CONFLICT) })
}

fn read(file: &Path) -> anyhow::Result<BTreeMap<ListingKey, Listing>> {
    read_listings(file).map_err(|faults| anyhow!("{}", faults.join("\n      ")))
}

async fn fetch_all(operators: &mut Operators) -> anyhow::Result<Present> {
    let mut filter = Some(ListMerchantsRequest { removed: true, ..ListMerchantsRequest::default() });
    let mut present = Present::new();
    while let Some(page) = fetch_page(operators, &mut filter).await? {
        for entry in page {
            let ListingChange { key, version, listing, .. } = change_of(entry)?;
            present.insert(key, (version, listing));
        }
    }
    Ok(present)
}

/// The changes that make the directory contain what is wanted. A merchant comes before its stores.
fn changes(present: &Present, wanted: BTreeMap<ListingKey, Listing>, removes_others: bool) -> Vec<ListingChange> {
    let mut wanted: BTreeMap<ListingKey, Option<Listing>> =
        wanted.into_iter().map(|(key, listing)| (key, Some(listing))).collect();
    if removes_others {
        for key in present.keys() {
            wanted.entry(key.clone()).or_insert(None);
        }
    }
    let change = |(key, listing): (ListingKey, Option<Listing>)| {
        let (version, before) = present.get(&key).cloned().unwrap_or_default();
        let (version, at) = (version + 1, UnixMs(0));
        (listing != before).then(|| ListingChange { key, version, listing, who: "".into(), why: "".into(), at })
    };
    wanted.into_iter().filter_map(change).collect()
}

/// The changes after which the directory no longer names the keys of a merchant.
fn unnamed<'a>(present: &'a Present, changes: &'a [ListingChange]) -> impl Iterator<Item = &'a ListingChange> {
    changes.iter().filter(|change| {
        let before = present.get(&change.key).and_then(|(_, listing)| listing.as_ref());
        unnames_keys(before, change.listing.as_ref())
    })
}

/// Sends the changes at a bounded rate; returns the entries that others changed in the meantime.
async fn send_all(
    operators: &mut Operators,
    changes: &[ListingChange],
    reason: &Reason,
    per_second: u32,
) -> anyhow::Result<Vec<ListingKey>> {
    let (mut conflicts, mut sent) = (Vec::new(), 0);
    let mut report_at = Instant::now() + Duration::from_millis(PROGRESS_MS);
    for chunk in changes.chunks(CHUNK.min(per_second as usize)) {
        let next_at = Instant::now() + Duration::from_secs(1) * chunk.len() as u32 / per_second;
        let results = send(operators, chunk, reason).await?;
        for (change, (outcome, _)) in chunk.iter().zip(results) {
            match outcome {
                Outcome::Taken => {}
                Outcome::Conflict => conflicts.push(change.key.clone()),
                Outcome::Undecided | Outcome::Unspecified => anyhow::bail!(
                    "after {sent} of {} changes: it is not known yet whether that of {} was applied. Run the same \
                     command again: it changes only what still differs",
                    changes.len(),
                    change.key
                ),
            }
        }
        sent += chunk.len();
        if Instant::now() >= report_at {
            print_error_line(format_args!("{sent} of {} changes are decided", changes.len()));
            report_at += Duration::from_millis(PROGRESS_MS);
        }
        sleep_until(next_at).await;
    }
    Ok(conflicts)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use twqr_order::StoreListing;
    use twqr_types::{MerchantId, StoreId};

    use super::*;

    fn key(store: &str) -> ListingKey {
        let store_id = StoreId::parse(store.into()).ok();
        ListingKey { merchant_id: MerchantId::parse("M".into()).unwrap(), store_id }
    }

    fn store(most: i64) -> Listing {
        Listing::Store(StoreListing { payment_max: Some(most), is_open: true })
    }

    #[test]
    fn only_what_differs_is_changed() {
        let present = Present::from([
            (key("same"), (1, Some(store(1)))),
            (key("other"), (2, Some(store(1)))),
            (key("gone"), (3, None)),
            (key("extra"), (4, Some(store(1)))),
        ]);
        let wanted =
            || BTreeMap::from(["same", "other", "gone", "new"].map(|id| (key(id), store(i64::from(id != "same") + 1))));
        for (removes_others, expected) in [
            (false, vec!["gone 4 set", "new 1 set", "other 3 set"]),
            (true, vec!["extra 5 removed", "gone 4 set", "new 1 set", "other 3 set"]),
        ] {
            let found: Vec<String> = changes(&present, wanted(), removes_others)
                .iter()
                .map(|change| {
                    let what = if change.listing.is_some() { "set" } else { "removed" };
                    format!("{} {} {what}", change.key.store_id.as_ref().unwrap(), change.version)
                })
                .collect();
            assert_eq!(found, expected);
        }
        let applied: Present = wanted().into_iter().map(|(key, listing)| (key, (9, Some(listing)))).collect();
        assert!(changes(&applied, wanted(), true).is_empty(), "an import that is repeated changes nothing");
    }
}
