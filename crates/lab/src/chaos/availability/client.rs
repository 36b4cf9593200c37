//! A gRPC client with several ingresses, as a point of sale has one: it checks their health, sends
//! to one that answers, and repeats a payment under the same number at another one when a call
//! fails or its ingress stops answering.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::JoinHandle};
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use twqr_loadgen::is_refusal;
use twqr_wire::pos::{PayRequest, PayResponse, pos_service_client::PosServiceClient};

/// The interval of the health checks and the time that one may take, in ms.
const CHECK_EVERY_MS: u64 = 200;
const CHECK_MS_MAX: u64 = 400;
/// The deadline of one attempt, and of all attempts for a payment together, in ms.
const ATTEMPT_MS: u64 = 14_000;
const ATTEMPTS_MS: u64 = 40_000;
/// The pause before the next attempt, in ms.
const PAUSE_MS: u64 = 10;

/// The ingresses; dropping this ends the health checks.
pub(super) struct Ingresses(Vec<Ingress>);

struct Ingress {
    channel: Channel,
    is_up: watch::Receiver<bool>,
    check: JoinHandle<()>,
}

impl Drop for Ingress {
    fn drop(&mut self) {
        self.check.abort();
    }
}

impl Ingress {
    fn connect(address: SocketAddr) -> Result<Self, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
        let channel = endpoint.tcp_nodelay(true).connect_timeout(Duration::from_millis(CHECK_MS_MAX)).connect_lazy();
        let (sender, is_up) = watch::channel(true);
        let check = tokio::spawn(check_health(channel.clone(), sender));
        Ok(Self { channel, is_up, check })
    }

    fn is_up(&self) -> bool {
        *self.is_up.borrow()
    }

    /// Sends one attempt. An ingress that stops answering meanwhile counts as unavailable.
    async fn pay(&self, request: PayRequest) -> Result<PayResponse, Code> {
        let mut request = tonic::Request::new(request);
        request.set_timeout(Duration::from_millis(ATTEMPT_MS));
        let mut client = PosServiceClient::new(self.channel.clone());
        let mut is_up = self.is_up.clone();
        let was_up = *is_up.borrow_and_update();
        tokio::select! {
            answer = client.pay(request) => answer.map(tonic::Response::into_inner).map_err(|status| status.code()),
            _ = is_up.wait_for(|is_up| !is_up), if was_up => Err(Code::Unavailable),
        }
    }
}

async fn check_health(channel: Channel, is_up: watch::Sender<bool>) {
    loop {
        let mut client = HealthClient::new(channel.clone());
        let check = client.check(HealthCheckRequest::default());
        let checked = tokio::time::timeout(Duration::from_millis(CHECK_MS_MAX), check).await;
        is_up.send_if_modified(|is_up| {
            std::mem::replace(is_up, matches!(checked, Ok(Ok(_)))) != matches!(checked, Ok(Ok(_)))
        });
        tokio::time::sleep(Duration::from_millis(CHECK_EVERY_MS)).await;
    }
}

impl Ingresses {
    /// The ingresses at these addresses, of which there must be one or more.
    pub(super) fn connect(addresses: &[SocketAddr]) -> anyhow::Result<Self> {
        anyhow::ensure!(!addresses.is_empty(), "the system has no ingress");
        Ok(Self(addresses.iter().map(|address| Ingress::connect(*address)).collect::<Result<_, _>>()?))
    }

    /// The number of ingresses.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Sends a payment until it is answered or refused, first to the ingress with this number.
    pub(super) async fn pay(&self, first: usize, request: PayRequest) -> Result<PayResponse, Code> {
        let began = Instant::now();
        let mut next = first;
        loop {
            let in_turn = || (0..self.count()).map(|n| (next + n) % self.count());
            let chosen = in_turn().find(|at| self.0[*at].is_up()).unwrap_or(next % self.count());
            match self.0[chosen].pay(request.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(code) if is_refusal(code) || began.elapsed() > Duration::from_millis(ATTEMPTS_MS) => {
                    return Err(code);
                }
                Err(_) => next = chosen + 1,
            }
            tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
        }
    }
}
