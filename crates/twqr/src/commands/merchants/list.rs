//! `twqr merchants list` and `show`.

use std::process::ExitCode;

use anyhow::Context as _;
use twqr_config::{Config, listing_line};
use twqr_files::{is_stdout_closed, print_line};
use twqr_order::ListingChange;
use twqr_wire::ops::{ListMerchantsRequest, ListedMerchant};

use super::{List, Show, change_of, fetch_entry, fetch_page};

pub(super) async fn list(arguments: List, config: &Config) -> anyhow::Result<ExitCode> {
    let mut operators = arguments.server.connect(config).await?;
    let (merchant_id, behind_only, removed) = (arguments.merchant, arguments.behind, arguments.behind);
    let mut filter =
        Some(ListMerchantsRequest { merchant_id, behind_only, removed, ..ListMerchantsRequest::default() });
    while let Some(page) = fetch_page(&mut operators, &mut filter).await? {
        for entry in page {
            if arguments.behind {
                lines(entry)?.into_iter().try_for_each(print_line)?;
                continue;
            }
            let ListingChange { key, listing, .. } = change_of(entry)?;
            if let Some(listing) = listing {
                print_line(listing_line(&key, &listing))?;
            }
        }
        if is_stdout_closed() {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn show(arguments: Show, config: &Config) -> anyhow::Result<ExitCode> {
    let key = arguments.entry.key()?;
    let mut operators = arguments.server.connect(config).await?;
    let entry = fetch_entry(&mut operators, &key).await?;
    let entry = entry.with_context(|| format!("{key} was never listed; `twqr merchants list` lists all"))?;
    for line in lines(entry)? {
        print_line(line)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The version, who made it, why and when; the shards that are behind; and the content.
fn lines(entry: ListedMerchant) -> anyhow::Result<Vec<String>> {
    let behind = entry.behind.clone();
    let change = change_of(entry)?;
    let ListingChange { key, version, listing, who, why, at } = &change;
    let mut lines = vec![format!("# version {version} of {key}, {} by {who}: {why}", at.taipei())];
    lines.extend(behind.iter().map(|shard| format!("# shard {} has version {}", shard.shard, shard.version)));
    lines.push(
        listing
            .as_ref()
            .map_or_else(|| "# it was removed from the directory".to_owned(), |listing| listing_line(key, listing)),
    );
    Ok(lines)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use twqr_order::{ListingKey, StoreListing};
    use twqr_types::{MerchantId, StoreId, UnixMs};
    use twqr_wire::{convert::listing_change_out, ops::ShardListing};

    use super::*;

    #[test]
    fn the_version_and_the_shards_behind_come_before_the_content() {
        let key = ListingKey {
            merchant_id: MerchantId::parse("M1".into()).unwrap(),
            store_id: StoreId::parse("S1".into()).ok(),
        };
        let listing = Some(twqr_order::Listing::Store(StoreListing { payment_max: None, is_open: false }));
        let change =
            ListingChange { key, version: 2, listing, who: "alice".into(), why: "因為".into(), at: UnixMs(0) };
        let entry = |change: &ListingChange| ListedMerchant {
            change: Some(listing_change_out(change)),
            behind: vec![ShardListing { shard: 1, version: 0 }],
        };
        let mut expected = vec![
            "# version 2 of M1/S1, 1970/01/01 08:00:00 by alice: 因為",
            "# shard 1 has version 0",
            r#"{"merchant":"M1","store":"S1","open":false}"#,
        ];
        assert_eq!(lines(entry(&change)).unwrap(), expected);
        expected[2] = "# it was removed from the directory";
        assert_eq!(lines(entry(&ListingChange { listing: None, ..change })).unwrap(), expected);
    }
}
