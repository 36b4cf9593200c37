//! A flood: one further merchant sends far more than its share. It sends inquiries, so that no
//! money moves that a run would have to reconcile.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};
use tonic::{Code, transport::Channel};
use twqr_files::print_error_line;
use twqr_wire::pos::{InquiryType, QueryRequest, pos_service_client::PosServiceClient};

use crate::launch::connect;

/// The merchant that floods; no scenario has it.
const MERCHANT: &str = "FLOOD";
/// How many calls of the flood may be in flight; further ones are left out.
const IN_FLIGHT_MAX: usize = 4_096;
/// How often calls are sent.
const TICK: Duration = Duration::from_millis(5);

/// Sends `rate` calls per second to the ingresses for as long as it lasts, and prints how they
/// ended. Fails if no call was refused as too many.
pub(super) async fn flood(ingresses: Vec<SocketAddr>, rate: f64, lasting: Duration) -> anyhow::Result<()> {
    let address = *ingresses.first().context("no ingress runs")?;
    let client = PosServiceClient::new(connect(address).await?);
    let places = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let (began, mut calls, mut sent) = (Instant::now(), JoinSet::new(), 0_u64);
    let mut counts = Counts::default();
    let interval = Duration::from_secs_f64(1.0 / rate);
    while began.elapsed() < lasting {
        let due = u64::try_from(began.elapsed().as_nanos() / interval.as_nanos().max(1)).unwrap_or(u64::MAX);
        for n in sent..due {
            if let Ok(place) = places.clone().try_acquire_owned() {
                let client = client.clone();
                calls.spawn(async move {
                    let code = inquire(client, n).await;
                    drop(place);
                    code
                });
            }
        }
        sent = due;
        while let Some(ended) = calls.try_join_next() {
            counts.add(ended.unwrap_or(Code::Unknown));
        }
        tokio::time::sleep(TICK).await;
    }
    while let Some(ended) = calls.join_next().await {
        counts.add(ended.unwrap_or(Code::Unknown));
    }
    print_error_line(format_args!("flood: {}", counts.text()));
    // Only what is limited shows that the limit held; it may end in other ways besides.
    anyhow::ensure!(counts.limited > 0, "no call of the flood was refused as too many, so it was no flood");
    Ok(())
}

async fn inquire(mut client: PosServiceClient<Channel>, n: u64) -> Code {
    let request = QueryRequest {
        merchant_id: MERCHANT.to_owned(),
        merchant_trade_no: n.to_string(),
        inquiry_type: InquiryType::Payment.into(),
        ..QueryRequest::default()
    };
    client.query(request).await.map_or_else(|status| status.code(), |_| Code::Ok)
}

/// How the calls of a flood ended.
#[derive(Default)]
struct Counts {
    answered: u64,
    limited: u64,
    /// Each other code by its name.
    others: BTreeMap<&'static str, u64>,
}

impl Counts {
    fn add(&mut self, code: Code) {
        let count = if code == Code::Ok {
            &mut self.answered
        } else if code == Code::ResourceExhausted {
            &mut self.limited
        } else {
            self.others.entry(twqr_client::code_name(code)).or_default()
        };
        *count += 1;
    }

    fn text(&self) -> String {
        let Self { answered, limited, others } = self;
        let known = [format!("{answered} calls answered"), format!("{limited} refused as too many")];
        let others = others.iter().map(|(code, calls)| format!("{calls} {code}"));
        known.into_iter().chain(others).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_of_a_flood_is_counted() {
        let mut counts = Counts::default();
        for code in [Code::Ok, Code::ResourceExhausted, Code::ResourceExhausted, Code::Unavailable, Code::Unknown] {
            counts.add(code);
        }
        assert_eq!(counts.text(), "1 calls answered, 2 refused as too many, 1 UNAVAILABLE, 1 UNKNOWN");
    }
}
