//! A running tracker with a client of its operators' API, and a router if a test needs one.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking; not every test needs all of it"
)]

use std::{num::NonZeroU32, path::Path, sync::Arc, time::Duration};

use tokio::task::JoinHandle;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use twqr_access::AccessSettings;
use twqr_journal::embedded::{EmbeddedJournal, EmbeddedSettings};
use twqr_order::{Alphabet, Policy, Route, RouteTarget};
use twqr_router::MemoryStore;
use twqr_service::{BoundSocket, CancellationToken, Context, Health, SystemClock};
use twqr_tracker::{Error, Settings};
use twqr_types::Issuer;
use twqr_wire::{
    convert::policy_out,
    ops::{
        ApplyPolicyRequest, GetPolicyRequest, GetPolicyResponse, ReplayPolicyRequest, ReplayPolicyResponse,
        operator_service_client::OperatorServiceClient,
    },
};

pub const SHARDS: u32 = 2;

pub fn route(prefix: &str, target: RouteTarget) -> Route {
    Route { prefix: prefix.into(), target, code_lengths: vec![18], alphabet: Alphabet::Printable }
}

pub fn policy(name: &str, routes: &[(&str, &str)]) -> Policy {
    let route = |(prefix, to): &(&str, &str)| route(prefix, RouteTarget::Issuer(Issuer::from_wire(to).unwrap()));
    Policy { name: name.into(), routes: routes.iter().map(route).collect(), ..Policy::default() }
}

pub fn first_policy() -> Policy {
    policy("first", &[("22", "")])
}

pub fn open_journal(folder: &Path) -> Arc<EmbeddedJournal> {
    let shards = NonZeroU32::new(SHARDS).unwrap();
    let settings = EmbeddedSettings { dir: folder.join("journal"), shards, task_partitions: NonZeroU32::MIN };
    EmbeddedJournal::open(settings).unwrap()
}

pub fn context(shutdown: &CancellationToken) -> Context {
    Context { clock: Arc::new(SystemClock), shutdown: shutdown.clone(), health: Health::default() }
}

/// A running tracker, a client of its operators' API, and a router if the test needs one.
pub struct TestTracker {
    pub channel: Channel,
    pub client: OperatorServiceClient<Channel>,
    shutdown: CancellationToken,
    tracker: JoinHandle<Result<(), Error>>,
    router: Option<JoinHandle<Result<(), twqr_router::Error>>>,
}

impl TestTracker {
    pub async fn open(folder: &Path, journal: &Arc<EmbeddedJournal>, with_router: bool, policy_wait_ms: u64) -> Self {
        let socket = BoundSocket::on_loopback("operators").unwrap();
        let listen = socket.address();
        let shutdown = CancellationToken::new();
        let settings =
            Settings { database: folder.join("read-model.sqlite"), policy_wait_ms, access: AccessSettings::default() };
        let tracker = tokio::spawn(twqr_tracker::run(socket, settings, journal.clone(), context(&shutdown)));
        let router = with_router.then(|| {
            let store = Arc::new(MemoryStore::default());
            let settings = twqr_router::Settings {
                member: "router-0".into(),
                policy: first_policy(),
                checkpoint_interval_ms: 20,
                standby: true,
                store,
            };
            tokio::spawn(twqr_router::run(settings, journal.clone(), context(&shutdown)))
        });
        let endpoint = Endpoint::from_shared(format!("http://{listen}")).unwrap();
        let channel = loop {
            match endpoint.connect().await {
                Ok(channel) => break channel,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        Self { channel: channel.clone(), client: OperatorServiceClient::new(channel), shutdown, tracker, router }
    }

    pub async fn get(&self, version: u64) -> Result<GetPolicyResponse, Status> {
        Ok(self.client.clone().get_policy(GetPolicyRequest { version }).await?.into_inner())
    }

    /// Waits until every shard has this version of the policy.
    pub async fn wait_for_all_shards(&self, version: u64) -> GetPolicyResponse {
        for _ in 0..1_000 {
            if let Ok(found) = self.get(0).await
                && found.shards.iter().all(|shard| shard.version == version)
            {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not every shard got version {version} within 10 s: {:?}", self.get(0).await)
    }

    pub async fn apply(&self, policy: &Policy, expected_version: u64, who: &str) -> Result<u64, Status> {
        let request = ApplyPolicyRequest {
            policy: Some(policy_out(policy)),
            expected_version,
            who: who.into(),
            why: "因為測試".into(),
        };
        Ok(self.client.clone().apply_policy(request).await?.into_inner().version)
    }

    pub async fn replay(&self, policy: &Policy, orders_max: u64) -> Result<ReplayPolicyResponse, Status> {
        let request = ReplayPolicyRequest { policy: Some(policy_out(policy)), orders_max };
        Ok(self.client.clone().replay_policy(request).await?.into_inner())
    }

    pub async fn close(self) {
        self.shutdown.cancel();
        self.tracker.await.unwrap().unwrap();
        if let Some(router) = self.router {
            router.await.unwrap().unwrap();
        }
    }
}
