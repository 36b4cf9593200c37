//! Entries of the directory of merchants as operators write them: JSON, one line for each merchant
//! and each store. A policy document (TOML) can be read too, to move its merchants.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, anyhow};
use serde::{Deserialize, Serialize};
use twqr_order::{Listing, ListingKey, Merchant, MerchantListing, StoreListing};
use twqr_types::{KeyName, MerchantId, StoreId};

use crate::read_policy;

/// The most faults that are listed; further ones are only counted.
const FAULTS_MAX: usize = 20;

/// A merchant, or with `store` one of its stores. Without `payment_max` there is no limit, and
/// without `keys` every key that the ingresses know is valid. `any_store` belongs to a merchant:
/// StoreIDs that are not listed are accepted, too.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ListingLine {
    merchant: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    store: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payment_max: Option<i64>,
    #[serde(default = "open", skip_serializing_if = "Clone::clone")]
    open: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    keys: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    any_store: bool,
}

fn open() -> bool {
    true
}

impl ListingLine {
    fn listing(self) -> anyhow::Result<(ListingKey, Listing)> {
        let key = |(i, name)| KeyName::parse(name).map_err(|problem| anyhow!("keys[{i}] {problem}"));
        let keys: Vec<KeyName> = self.keys.into_iter().enumerate().map(key).collect::<anyhow::Result<_>>()?;
        let merchant_id = MerchantId::parse(self.merchant).map_err(|problem| anyhow!("merchant {problem}"))?;
        let store_id = self.store.map(StoreId::parse).transpose().map_err(|problem| anyhow!("store {problem}"))?;
        let (payment_max, is_open) = (self.payment_max, self.open);
        let listing = if store_id.is_none() {
            Listing::Merchant(MerchantListing { keys, payment_max, is_open, takes_any_store: self.any_store })
        } else {
            anyhow::ensure!(
                keys.is_empty() && !self.any_store,
                "keys and any_store belong to the merchant, not a store"
            );
            Listing::Store(StoreListing { payment_max, is_open })
        };
        listing.fault().map_or(Ok(()), |fault| Err(anyhow!(fault)))?;
        Ok((ListingKey { merchant_id, store_id }, listing))
    }
}

/// Returns the line of an entry, in the form that [`read_listings`] reads.
pub fn listing_line(key: &ListingKey, listing: &Listing) -> String {
    let (payment_max, open, keys, any_store) = match listing {
        Listing::Merchant(merchant) => {
            let keys = merchant.keys.iter().map(|key| key.as_str().to_owned()).collect();
            (merchant.payment_max, merchant.is_open, keys, merchant.takes_any_store)
        }
        Listing::Store(store) => (store.payment_max, store.is_open, Vec::new(), false),
    };
    let line = ListingLine {
        merchant: key.merchant_id.as_str().to_owned(),
        store: key.store_id.as_ref().map(|store| store.as_str().to_owned()),
        payment_max,
        open,
        keys,
        any_store,
    };
    // Such a structure can always be written.
    serde_json::to_string(&line).unwrap_or_default()
}

/// Reads entries from a file; `-` is standard input. A file whose name ends with `.toml` is a
/// policy document, of which the merchants are taken. The error lists the faults with file and
/// line.
pub fn read_listings(path: &Path) -> Result<BTreeMap<ListingKey, Listing>, Vec<String>> {
    if path.extension().is_some_and(|extension| extension == "toml") {
        return read_policy(path).map(|policy| policy.merchants.iter().flat_map(of_merchant).collect());
    }
    let place = path.display();
    let text = twqr_files::read_text(path).map_err(|error| vec![format!("{place}: cannot be read: {error}")])?;
    parse(&text).map_err(|faults| faults.into_iter().map(|fault| format!("{place}: {fault}")).collect())
}

fn parse(text: &str) -> Result<BTreeMap<ListingKey, Listing>, Vec<String>> {
    let (mut listings, mut faults) = (BTreeMap::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let read = serde_json::from_str::<ListingLine>(line).map_err(anyhow::Error::from);
        match read.and_then(ListingLine::listing).with_context(|| format!("line {number}")) {
            Ok((key, listing)) => {
                let shown = key.to_string();
                if listings.insert(key, listing).is_some() {
                    faults.push(format!("line {number}: {shown} is in an earlier line, too"));
                }
            }
            Err(fault) => faults.push(format!("{fault:#}")),
        }
    }
    if faults.len() > FAULTS_MAX {
        let more = faults.len() - FAULTS_MAX;
        faults.truncate(FAULTS_MAX);
        faults.push(format!("{more} more faults are not listed; correct these first"));
    }
    if faults.is_empty() { Ok(listings) } else { Err(faults) }
}

/// The entries that decide as a merchant of a policy does.
fn of_merchant(merchant: &Merchant) -> Vec<(ListingKey, Listing)> {
    let key = |store_id| ListingKey { merchant_id: merchant.id.clone(), store_id };
    let listing = MerchantListing {
        keys: merchant.keys.clone(),
        payment_max: merchant.payment_max,
        is_open: merchant.is_open,
        takes_any_store: merchant.stores.is_empty(),
    };
    let stores = merchant.stores.iter().map(|store| {
        let listing = StoreListing { payment_max: store.payment_max, is_open: store.is_open };
        (key(Some(store.id.clone())), Listing::Store(listing))
    });
    std::iter::once((key(None), Listing::Merchant(listing))).chain(stores).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_the_same_after_reading_and_writing() {
        let lines = [
            r#"{"merchant":"M1","payment_max":1000,"open":false,"keys":["2026-07"],"any_store":true}"#,
            r#"{"merchant":"M1","store":"","payment_max":5}"#,
            r#"{"merchant":"M1","store":"S1"}"#,
            r#"{"merchant":"M2"}"#,
        ];
        let read = parse(&lines.join("\n\n")).unwrap();
        let written: Vec<String> = read.iter().map(|(key, listing)| listing_line(key, listing)).collect();
        assert_eq!(written, lines);
    }

    #[test]
    fn each_fault_names_its_line() {
        for (text, expected) in [
            ("{}", "line 1: missing field `merchant`"),
            ("{\"merchant\":\"M\",\"stores\":1}", "line 1: unknown field `stores`"),
            ("\n{\"merchant\":\"\"}", "line 2: merchant is required"),
            ("{\"merchant\":\"M\",\"payment_max\":0}", "line 1: payment_max is 0, must be 1 or more"),
            ("{\"merchant\":\"M\",\"store\":\"S\",\"keys\":[\"a\"]}", "line 1: keys and any_store belong"),
            ("{\"merchant\":\"M\"}\n{\"merchant\":\"M\"}", "line 2: M is in an earlier line, too"),
        ] {
            let faults = parse(text).unwrap_err();
            assert!(faults.len() == 1 && faults[0].starts_with(expected), "{faults:?}");
        }
        assert_eq!(parse(&"x\n".repeat(50)).unwrap_err().len(), FAULTS_MAX + 1);
    }

    #[test]
    fn the_merchants_of_a_policy_document_become_entries() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.toml");
        let text = "routes = [{ prefix = \"22\", code_lengths = [18] }]\n[[merchants]]\nid = \"M1\"\n[[merchants]]\n\
                    id = \"M2\"\nopen = false\n[[merchants.stores]]\nid = \"S1\"\npayment_max = 7\n";
        std::fs::write(&file, text).unwrap();
        let read = read_listings(&file).unwrap();
        let lines: Vec<String> = read.iter().map(|(key, listing)| listing_line(key, listing)).collect();
        let expected = [
            r#"{"merchant":"M1","any_store":true}"#,
            r#"{"merchant":"M2","open":false}"#,
            r#"{"merchant":"M2","store":"S1","payment_max":7}"#,
        ];
        assert_eq!(lines, expected);
    }
}
