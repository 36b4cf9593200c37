//! The configuration (TOML). `example.toml` shows every key.

use std::{collections::BTreeMap, fmt, net::SocketAddr};

use serde::Deserialize;

/// What the adapter needs to know about its HTTP backend.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterConfig {
    /// Where the workers reach the adapter. On loopback, since the adapter has neither TLS nor
    /// authentication, unless `insecure` is set.
    pub listen: SocketAddr,
    /// Whether other machines may reach `listen`: anyone who does can charge and refund, and read
    /// card tokens on the way.
    #[serde(default)]
    pub insecure: bool,
    /// Where the HTTP backend is.
    pub backend: Backend,
    /// How amounts and times are written.
    pub formats: Formats,
    /// The request of each kind of call.
    pub calls: Calls,
    /// Where an answer has its values.
    pub answer: AnswerPaths,
    /// What each result code means. A code that is not listed decides nothing.
    pub results: BTreeMap<String, Meaning>,
}

/// The HTTP backend.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    /// IP address and port. It is plain HTTP: put TLS in between where a machine is left.
    pub address: SocketAddr,
    /// The header `Host`; without it, the address.
    pub host: Option<String>,
    /// How long a connection may take to open, in ms.
    pub connect_ms: u64,
    /// How long a request may take, in ms; then it is Undecided. Shorter than the workers'
    /// `call_timeout_ms`.
    pub answer_ms: u64,
    /// An idle connection is used again for this long, in ms; shorter than the backend keeps it.
    pub idle_ms: u64,
    /// How many requests may be in progress. Further calls are not read.
    pub in_flight_max: usize,
    /// The header that carries our number, if the backend recognises repeats by one.
    pub idempotency_header: Option<String>,
    /// Further headers of every request.
    #[serde(default)]
    pub headers: Headers,
}

/// Names and values of headers. A value may be the backend's secret, so Debug shows only the names.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Headers(pub BTreeMap<String, String>);

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// How amounts and times are written.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Formats {
    /// The form of every amount.
    pub amount: AmountForm,
    /// The form of `send_by`.
    pub time: TimeForm,
}

/// The form of an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AmountForm {
    /// A JSON number of whole TWD: 120.
    Number,
    /// A text of whole TWD: "120".
    Text,
    /// A text with two decimals: "120.00".
    Decimals,
    /// A JSON number of cents: 12000.
    Cents,
}

/// The form of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeForm {
    /// A JSON number of Unix ms.
    UnixMs,
    /// A JSON number of Unix s, rounded down.
    UnixS,
    /// A text in UTC, such as `2026-03-01T04:05:06.789Z`.
    Rfc3339,
}

/// The request of each kind of call.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calls {
    /// The request of a charge.
    pub charge: HttpRequest,
    /// The request of a refund.
    pub refund: HttpRequest,
    /// The request of a reversal.
    pub reversal: HttpRequest,
    /// An inquiry about a charge.
    pub inquire_charge: HttpRequest,
    /// An inquiry about a refund.
    pub inquire_refund: HttpRequest,
    /// An inquiry about a reversal.
    pub inquire_reversal: HttpRequest,
}

/// A POST with a JSON object.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpRequest {
    /// The path, such as `/api/pay`.
    pub path: String,
    /// The backend's name of a field, and ours. A dot in the backend's name means an object within
    /// an object.
    pub fields: BTreeMap<String, Field>,
    /// Fields with the same text in every request.
    #[serde(default)]
    pub constants: BTreeMap<String, String>,
    /// What to do after `send_by`.
    #[serde(default)]
    pub late: Late,
}

/// The fields of our calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are those of backend.proto")]
pub enum Field {
    TradeNo,
    RefundTradeNo,
    Institution,
    MerchantId,
    MerchantTradeNo,
    StoreId,
    StoreName,
    PosId,
    CardToken,
    TradeAmount,
    UnRedeem,
    Remark,
    SendBy,
}

/// What to do with a call after its `send_by`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Late {
    /// Refuse it. Right for every backend, but an issuer with this is not idempotent: a repeat must
    /// get the first result, and only the backend knows it.
    #[default]
    Refuse,
    /// Send it. Only if the backend itself refuses a late call with an unknown number, by a field
    /// that has `send_by`.
    Forward,
}

/// Where an answer has its values; a dot means an object within an object. What has no path is
/// empty.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnswerPaths {
    /// The result code.
    pub code: String,
    /// The reason of a refusal, for people.
    pub reason: Option<String>,
    /// How the customer paid; its meaning is in `payment_types`.
    pub payment_type: Option<String>,
    /// PaymentType of the POS document (1, 3, 4, 8) by the backend's value. An approval with
    /// another value is Undecided.
    pub payment_types: BTreeMap<String, i32>,
    /// What the customer paid, or got back, in money.
    pub debit_amount: String,
    /// The name of the points that were redeemed.
    pub redeem_name: Option<String>,
    /// What points paid: zero or negative in an approval, zero or positive in a refund.
    pub redeem_amount: Option<String>,
    /// What offers of the store paid, with the same sign.
    pub store_redeem_amount: Option<String>,
    /// The customer's carrier.
    pub invoice_vehicle: Option<String>,
    /// The customer's member token.
    pub mer_mem_token: Option<String>,
    /// The name of the credit card.
    pub card_name: Option<String>,
    /// The number of the credit card, masked.
    pub card_no_masked: Option<String>,
    /// The backend's own number.
    pub issuer_trade_no: Option<String>,
}

/// What a result code means.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Meaning {
    /// The call took effect; to an inquiry: the movement did.
    Done,
    /// To an inquiry: there is no such number.
    TradeUnknown,
    /// Nothing is decided.
    Undecided,
    /// The wallet refused; the text is a StatusCode of the POS document, or empty for the same
    /// code.
    DeclinedByWallet(String),
    /// The issuer refused; the text is the code to report, or empty for the same code.
    DeclinedByIssuer(String),
    /// The store takes no credit card.
    CardNotSupported(String),
    /// FISC refused before the call reached the issuer.
    DeclinedByFisc(String),
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The text is no TOML of this form. It shows no text that may be a secret, only a choice that
    /// does not exist.
    #[error("line {line}: {what}")]
    Form {
        /// The line of the fault.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// A value is wrong.
    #[error("{0}")]
    Value(String),
}

impl AdapterConfig {
    /// Reads a configuration and checks it.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| form_error(text, &error))?;
        config.check().map_err(ConfigError::Value)?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        let calls = &self.calls;
        for (name, request, number) in [
            ("charge", &calls.charge, Field::TradeNo),
            ("refund", &calls.refund, Field::RefundTradeNo),
            ("reversal", &calls.reversal, Field::TradeNo),
            ("inquire_charge", &calls.inquire_charge, Field::TradeNo),
            ("inquire_refund", &calls.inquire_refund, Field::RefundTradeNo),
            ("inquire_reversal", &calls.inquire_reversal, Field::TradeNo),
        ] {
            let has = |field: Field| request.fields.values().any(|ours| *ours == field);
            if !has(number) {
                return Err(format!("calls.{name}.fields has no {number:?}: the backend could not tell calls apart"));
            }
            if request.late == Late::Forward && !has(Field::SendBy) {
                return Err(format!("calls.{name}.late is forward, so calls.{name}.fields must have send_by"));
            }
            if !request.path.starts_with('/') {
                return Err(format!("calls.{name}.path is {:?}, must begin with /", request.path));
            }
        }
        for (key, path) in [("answer.code", &self.answer.code), ("answer.debit_amount", &self.answer.debit_amount)] {
            if path.is_empty() {
                return Err(format!("{key} is missing"));
            }
        }
        if !self.insecure && !self.listen.ip().to_canonical().is_loopback() {
            return Err(format!(
                "listen is {}, where other machines reach this adapter, which has neither TLS nor authentication; put \
                 it on loopback, behind a proxy that demands the workers' certificates, or set insecure = true",
                self.listen
            ));
        }
        if !(1..=10_000).contains(&self.backend.in_flight_max) {
            return Err(format!("backend.in_flight_max is {}, must be 1 to 10000", self.backend.in_flight_max));
        }
        Ok(())
    }

    /// What the adapter adds to the issuer's window, in ms: a request that it has begun may arrive
    /// until it is given up.
    pub const fn window_share_ms(&self) -> u64 {
        self.backend.answer_ms
    }

    /// Whether the backend is on this machine, where plain HTTP is enough.
    pub fn is_local(&self) -> bool {
        self.backend.address.ip().to_canonical().is_loopback()
    }
}

/// The line and the fault. The parser's own text has the whole line, and some of its messages have
/// the value; only messages about names are shown as they are.
fn form_error(text: &str, error: &toml::de::Error) -> ConfigError {
    let line = error.span().map_or(1, |at| text.bytes().take(at.start).filter(|byte| *byte == b'\n').count() + 1);
    let message = error.message();
    let is_about_name = ["missing ", "unknown ", "duplicate "].iter().any(|start| message.starts_with(start));
    let without_value = message.split(['"', '`']).next().unwrap_or_default().trim_end();
    ConfigError::Form { line, what: if is_about_name { message } else { without_value }.to_owned() }
}
