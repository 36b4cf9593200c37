//! Checks a scenario file strictly: each key against the table of keys, and then what keys mean
//! together. All faults are reported at once, each with its line.

use serde::Deserialize as _;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    FaultAction, KEYS, PhaseKind, Scenario, ScenarioFault, ScenarioKey, SystemShape, keys::Form, threshold::Threshold,
};
use crate::ISSUERS;

/// The faults found so far, and where lines begin.
struct Checker<'a> {
    text: &'a str,
    faults: Vec<ScenarioFault>,
}

/// Parses and checks a file's text.
pub(super) fn parse(text: &str) -> Result<Scenario, Vec<ScenarioFault>> {
    let mut checker = Checker { text, faults: Vec::new() };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        checker.fault(error.span().map_or(0, |span| span.start), "TOML", error.message());
    }
    if checker.faults.is_empty() {
        checker.table("", table.get_ref());
    }
    if checker.faults.is_empty() {
        match toml::de::Deserializer::parse(text).and_then(Scenario::deserialize) {
            Ok(scenario) => {
                checker.meaning(&scenario, table.get_ref());
                if checker.faults.is_empty() {
                    return Ok(scenario);
                }
            }
            Err(error) => checker.fault(error.span().map_or(0, |span| span.start), "file", error.message()),
        }
    }
    checker.faults.sort_by_key(|fault| fault.line);
    Err(checker.faults)
}

fn find(path: &str) -> Option<&'static ScenarioKey> {
    let any = path.rsplit_once('.').map(|(table, _)| format!("{table}.*"));
    KEYS.iter().find(|key| key.path == path || any.as_deref() == Some(key.path))
}

/// Whether keys may stand below this path.
fn is_table(path: &str) -> bool {
    let prefix = format!("{path}.");
    KEYS.iter().any(|key| key.path.starts_with(&prefix))
}

impl Checker<'_> {
    fn fault(&mut self, at: usize, place: &str, what: impl Into<String>) {
        let before = self.text.get(..at.min(self.text.len())).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        self.faults.push(ScenarioFault { line, place: place.to_owned(), what: what.into() });
    }

    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let path =
                if prefix.is_empty() { name.get_ref().to_string() } else { format!("{prefix}.{}", name.get_ref()) };
            let at = name.span().start;
            match (find(&path), value.get_ref()) {
                (Some(key), _) => self.value(key, &path, value),
                (None, DeValue::Table(inner)) if is_table(&path) => self.table(&path, inner),
                (None, DeValue::Array(elements)) if is_table(&path) => {
                    for element in elements {
                        match element.get_ref().as_table() {
                            Some(inner) => self.table(&path, inner),
                            None => self.fault(element.span().start, &path, "must be a table"),
                        }
                    }
                }
                (None, _) if is_table(&path) => self.fault(at, &path, "must be a table"),
                (None, _) => {
                    let same_table = |key: &&ScenarioKey| key.path.rsplit_once('.').map_or("", |(t, _)| t) == prefix;
                    let known: Vec<&str> = KEYS.iter().filter(same_table).map(|key| key.path).collect();
                    self.fault(at, &path, format!("there is no such key; allowed here: {}", known.join(", ")));
                }
            }
        }
    }

    fn value(&mut self, key: &ScenarioKey, path: &str, value: &Spanned<DeValue<'_>>) {
        let at = value.span().start;
        let inner = value.get_ref();
        let number = match inner {
            DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix()).ok().map(|n| n as f64),
            DeValue::Float(number) => number.as_str().parse::<f64>().ok(),
            DeValue::String(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                None
            }
        };
        let is_allowed = match key.form {
            Form::Text => inner.is_str(),
            Form::Texts => inner.as_array().is_some_and(|list| list.iter().all(|element| element.get_ref().is_str())),
            Form::Whole(low, high) => {
                inner.is_integer() && number.is_some_and(|number| (low as f64..=high as f64).contains(&number))
            }
            Form::Number(low, high) => number.is_some_and(|number| (low..=high).contains(&number)),
            Form::Flag => inner.is_bool(),
            Form::OneOf(names) => inner.as_str().is_some_and(|name| names.contains(&name)),
            Form::Foreign => inner.is_table(),
        };
        if !is_allowed {
            let given = self.text.get(value.span()).unwrap_or_default().to_owned();
            self.fault(at, path, format!("is {given}, must be {}", key.allowed()));
        }
        if key.path == "thresholds" {
            for element in inner.as_array().into_iter().flat_map(|list| list.iter()) {
                if let Some(Err(what)) = element.get_ref().as_str().map(Threshold::parse) {
                    self.fault(element.span().start, path, what);
                }
            }
        }
        if key.path == "issuers.*" {
            let code = path.rsplit('.').next().unwrap_or_default();
            let codes = || ISSUERS.iter().map(|codes| codes.issuer.as_wire());
            if code != "wallet" && !codes().any(|known| !known.is_empty() && known == code) {
                let known: Vec<&str> = codes().filter(|known| !known.is_empty()).collect();
                self.fault(at, path, format!("is not an issuer; the issuers are wallet, {}", known.join(", ")));
            }
        }
    }

    /// Checks combinations of keys. A fault is reported at the line of its table.
    fn meaning(&mut self, scenario: &Scenario, table: &DeTable<'_>) {
        let lines = |name: &str| -> Vec<usize> {
            let Some((_, value)) = table.iter().find(|(key, _)| key.get_ref() == name) else { return Vec::new() };
            value.get_ref().as_array().map_or_else(
                || vec![value.span().start],
                |list| list.iter().map(|element| element.span().start).collect(),
            )
        };
        if scenario.phases.is_empty() {
            self.fault(0, "phase", "there is none; a scenario needs at least one [[phase]]");
        }
        for (phase, at) in scenario.phases.iter().zip(lines("phase")) {
            if phase.seconds <= 0.0 {
                self.fault(at, "phase.seconds", "is 0, must be above 0");
            }
            if phase.kind != PhaseKind::Idle && phase.rate <= 0.0 && phase.to_rate <= 0.0 {
                self.fault(at, "phase.rate", "must be above 0, except in an idle phase");
            }
            if phase.kind == PhaseKind::Wave && phase.period_s <= 0.0 {
                self.fault(at, "phase.period_s", "must be above 0 in a wave");
            }
            if phase.kind == PhaseKind::Steps && (phase.step <= 0.0 || phase.to_rate < phase.rate || phase.rate <= 0.0)
            {
                self.fault(at, "phase.step", "steps need rate above 0, step above 0, and to_rate at or above rate");
            }
        }
        self.planned_faults(scenario, &lines("fault"));
        let at = |name: &str| lines(name).first().copied().unwrap_or_default();
        let mix = &scenario.mix;
        if mix.pay + mix.invalid <= 0.0 {
            self.fault(at("mix"), "mix.pay", "must be above 0: the other calls are about payments");
        }
        if mix.http + mix.grpc_stream > 1.0 {
            self.fault(at("mix"), "mix.grpc_stream", "and mix.http are shares of the same calls: together at most 1");
        }
        if !scenario.issuers.is_empty() && scenario.issuers.values().sum::<f64>() <= 0.0 {
            self.fault(at("issuers"), "issuers", "have no weight above 0");
        }
    }

    /// Checks the planned faults; `starts` has the place of each in the text.
    fn planned_faults(&mut self, scenario: &Scenario, starts: &[usize]) {
        let mut has_flood_of_caller = false;
        for (fault, at) in scenario.faults.iter().zip(starts.iter().copied()) {
            let is_flood = fault.action.is_flood();
            if is_flood && fault.rate <= 0.0 {
                self.fault(at, "fault.rate", "must be above 0 in a flood");
            }
            if fault.action != FaultAction::RestartAll && !is_flood && fault.process.is_empty() {
                self.fault(at, "fault.process", "is missing; name a process such as router-0, or a broker's number");
            }
            if fault.action == FaultAction::KillBroker && scenario.system.shape == SystemShape::AllInOne {
                self.fault(at, "fault.action", "is kill-broker, but system.shape all-in-one has no broker");
            }
            if fault.action != FaultAction::FloodCaller {
                if fault.calls_per_s > 0 || fault.calls_max > 0 {
                    self.fault(at, "fault.calls_per_s", "and fault.calls_max are allowed only in a flood-caller");
                }
                continue;
            }
            if scenario.system.merchant_calls_per_s > 0 {
                let what = "is flood-caller, and system.merchant_calls_per_s limits merchants too; their refusals \
                            could not be told apart";
                self.fault(at, "fault.action", what);
            }
            if has_flood_of_caller {
                self.fault(at, "fault.action", "is flood-caller again; a scenario may have one");
            }
            has_flood_of_caller = true;
            if fault.calls_per_s == 0 || fault.calls_max == 0 {
                self.fault(at, "fault.calls_per_s", "and fault.calls_max must be above 0 in a flood-caller");
            }
            if fault.rate <= f64::from(fault.calls_per_s) {
                self.fault(at, "fault.rate", "must be above fault.calls_per_s; below it nothing is refused");
            }
        }
    }
}
