//! The layout of accounting files: the columns, their order and headings, the encoding, and how
//! times and dates are written.

use std::{collections::HashSet, fmt};

use serde::{Deserialize, Serialize};
use twqr_types::BusinessDay;

use crate::{
    column::{Column, Formats},
    encoding::Encoding,
    times::taipei,
};

/// A layout as written in the configuration, before it is checked. Absent keys have their default.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct LayoutConfig {
    /// One of `utf-8`, `utf-8-bom` (the default, which spreadsheets recognise) and `big5`.
    pub encoding: String,
    /// The text between cells: `,` (the default), `;`, `|` or a tab.
    pub delimiter: String,
    /// The format of times in Asia/Taipei: `%Y`, `%m`, `%d`, `%H`, `%M`, `%S` and `%%`; all other
    /// characters are written as they are.
    pub time_format: String,
    /// The format of dates: `%Y`, `%m`, `%d` and `%%`; all other characters are written as they
    /// are.
    pub date_format: String,
    /// The columns from left to right; an empty list means the default columns.
    pub columns: Vec<ColumnConfig>,
}

/// A column as written in the configuration.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct ColumnConfig {
    /// The name of the column: [`Column::name`].
    pub field: String,
    /// The heading of the column.
    pub heading: String,
}

impl Default for LayoutConfig {
    fn default() -> Self {
        Self {
            encoding: Encoding::Utf8Bom.name().to_owned(),
            delimiter: ",".to_owned(),
            time_format: "%Y/%m/%d %H:%M:%S".to_owned(),
            date_format: "%Y/%m/%d".to_owned(),
            columns: Vec::new(),
        }
    }
}

/// A checked layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    pub(crate) encoding: Encoding,
    pub(crate) delimiter: u8,
    time_format: String,
    date_format: String,
    pub(crate) columns: Vec<(Column, String)>,
}

/// Everything that is wrong with a layout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct LayoutFaults(pub Vec<String>);

impl fmt::Display for LayoutFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

/// The allowed delimiters.
const DELIMITERS: &[u8] = b",;|\t";
/// The characters that may follow `%` in a time format.
const TIME_SPECIFIERS: &str = "YmdHMS%";
/// The characters that may follow `%` in a date format.
const DATE_SPECIFIERS: &str = "Ymd%";

impl LayoutConfig {
    /// Checks the whole layout; the error lists every fault.
    pub fn layout(&self) -> Result<Layout, LayoutFaults> {
        let mut faults = Vec::new();
        let encoding = Encoding::from_name(&self.encoding);
        if encoding.is_none() {
            faults.push(format!(
                "encoding is {:?}, must be one of {}",
                self.encoding,
                names(Encoding::ALL.map(Encoding::name))
            ));
        }
        let delimiter = match self.delimiter.as_bytes() {
            [one] if DELIMITERS.contains(one) => *one,
            _ => {
                faults.push(format!("delimiter is {:?}, must be \",\", \";\", \"|\" or a tab", self.delimiter));
                b','
            }
        };
        let encoding = encoding.unwrap_or(Encoding::Utf8);
        faults.extend(format_fault("time_format", &self.time_format, TIME_SPECIFIERS, encoding));
        faults.extend(format_fault("date_format", &self.date_format, DATE_SPECIFIERS, encoding));
        let columns = self.checked_columns(encoding, &mut faults);
        if !faults.is_empty() {
            return Err(LayoutFaults(faults));
        }
        Ok(Layout {
            encoding,
            delimiter,
            time_format: self.time_format.clone(),
            date_format: self.date_format.clone(),
            columns,
        })
    }

    fn checked_columns(&self, encoding: Encoding, faults: &mut Vec<String>) -> Vec<(Column, String)> {
        if self.columns.is_empty() {
            let usual = Column::ALL.iter().filter(|column| **column != Column::NetAmount);
            return usual.map(|column| (*column, column.heading().to_owned())).collect();
        }
        let mut columns = Vec::new();
        let mut seen = HashSet::new();
        for (n, ColumnConfig { field, heading }) in self.columns.iter().enumerate() {
            let Some(column) = Column::from_name(field) else {
                let allowed = names(Column::ALL.iter().map(|column| column.name()));
                faults.push(format!("columns[{n}].field is {field:?}, must be one of {allowed}"));
                continue;
            };
            if !seen.insert(column) {
                faults.push(format!("columns[{n}].field {field} occurs twice"));
            }
            if heading.is_empty() || heading.chars().any(char::is_control) {
                faults.push(format!("columns[{n}].heading must be text without control characters"));
            }
            faults.extend(encoding_fault(&format!("columns[{n}].heading"), heading, encoding));
            columns.push((column, heading.clone()));
        }
        let missing: Vec<&str> =
            Column::REQUIRED.iter().filter(|column| !seen.contains(column)).map(|column| column.name()).collect();
        if !missing.is_empty() {
            faults.push(format!("columns must also have {}, or the file could not be checked", names(missing)));
        }
        columns
    }
}

impl Default for Layout {
    /// The layout of [`LayoutConfig::default`].
    fn default() -> Self {
        let config = LayoutConfig::default();
        Self {
            encoding: Encoding::Utf8Bom,
            delimiter: b',',
            columns: config.checked_columns(Encoding::Utf8Bom, &mut Vec::new()),
            time_format: config.time_format,
            date_format: config.date_format,
        }
    }
}

impl Layout {
    pub(crate) fn formats(&self, day: BusinessDay) -> Formats<'_> {
        Formats { time: &self.time_format, date: &self.date_format, day }
    }
}

fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().collect::<Vec<_>>().join(", ")
}

fn encoding_fault(key: &str, text: &str, encoding: Encoding) -> Option<String> {
    let fits = encoding.fit(text) == text;
    (!fits).then(|| format!("{key} is {text:?}, which has a character that {} cannot express", encoding.name()))
}

fn format_fault(key: &str, format: &str, allowed: &str, encoding: Encoding) -> Option<String> {
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter.is_control() || letter == '%' && !letters.next().is_some_and(|next| allowed.contains(next)) {
            let list = names(allowed.split("").filter(|letter| !letter.is_empty()));
            return Some(format!(
                "{key} is {format:?}, after % only {list} may follow, and control characters are not allowed"
            ));
        }
    }
    if taipei(twqr_types::UnixMs(0), format).is_empty() {
        return Some(format!("{key} is {format:?}, must not be empty; an example is %Y/%m/%d"));
    }
    encoding_fault(key, format, encoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        toml::from_str::<LayoutConfig>(text).unwrap().layout().unwrap_err().0
    }

    #[test]
    fn an_empty_configuration_is_the_default_layout() {
        assert_eq!(toml::from_str::<LayoutConfig>("").unwrap().layout().unwrap(), Layout::default());
        let printed = toml::to_string(&LayoutConfig::default()).unwrap();
        assert_eq!(toml::from_str::<LayoutConfig>(&printed).unwrap(), LayoutConfig::default());
    }

    #[test]
    fn every_fault_is_listed_with_the_allowed_values() {
        let found = faults(
            r#"
            encoding = "latin1"
            delimiter = ", "
            time_format = "%Y %q"
            date_format = "%H"
            columns = [{ field = "trade_no", heading = "a" }, { field = "trade_no", heading = "" },
                       { field = "card", heading = "b" }]
            "#,
        );
        let expected = [
            "encoding is \"latin1\", must be one of utf-8, utf-8-bom, big5",
            "delimiter is \", \"",
            "time_format is \"%Y %q\", after % only Y, m, d, H, M, S, %",
            "date_format is \"%H\"",
            "columns[1].field trade_no occurs twice",
            "columns[1].heading",
            "columns[2].field is \"card\", must be one of kind, settled_at,",
            "columns must also have kind, refund_trade_no, issuer, trade_amount",
        ];
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found}");
        }
        assert!(toml::from_str::<LayoutConfig>("colums = []").is_err());
    }

    #[test]
    fn a_heading_must_fit_the_encoding() {
        let columns: Vec<ColumnConfig> = Column::REQUIRED
            .iter()
            .map(|column| ColumnConfig { field: column.name().to_owned(), heading: "金額😀".to_owned() })
            .collect();
        let config = LayoutConfig { encoding: "big5".into(), columns, ..LayoutConfig::default() };
        assert_eq!(config.layout().unwrap_err().0.len(), Column::REQUIRED.len());
        assert!(LayoutConfig { encoding: "utf-8".into(), ..config }.layout().is_ok());
        assert!(LayoutConfig { encoding: "big5".into(), ..LayoutConfig::default() }.layout().is_ok());
        assert_eq!(faults("time_format = \"\"").len(), 1);
    }
}
