//! A flood: one further merchant, or one further caller, sends far more than it may. It sends
//! inquiries, so that no money moves that a run would have to reconcile.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};
use tonic::{Code, Status};
use twqr_files::print_error_line;
use twqr_loadgen::{CallerKey, KeyedChannel};
use twqr_wire::pos::{InquiryType, QueryRequest, pos_service_client::PosServiceClient};

use crate::launch::connect;

/// The merchant that floods; no scenario has it.
const MERCHANT: &[&str] = &["FLOOD"];
/// The merchants of the caller that floods; no scenario has them.
pub(super) const CALLER_MERCHANTS: &[&str] = &["FLOOD0", "FLOOD1", "FLOOD2", "FLOOD3"];
/// How many calls of the flood may be in flight; further ones are left out.
const IN_FLIGHT_MAX: usize = 4_096;
/// Of so many refusals of a caller, at least one must be for each of its two limits.
const KIND_SHARE_MIN: u64 = 10;
/// How often calls are sent.
const TICK: Duration = Duration::from_millis(5);

/// Who sends the flood.
pub(super) enum Flooder {
    /// A merchant, which no caller stands for.
    Merchant,
    /// The caller with this key, for its merchants.
    Caller(CallerKey),
}

/// Sends `rate` calls per second to an ingress for as long as it lasts, and prints how they ended.
/// Fails if it was no flood ([`Counts::check`]).
pub(super) async fn flood(
    ingresses: Vec<SocketAddr>,
    flooder: &Flooder,
    rate: f64,
    lasting: Duration,
) -> anyhow::Result<()> {
    let address = *ingresses.first().context("no ingress runs")?;
    let (key, merchants) = match flooder {
        Flooder::Merchant => (CallerKey::default(), MERCHANT),
        Flooder::Caller(key) => (key.clone(), CALLER_MERCHANTS),
    };
    let client = key.client(connect(address).await?);
    let places = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let (began, mut calls, mut sent) = (Instant::now(), JoinSet::new(), 0_u64);
    let mut counts = Counts::default();
    let interval = Duration::from_secs_f64(1.0 / rate);
    while began.elapsed() < lasting {
        let due = u64::try_from(began.elapsed().as_nanos() / interval.as_nanos().max(1)).unwrap_or(u64::MAX);
        for n in sent..due {
            if let Ok(place) = places.clone().try_acquire_owned() {
                let (client, merchant) = (client.clone(), merchants[n as usize % merchants.len()]);
                calls.spawn(async move {
                    let end = inquire(client, merchant, n).await;
                    drop(place);
                    end
                });
            }
        }
        sent = due;
        while let Some(ended) = calls.try_join_next() {
            counts.add(ended.unwrap_or(CallEnd::Other(Code::Unknown)));
        }
        tokio::time::sleep(TICK).await;
    }
    while let Some(ended) = calls.join_next().await {
        counts.add(ended.unwrap_or(CallEnd::Other(Code::Unknown)));
    }
    print_error_line(format_args!("flood: {}", counts.text()));
    counts.check(flooder)
}

async fn inquire(mut client: PosServiceClient<KeyedChannel>, merchant: &str, n: u64) -> CallEnd {
    let request = QueryRequest {
        merchant_id: merchant.to_owned(),
        merchant_trade_no: n.to_string(),
        inquiry_type: InquiryType::Payment.into(),
        ..QueryRequest::default()
    };
    client.query(request).await.map_or_else(|status| CallEnd::of(&status), |_| CallEnd::Answered)
}

/// How a call of a flood ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CallEnd {
    Answered,
    /// Refused as too many per second.
    AboveRate,
    /// Refused as too many at once.
    AboveConcurrency,
    /// Ended with this code for any other reason.
    Other(Code),
}

impl CallEnd {
    fn of(status: &Status) -> Self {
        match twqr_client::refusal_reason(status).as_deref() {
            Some("RATE_EXCEEDED") => Self::AboveRate,
            Some("CONCURRENCY_EXCEEDED") => Self::AboveConcurrency,
            Some(_) | None => Self::Other(status.code()),
        }
    }
}

/// How the calls of a flood ended.
#[derive(Default)]
struct Counts {
    answered: u64,
    above_rate: u64,
    above_concurrency: u64,
    /// Each other code by its name.
    others: BTreeMap<&'static str, u64>,
}

impl Counts {
    fn add(&mut self, end: CallEnd) {
        let count = match end {
            CallEnd::Answered => &mut self.answered,
            CallEnd::AboveRate => &mut self.above_rate,
            CallEnd::AboveConcurrency => &mut self.above_concurrency,
            CallEnd::Other(code) => self.others.entry(twqr_client::code_name(code)).or_default(),
        };
        *count += 1;
    }

    /// Fails if the limits were not reached. Only refusals show that a limit held: at least one for
    /// a merchant; for a caller, at least [`KIND_SHARE_MIN`] of them for each of its two limits.
    fn check(&self, flooder: &Flooder) -> anyhow::Result<()> {
        let (per_second, at_once) = (self.above_rate, self.above_concurrency);
        match flooder {
            Flooder::Merchant => {
                ensure!(per_second + at_once > 0, "no call of the flood was refused as too many");
            }
            Flooder::Caller(_) => ensure!(
                at_once.min(per_second) > 0 && at_once.min(per_second) >= (at_once + per_second) / KIND_SHARE_MIN,
                "{per_second} calls of the flood were refused as too many per second, and {at_once} as too many at \
                 once; each kind must be at least one in {KIND_SHARE_MIN} of them"
            ),
        }
        Ok(())
    }

    fn text(&self) -> String {
        let Self { answered, above_rate, above_concurrency, others } = self;
        let known = [
            format!("{answered} calls answered"),
            format!("{above_rate} refused as too many per second"),
            format!("{above_concurrency} as too many at once"),
        ];
        let others = others.iter().map(|(code, calls)| format!("{calls} {code}"));
        known.into_iter().chain(others).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn counts(ends: &[CallEnd]) -> Counts {
        let mut counts = Counts::default();
        for end in ends {
            counts.add(*end);
        }
        counts
    }

    #[test]
    fn each_end_of_a_call_is_counted() {
        use CallEnd::{AboveConcurrency, AboveRate, Answered, Other};
        let ends = [Answered, AboveRate, AboveRate, AboveConcurrency, Other(Code::Unavailable), Other(Code::Unknown)];
        assert_eq!(
            counts(&ends).text(),
            "1 calls answered, 2 refused as too many per second, 1 as too many at once, 1 UNAVAILABLE, 1 UNKNOWN"
        );
    }

    #[test]
    fn a_flood_that_does_not_reach_its_limits_fails() {
        use CallEnd::{AboveConcurrency, AboveRate, Answered, Other};
        let caller = Flooder::Caller(CallerKey::default());
        for (ends, of_merchant, of_caller) in [
            (&[AboveRate, AboveConcurrency][..], true, true),
            (&[Answered, AboveRate], true, false),
            (&[Answered, AboveConcurrency], true, false),
            (&[&[AboveRate; 9][..], &[AboveConcurrency]].concat(), true, true),
            (&[&[AboveRate; 19][..], &[AboveConcurrency]].concat(), true, false),
            (&[Answered, Other(Code::ResourceExhausted), Other(Code::Unauthenticated)], false, false),
            (&[], false, false),
        ] {
            let counts = counts(ends);
            let reached = [&Flooder::Merchant, &caller].map(|flooder| counts.check(flooder).is_ok());
            assert_eq!(reached, [of_merchant, of_caller], "{ends:?}");
        }
        let refused = counts(&[AboveRate]).check(&caller).unwrap_err().to_string();
        assert!(refused.starts_with("1 calls of the flood were refused as too many per second, and 0 "), "{refused}");
    }
}
