//! `twqr merchants set` and `remove`: change one entry, unless it is newer than the operator
//! expects.

use std::process::ExitCode;

use anyhow::anyhow;
use twqr_config::Config;
use twqr_files::{print_error_line, print_line};
use twqr_order::{Listing, ListingChange, ListingKey, MerchantListing, StoreListing};
use twqr_types::{KeyName, UnixMs};
use twqr_wire::ops::listing_result::Outcome;

use super::{
    CONFLICT, EntryChange, Operators, Remove, Set, change_of, fetch_entry, send, unnames_keys, warn_of_unnamed_keys,
};

pub(super) async fn set(arguments: Set, config: &Config) -> anyhow::Result<ExitCode> {
    let key = arguments.entry.key()?;
    let mut operators = arguments.change.reason.server.connect(config).await?;
    let (version, present) = newest(&mut operators, &key).await?;
    let listing = changed(present, &key, &arguments)?;
    apply(&mut operators, key, version, Some(listing), arguments.change).await
}

pub(super) async fn remove(arguments: Remove, config: &Config) -> anyhow::Result<ExitCode> {
    let key = arguments.entry.key()?;
    let mut operators = arguments.change.reason.server.connect(config).await?;
    let (version, present) = newest(&mut operators, &key).await?;
    anyhow::ensure!(present.is_some(), "{key} is not listed; `twqr merchants list` lists all");
    if unnames_keys(present.as_ref(), None) {
        warn_of_unnamed_keys(&key);
    }
    apply(&mut operators, key, version, None, arguments.change).await
}

/// The newest version of an entry and its content; 0 and `None` if it was never listed.
async fn newest(operators: &mut Operators, key: &ListingKey) -> anyhow::Result<(u64, Option<Listing>)> {
    let Some(entry) = fetch_entry(operators, key).await? else { return Ok((0, None)) };
    let change = change_of(entry)?;
    Ok((change.version, change.listing))
}

/// The entry with what the arguments name; a new one is open, has no limit, and takes listed stores
/// only.
fn changed(present: Option<Listing>, key: &ListingKey, arguments: &Set) -> anyhow::Result<Listing> {
    let limit = |before: Option<i64>| match arguments.payment_max {
        None => before,
        Some(most) => Some(most).filter(|most| *most > 0),
    };
    let is_open = |before: bool| arguments.open.unwrap_or(before);
    if key.store_id.is_some() {
        anyhow::ensure!(
            arguments.keys.is_none() && !arguments.any_key && arguments.any_store.is_none(),
            "--keys, --any-key and --any-store belong to a merchant, and {key} is a store"
        );
        let before = match present {
            Some(Listing::Store(store)) => store,
            Some(Listing::Merchant(_)) | None => StoreListing { payment_max: None, is_open: true },
        };
        return Ok(Listing::Store(StoreListing {
            payment_max: limit(before.payment_max),
            is_open: is_open(before.is_open),
        }));
    }
    let before = match present {
        Some(Listing::Merchant(merchant)) => merchant,
        Some(Listing::Store(_)) | None => {
            MerchantListing { keys: Vec::new(), payment_max: None, is_open: true, takes_any_store: false }
        }
    };
    Ok(Listing::Merchant(MerchantListing {
        keys: keys(before.keys, arguments)?,
        payment_max: limit(before.payment_max),
        is_open: is_open(before.is_open),
        takes_any_store: arguments.any_store.unwrap_or(before.takes_any_store),
    }))
}

/// The names of the accepted keys. None accepts every key, so that must be said in so many words.
fn keys(before: Vec<KeyName>, arguments: &Set) -> anyhow::Result<Vec<KeyName>> {
    let Some(names) = &arguments.keys else { return Ok(if arguments.any_key { Vec::new() } else { before }) };
    let names = key_names(names)?;
    anyhow::ensure!(
        !names.is_empty() || arguments.any_key,
        "--keys names no key, and then every key of the merchant in merchant_keys_file is accepted: write --any-key if \
         you mean that. To refuse a key, name those that stay; to refuse all, write --open false"
    );
    anyhow::ensure!(names.is_empty() || !arguments.any_key, "--keys names keys, and --any-key accepts all: write one");
    Ok(names)
}

fn key_names(names: &str) -> anyhow::Result<Vec<KeyName>> {
    let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
    names.map(|name| KeyName::parse(name.to_owned()).map_err(|problem| anyhow!("--keys: a name {problem}"))).collect()
}

/// Sends the change; prints the new version, or what to do about a conflict.
async fn apply(
    operators: &mut Operators,
    key: ListingKey,
    newest: u64,
    listing: Option<Listing>,
    change: EntryChange,
) -> anyhow::Result<ExitCode> {
    let EntryChange { expect, reason } = change;
    let version = expect.unwrap_or(newest) + 1;
    let (who, why, at) = ("".into(), "".into(), UnixMs(0));
    let change = ListingChange { key, version, listing, who, why, at };
    let results = send(operators, std::slice::from_ref(&change), &reason).await?;
    let key = &change.key;
    match results.first() {
        Some((Outcome::Taken, _)) => {
            print_line(format_args!("version {version} of {key} holds"))?;
            Ok(ExitCode::SUCCESS)
        }
        Some((Outcome::Conflict, result)) => {
            print_error_line(format_args!(
                "twqr: nothing was changed: version {} of {key} was expected to be the newest, but version {} is: see it \
                 with `twqr merchants show`, then try again",
                version - 1,
                result.newest_version
            ));
            Ok(ExitCode::from(CONFLICT))
        }
        Some((Outcome::Undecided | Outcome::Unspecified, _)) | None => Err(anyhow!(
            "it is not known yet whether version {version} of {key} was applied; it may still be applied later. Check with \
             `twqr merchants show` before you try again"
        )),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use clap::{Parser, Subcommand};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        command: Wrapped,
    }

    #[derive(Subcommand)]
    enum Wrapped {
        #[command(subcommand)]
        Merchants(super::super::Merchants),
    }

    fn after(present: Option<Listing>, arguments: &str) -> anyhow::Result<Listing> {
        let line = format!("twqr merchants set {arguments} --who alice --why because");
        let Wrapped::Merchants(command) = Line::try_parse_from(line.split(' ')).unwrap().command;
        let super::super::Merchants::Set(set) = command else { return Err(anyhow!("another command")) };
        changed(present, &set.entry.key()?, &set)
    }

    #[test]
    fn what_is_not_named_stays_as_it_is() {
        let store = |payment_max, is_open| Listing::Store(StoreListing { payment_max, is_open });
        assert_eq!(after(None, "M S").unwrap(), store(None, true));
        assert_eq!(after(Some(store(Some(5), true)), "M S --open false").unwrap(), store(Some(5), false));
        assert_eq!(after(Some(store(Some(5), false)), "M S --payment-max 0").unwrap(), store(None, false));
        let merchant = |keys: &str, takes_any_store| {
            let keys = key_names(keys).unwrap();
            Listing::Merchant(MerchantListing { keys, payment_max: Some(9), is_open: true, takes_any_store })
        };
        assert_eq!(after(None, "M --payment-max 9 --keys a,b").unwrap(), merchant("a,b", false));
        assert_eq!(after(Some(merchant("a", false)), "M --any-store true").unwrap(), merchant("a", true));
        let fault = after(None, "M S --keys a").unwrap_err().to_string();
        assert!(fault.contains("M/S is a store"), "{fault}");
    }

    /// Fails if an empty list of keys, which accepts every key, can be set by mistake.
    #[test]
    fn every_key_is_accepted_only_if_that_is_said() {
        let merchant = |keys: &[&str]| {
            let keys = keys.iter().map(|name| KeyName::parse((*name).to_owned()).unwrap()).collect();
            Listing::Merchant(MerchantListing { keys, payment_max: None, is_open: true, takes_any_store: false })
        };
        let two = || Some(merchant(&["leaked", "good"]));
        for (arguments, expected) in [
            ("M --keys good", Ok(&["good"][..])),
            ("M --any-key", Ok(&[][..])),
            ("M --keys= --any-key", Ok(&[][..])),
            ("M --open true", Ok(&["leaked", "good"][..])),
            ("M --keys=", Err("write --any-key if you mean that")),
            ("M --keys=,", Err("write --any-key if you mean that")),
            ("M --keys good --any-key", Err("write one")),
            ("M S --any-key", Err("M/S is a store")),
        ] {
            match (after(two(), arguments), expected) {
                (Ok(listing), Ok(keys)) => assert_eq!(listing, merchant(keys), "{arguments}"),
                (Err(fault), Err(part)) => assert!(fault.to_string().contains(part), "{arguments}: {fault}"),
                (found, _) => panic!("{arguments}: {found:?}"),
            }
        }
        let some = Some(merchant(&["a"]));
        for (before, after, unnamed) in
            [(&some, None, true), (&some, Some(merchant(&[])), true), (&some, two(), false), (&None, None, false)]
        {
            assert_eq!(unnames_keys(before.as_ref(), after.as_ref()), unnamed, "{before:?} to {after:?}");
        }
    }
}
