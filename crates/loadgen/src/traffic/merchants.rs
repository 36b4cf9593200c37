//! The merchants that send: generated ones or those of a file, and how often each of them is drawn.

use std::{fmt, sync::Arc};

use rand::Rng;

use crate::scenario::MerchantChoice;

/// The longest MerchantID, in characters.
const MERCHANT_ID_MAX: usize = 10;
/// The key of generated merchants, which only a system that was started for the run accepts.
const GENERATED_KEY: &str = "key of a load test";

/// A merchant with the key that signs its requests in the HTTP form.
struct Merchant {
    id: String,
    key: String,
}

/// The merchants of a run; clones share the list.
#[derive(Clone)]
pub struct MerchantList {
    merchants: Arc<Vec<Merchant>>,
    /// The sum of the weights up to each merchant.
    cumulative: Arc<Vec<f64>>,
    hot_share: f64,
}

/// A merchant file has a malformed line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct MerchantListError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

/// Keys are secrets, so only the number of merchants is shown.
impl fmt::Debug for MerchantList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MerchantList").field("count", &self.merchants.len()).finish_non_exhaustive()
    }
}

impl MerchantList {
    /// The generated merchants of a scenario.
    pub fn generated(choice: &MerchantChoice) -> Self {
        let merchant = |n| Merchant { id: format!("LM{n}"), key: GENERATED_KEY.to_owned() };
        Self::new((0..choice.count).map(merchant).collect(), choice)
    }

    /// The merchants of a file's text. The error never contains a key.
    pub fn parse(text: &str, choice: &MerchantChoice) -> Result<Self, MerchantListError> {
        let mut merchants = Vec::new();
        for (line, row) in (1..).zip(text.lines()).filter(|(_, row)| !row.trim().is_empty()) {
            let (id, key) = row.split_once(',').unwrap_or((row, ""));
            let id = id.trim();
            if id.is_empty() || id.chars().count() > MERCHANT_ID_MAX {
                let what = format!("{id:?} is not a MerchantID: 1 to {MERCHANT_ID_MAX} characters");
                return Err(MerchantListError { line, what });
            }
            merchants.push(Merchant { id: id.to_owned(), key: key.trim().to_owned() });
        }
        if merchants.is_empty() {
            return Err(MerchantListError { line: 1, what: "there is no merchant in the file".into() });
        }
        Ok(Self::new(merchants, choice))
    }

    fn new(merchants: Vec<Merchant>, choice: &MerchantChoice) -> Self {
        let mut sum = 0.0;
        let mut add = |rank: usize| {
            sum += 1.0 / (rank as f64).powf(choice.skew);
            sum
        };
        let cumulative = (1..=merchants.len()).map(&mut add).collect();
        Self { merchants: Arc::new(merchants), cumulative: Arc::new(cumulative), hot_share: choice.hot_share }
    }

    /// Draws a merchant's index.
    pub fn draw(&self, random: &mut impl Rng) -> u32 {
        if self.hot_share > 0.0 && random.random_bool(self.hot_share) {
            return 0;
        }
        let sum = self.cumulative.last().copied().unwrap_or(1.0);
        let at = random.random::<f64>() * sum;
        self.cumulative.partition_point(|up_to| *up_to <= at).min(self.cumulative.len() - 1) as u32
    }

    /// The MerchantID of a merchant.
    pub fn id(&self, index: u32) -> &str {
        self.merchants.get(index as usize).map_or("", |merchant| &merchant.id)
    }

    /// The key with which a merchant signs; empty if the file has none.
    pub fn key(&self, index: u32) -> &str {
        self.merchants.get(index as usize).map_or("", |merchant| &merchant.key)
    }

    /// The keys as a `merchant_keys_file`, for a system that is started for the run.
    pub fn keys_file(&self) -> String {
        let signs = self.merchants.iter().filter(|merchant| !merchant.key.is_empty());
        let mut keys = toml::Table::new();
        keys.extend(signs.map(|merchant| (merchant.id.clone(), merchant.key.clone().into())));
        toml::Table::from_iter([("keys".to_owned(), toml::Value::Table(keys))]).to_string()
    }
}
