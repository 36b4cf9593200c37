//! The arguments of `twqr-lab backend check`.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, ensure};
use twqr_types::Issuer;

/// A code of the simulated wallet and of every simulated issuer that is approved.
const SIMULATED_CARD: &str = "22abcdefghijklmnop";
/// The smallest amount of a test charge, in whole TWD: it is refunded in three parts.
const AMOUNT_MIN: i64 = 10;

/// The arguments of `twqr-lab backend check`. The test moves money at the backend: give it a test
/// environment, with a test merchant and test codes.
#[derive(clap::Args, Clone, Debug)]
pub struct CheckOptions {
    /// Where the adapter listens, such as `http://127.0.0.1:17090`
    #[arg(value_name = "ADDR")]
    pub address: String,
    /// The issuer's institution code; without it, the wallet
    #[arg(long, value_name = "CODE", default_value = "")]
    pub institution: String,
    /// The test merchant (MerchantID)
    #[arg(long, value_name = "ID", default_value = "M1")]
    pub merchant: String,
    /// A store of the test merchant (StoreID)
    #[arg(long, value_name = "ID", default_value = "S1")]
    pub store: String,
    /// The amount of each test charge, in whole TWD
    #[arg(long, value_name = "TWD", default_value_t = 100)]
    pub amount: i64,
    /// A file with test codes that are approved, one a line. Each charge takes the next one, and
    /// the first one again after the last. Without it, a code that the simulator approves
    #[arg(long, value_name = "FILE")]
    pub card_token_file: Option<PathBuf>,
    /// The present balance of the test codes' account, in whole TWD. Without it, the check cannot
    /// show whether a repeated charge moves money
    #[arg(long, value_name = "TWD")]
    pub balance: Option<i64>,
    /// How long a call may take, in ms
    #[arg(long, value_name = "MS", default_value_t = 5_000)]
    pub answer_ms: u64,
    /// The time from a charge to its send_by, in ms: longer than calls take here, together
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    pub send_within_ms: u64,
    /// The issuer's window_ms in the policy
    #[arg(long, value_name = "MS", default_value_t = 5_000)]
    pub window_ms: u64,
    /// How far the adapter's clock may be from this machine's, in ms
    #[arg(long, value_name = "MS", default_value_t = 1_000)]
    pub clock_skew_ms: u64,
    /// How many calls are sent at the same time on one stream, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub concurrency: usize,
    /// The whole check ends after this time, in s
    #[arg(long, value_name = "S", default_value_t = 300)]
    pub seconds_max: u64,
    /// What the policy will say: charges, refunds, or both, separated by a comma. The exit code is
    /// then 2 unless the check shows it
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub idempotent: Vec<Idempotent>,
    /// Print one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// A kind of call for which the policy may call an issuer idempotent.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idempotent {
    /// The flag `idempotent_charges` of the policy.
    Charges,
    /// The flag `idempotent_refunds` of the policy.
    Refunds,
}

impl CheckOptions {
    /// The defaults for an adapter at this address.
    pub fn of(address: String) -> Self {
        Self {
            address,
            institution: String::new(),
            merchant: "M1".to_owned(),
            store: "S1".to_owned(),
            amount: 100,
            card_token_file: None,
            balance: None,
            answer_ms: 5_000,
            send_within_ms: 10_000,
            window_ms: 5_000,
            clock_skew_ms: 1_000,
            concurrency: 32,
            seconds_max: 300,
            idempotent: Vec::new(),
            json: false,
        }
    }

    /// Checks the values; the error names the option.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        Issuer::from_wire(&self.institution).with_context(|| format!("--institution {:?}", self.institution))?;
        ensure!(self.amount >= AMOUNT_MIN, "--amount is {}, must be {AMOUNT_MIN} or more", self.amount);
        ensure!((1..=1_000).contains(&self.concurrency), "--concurrency is {}, must be 1 to 1000", self.concurrency);
        if let Some(balance) = self.balance {
            ensure!(balance >= 10, "--balance is {balance}, must be 10 or more");
        }
        Ok(())
    }

    /// The test codes.
    pub(super) fn card_tokens(&self) -> anyhow::Result<Vec<String>> {
        let Some(file) = &self.card_token_file else { return Ok(vec![SIMULATED_CARD.to_owned()]) };
        let text = twqr_files::read_text(file).with_context(|| format!("--card-token-file {}", file.display()))?;
        let codes: Vec<String> = text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
        ensure!(!codes.is_empty(), "--card-token-file {} has no code", file.display());
        Ok(codes)
    }

    pub(super) fn is_wallet(&self) -> bool {
        self.institution.is_empty()
    }

    pub(super) fn answer_within(&self) -> Duration {
        Duration::from_millis(self.answer_ms)
    }

    pub(super) fn clock_skew(&self) -> Duration {
        Duration::from_millis(self.clock_skew_ms)
    }
}
