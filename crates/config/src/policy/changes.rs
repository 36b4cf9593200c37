//! Describes the differences between two policies for operators. Entries of lists are matched by
//! their key (prefix, institution, id), not by their position. Issuers are compared by the rules in
//! effect: an entry that repeats the defaults equals an absent entry.

use std::{collections::BTreeMap, fmt::Display};

use twqr_order::{
    AcceptedMerchants, Alphabet, IssuerRules, Merchant, Policy, RefundScope, Route, RouteTarget, Store, Window,
};
use twqr_types::UnixMs;

use super::choice::name_of;

/// The name of a field and its value as text.
type Field = (&'static str, String);

/// Returns one line for each difference; empty if both policies decide every order alike.
pub fn changes(old: &Policy, new: &Policy) -> Vec<String> {
    // The number never falls, so this one holds after the change.
    let new = &Policy { protocol_version: new.protocol_version.max(old.protocol_version), ..new.clone() };
    let mut lines = differing("", general(old), general(new));
    lines.extend(routes(old, new));
    lines.extend(issuers(old, new));
    lines.extend(merchants(old, new));
    lines
}

/// Returns `~ what field: old -> new` for each field that differs.
fn differing<const N: usize>(what: &str, old: [Field; N], new: [Field; N]) -> Vec<String> {
    let pairs = old.into_iter().zip(new).filter(|((_, old), (_, new))| old != new);
    pairs.map(|((name, old), (_, new))| format!("~ {what}{name}: {old} -> {new}")).collect()
}

fn general(policy: &Policy) -> [Field; 9] {
    let codes = &policy.status_codes;
    [
        ("name", format!("{:?}", policy.name)),
        ("protocol_version", policy.protocol_version.to_string()),
        ("send_within_ms", policy.send_within_ms.to_string()),
        ("cut_off", policy.cut_off.to_string()),
        ("accepted_merchants", name_of(policy.accepted_merchants, &AcceptedMerchants::ALL)),
        ("card_not_supported", codes.card_not_supported.to_string()),
        ("fisc_abnormal", codes.fisc_abnormal.to_string()),
        ("issuer_declined", codes.issuer_declined.to_string()),
        ("refund_refused", codes.refund_refused.to_string()),
    ]
}

fn routes(old: &Policy, new: &Policy) -> Vec<String> {
    let by_prefix = |policy: &'_ Policy| -> BTreeMap<String, Route> {
        policy.routes.iter().map(|route| (route.prefix.clone(), route.clone())).collect()
    };
    let fields = |route: &Route| {
        let mut lengths = route.code_lengths.clone();
        lengths.sort_unstable();
        lengths.dedup();
        let target = match &route.target {
            RouteTarget::Issuer(issuer) => issuer.label().to_owned(),
            RouteTarget::Refuse => "refuse".to_owned(),
        };
        [("to", target), ("code_lengths", listed(&lengths)), ("alphabet", name_of(route.alphabet, &Alphabet::ALL))]
    };
    compared("route ", &by_prefix(old), &by_prefix(new), fields)
}

fn issuers(old: &Policy, new: &Policy) -> Vec<String> {
    let named: BTreeMap<_, _> =
        old.issuers.iter().chain(&new.issuers).map(|rules| (rules.issuer.label().to_owned(), rules.issuer)).collect();
    let line = |(label, issuer)| {
        let what = format!("issuer {label} ");
        differing(&what, rules(&old.issuer(issuer)), rules(&new.issuer(issuer)))
    };
    named.into_iter().flat_map(line).collect()
}

fn rules(rules: &IssuerRules) -> [Field; 16] {
    let (r, f, l) = (rules.resolution, rules.refund, rules.limits);
    let mut windows = rules.maintenance.clone();
    windows.sort_by_key(|window| (window.from, window.to));
    let windows: Vec<String> = windows.iter().map(window).collect();
    let codes: Vec<String> = rules.status_codes.iter().map(|(theirs, code)| format!("{theirs} = {code}")).collect();
    [
        ("window_ms", r.window_ms.to_string()),
        ("first_delay_ms", r.first_delay_ms.to_string()),
        ("delay_max_ms", r.delay_max_ms.to_string()),
        ("refund.scope", name_of(f.scope, &RefundScope::ALL)),
        ("refund.same_business_day", f.same_business_day.to_string()),
        ("refund.window_days", f.window_days.map_or_else(|| "no limit".to_owned(), |days| days.to_string())),
        ("refund.min_amount", f.min_amount.to_string()),
        ("limits.in_flight_max", l.in_flight_max.to_string()),
        ("limits.queue_max", l.queue_max.to_string()),
        ("limits.failures_to_open", l.failures_to_open.to_string()),
        ("limits.open_ms", l.open_ms.to_string()),
        ("limits.inquiries_per_s", l.inquiries_per_s.to_string()),
        ("maintenance", listed(&windows)),
        ("status_codes", listed(&codes)),
        ("idempotent_charges", rules.idempotent_charges.to_string()),
        ("idempotent_refunds", rules.idempotent_refunds.to_string()),
    ]
}

/// Formats a window in Asia/Taipei; a time beyond the calendar's range is printed in Unix ms.
fn window(window: &Window) -> String {
    let time = |at: UnixMs| if at.taipei().is_empty() { at.0.to_string() } else { at.taipei() };
    format!("{} to {}", time(window.from), time(window.to))
}

fn merchants(old: &Policy, new: &Policy) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(openness("merchants", "everybody", old.merchants.is_empty(), new.merchants.is_empty()));
    let by_id = |policy: &Policy| -> BTreeMap<String, Merchant> {
        policy.merchants.iter().map(|merchant| (merchant.id.to_string(), merchant.clone())).collect()
    };
    let (old, new) = (by_id(old), by_id(new));
    let fields = |merchant: &Merchant| {
        let [most, open] = limits(merchant.payment_max, merchant.is_open);
        let keys = if merchant.keys.is_empty() { "each".to_owned() } else { listed(&merchant.keys) };
        [most, open, ("keys", keys)]
    };
    lines.extend(compared("merchant ", &old, &new, fields));
    for (id, merchant) in &new {
        let before = old.get(id).map_or(&[][..], |merchant| &merchant.stores[..]);
        if let Some(old) = old.get(id) {
            let what = format!("merchant {id} stores");
            lines.extend(openness(&what, "every StoreID", old.stores.is_empty(), merchant.stores.is_empty()));
        }
        let fields = |store: &Store| limits(store.payment_max, store.is_open);
        lines.extend(compared(&format!("store {id}/"), &stores(before), &stores(&merchant.stores), fields));
    }
    lines
}

fn stores(stores: &[Store]) -> BTreeMap<String, Store> {
    stores.iter().map(|store| (store.id.to_string(), store.clone())).collect()
}

/// Reports when a list becomes empty or gets its first entry. An empty list allows every id, so the
/// first entry excludes all others. `all` is the text for an empty list.
fn openness(what: &str, all: &str, was_empty: bool, is_empty: bool) -> Option<String> {
    let of = |empty| if empty { all } else { "only those listed" };
    (was_empty != is_empty).then(|| format!("~ {what}: {} -> {}", of(was_empty), of(is_empty)))
}

fn limits(payment_max: Option<i64>, is_open: bool) -> [Field; 2] {
    let most = payment_max.map_or_else(|| "no limit".to_owned(), |most| most.to_string());
    [("payment_max", most), ("open", is_open.to_string())]
}

/// Lists the named entries that were added, removed or changed.
fn compared<T, const N: usize>(
    what: &str,
    old: &BTreeMap<String, T>,
    new: &BTreeMap<String, T>,
    fields: impl Fn(&T) -> [Field; N],
) -> Vec<String> {
    let whole = |sign: char, name: &str, part: &T| {
        let fields: Vec<String> = fields(part).into_iter().map(|(name, value)| format!("{name} {value}")).collect();
        format!("{sign} {what}{name}: {}", fields.join(", "))
    };
    let mut lines: Vec<String> =
        old.iter().filter(|(name, _)| !new.contains_key(*name)).map(|(name, part)| whole('-', name, part)).collect();
    for (name, part) in new {
        match old.get(name) {
            None => lines.push(whole('+', name, part)),
            Some(before) => lines.extend(differing(&format!("{what}{name} "), fields(before), fields(part))),
        }
    }
    lines
}

fn listed<T: Display>(values: &[T]) -> String {
    if values.is_empty() {
        return "none".to_owned();
    }
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests;
