//! The operators' API, served from the read model.

mod callers;
mod change;
mod closing;
mod measured;
mod merchants;
mod older_builds;
mod open_streams;
mod policy;
mod refusal;
mod replay;
mod settlement;
mod settlement_entries;

use std::{sync::Arc, time::Duration};

use tonic::{Request, Response, Status};
use tracing::{error, info};
use twqr_access::{Access, CallersView};
use twqr_callers::Role;
use twqr_journal::{Journal, JournalError, Partition, Topic};
use twqr_service::{
    Context, EndsWithConnection, GrpcSettings, Limits, Listener, grpc_health, grpc_server_refusing, serve_grpc,
};
use twqr_wire::{
    OPS_DESCRIPTORS,
    convert::order_out,
    ops::{
        AgeBucket, ApplyPolicyRequest, ApplyPolicyResponse, ChangeCallerRequest, ChangeCallerResponse,
        ChangeMerchantsRequest, ChangeMerchantsResponse, GetMerchantRequest, GetMerchantResponse, GetOrderRequest,
        GetOrderResponse, GetPolicyRequest, GetPolicyResponse, GetStatusRequest, GetStatusResponse, ListCallersRequest,
        ListCallersResponse, ListMerchantsRequest, ListMerchantsResponse, ListOrdersRequest, ListOrdersResponse,
        ListSettlementRequest, OperatorRefusalReason, ReplayPolicyRequest, ReplayPolicyResponse, TimelineEntry,
        UnreadableOrder,
        operator_service_server::{OperatorService, OperatorServiceServer},
    },
};

use crate::{
    Error, Settings, TrackedRules, metrics,
    model::{self, ListFilter, ModelError, OrderHistory, SqliteModel},
    policies::Policies,
};
use callers::CallersEditor;
use change::{Actor, ChangeTimes};
use measured::{METHODS, Measured};
use merchants::DirectoryEditor;
use open_streams::{OpenStreams, PlacedStream};
use policy::PolicyEditor;
use refusal::{invalid, refuse, refused, unknown_service};
use replay::Replays;

/// The upper ends of the age buckets, in ms.
const AGES_MS: [i64; 5] = [1_000, 10_000, 60_000, 600_000, 3_600_000];
const PAGE_SIZE_DEFAULT: i32 = 100;
const PAGE_SIZE_MAX: i32 = 1_000;

/// The operators' API.
struct Operators {
    model: Arc<SqliteModel>,
    journal: Arc<dyn Journal>,
    context: Context,
    access: Access,
    streams: Arc<OpenStreams>,
    policies: Arc<Policies>,
    policy: PolicyEditor,
    merchants: DirectoryEditor,
    callers: CallersEditor,
    replays: Replays,
}

/// Makes the metrics of all calls exist, so that their first increase is seen.
pub(crate) fn register_metrics() {
    metrics::register_calls(&METHODS);
}

/// How long calls in flight may take at shutdown, in ms.
const DRAIN_MS: u64 = 2_000;

/// Serves the operators' API until shutdown.
pub(crate) async fn serve(
    listener: Listener,
    settings: &Settings,
    model: Arc<SqliteModel>,
    ((policies, directory), callers): (TrackedRules, CallersView),
    journal: Arc<dyn Journal>,
    context: Context,
) -> Result<(), Error> {
    let (view, clock) = (callers.clone(), context.clock.clone());
    let access = match (settings.access.required, settings.access.key_and_certificate) {
        (true, true) => Access::callers_with_both("operators", view, clock),
        (true, false) => Access::callers("operators", view, clock),
        (false, _) => Access::open("operators"),
    };
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(OPS_DESCRIPTORS)
        .build_v1()?;
    let (health, shutdown) = (context.health.clone(), context.shutdown.clone());
    let wait = Duration::from_millis(settings.policy_wait_ms);
    let times = Arc::new(ChangeTimes::new(context.clock.clone()));
    let policy = PolicyEditor::new(policies.clone(), journal.clone(), times.clone(), wait);
    let replays = Replays::new(policies.clone(), directory.clone(), journal.clone());
    let callers = CallersEditor::new(callers, journal.clone(), times.clone(), wait);
    let merchants = DirectoryEditor::new(directory, policies.clone(), journal.clone(), times, wait);
    let reflection = (!access.is_required()).then_some(EndsWithConnection(reflection));
    let streams = Arc::default();
    let operators = Operators {
        model,
        journal,
        context,
        access: access.clone(),
        streams,
        policies,
        policy,
        merchants,
        callers,
        replays,
    };
    let router = grpc_server_refusing(unknown_service)
        .add_service(Measured::new(operators, access))
        .add_service(grpc_health::<OperatorServiceServer<Operators>>(&health))
        .add_optional_service(reflection);
    if let Ok(address) = listener.local_addr() {
        info!(%address, "the operators' API accepts calls");
    }
    let (limits, drain) = (Limits::operators("operators"), Duration::from_millis(DRAIN_MS));
    serve_grpc(listener, router, GrpcSettings { limits, age: None, drain }, shutdown).await;
    Ok(())
}

#[allow(clippy::needless_pass_by_value, reason = "used as a function in map_err")]
fn unavailable(failure: ModelError) -> Status {
    error!(%failure, "the read model cannot be read");
    let text = "the read model cannot be read now; see the log of the tracker for the reason";
    refuse(OperatorRefusalReason::ReadModelUnavailable, text)
}

/// Refuses a call for which the journal cannot be used now. Its error may name hosts and files of
/// ours, so it is only in the log; `what` says what the caller asked for.
fn no_journal(what: &str, failure: &JournalError) -> Status {
    error!(%failure, "{what}: the journal cannot be used");
    let text = format!("{what}; see the log of the tracker for the reason, and try again");
    refuse(OperatorRefusalReason::LogUnavailable, text)
}

/// Refuses a call that cannot be answered without this order.
#[allow(clippy::needless_pass_by_value, reason = "used as a function in map_err")]
fn unreadable(order: model::UnreadableOrder) -> Status {
    error!("{order}");
    // Its text names a file of ours, which is for the log alone.
    let model::UnreadableOrder { merchant_id, merchant_trade_no, fault, place: _ } = order;
    let text = format!(
        "the stored state of order {merchant_id}/{merchant_trade_no} cannot be read ({fault}); run the build that wrote \
         it or a newer one, or see the log of the tracker for what to do with a damaged read model"
    );
    refuse(OperatorRefusalReason::UnreadableOrder, text)
}

/// Reports an order that is left out of a list.
fn unreadable_out(order: model::UnreadableOrder) -> UnreadableOrder {
    error!("{order}");
    let model::UnreadableOrder { merchant_id, merchant_trade_no, fault, place: _ } = order;
    UnreadableOrder { merchant_id, merchant_trade_no, reason: fault.to_string() }
}

/// Reads a page token: `ms:length of the MerchantID:MerchantID and MerchantTradeNo`.
fn parse_token(token: &str) -> Option<(i64, String, String)> {
    let mut parts = token.splitn(3, ':');
    let (at, length, keys) = (parts.next()?, parts.next()?, parts.next()?);
    let (merchant, number) = keys.split_at_checked(length.parse().ok()?)?;
    Some((at.parse().ok()?, merchant.to_owned(), number.to_owned()))
}

#[tonic::async_trait]
impl OperatorService for Operators {
    type ListSettlementStream = settlement::Entries;

    async fn list_settlement(
        &self,
        request: Request<ListSettlementRequest>,
    ) -> Result<Response<Self::ListSettlementStream>, Status> {
        let grant = self.access.granted(request.extensions()).map_err(refused)?;
        if request.get_ref().close {
            // Everyone who may read may list, but a closing is written, and is never taken back.
            self.access.check_role(&grant, Role::Operator).map_err(refused)?;
        }
        let place = self.streams.open(&grant)?;
        let now = self.context.clock.now();
        let (model, request) = (self.model.clone(), request.into_inner());
        let writer = closing::Writer { policies: &self.policies, journal: &*self.journal, now, who: grant.who() };
        let entries = settlement::list(model, &writer, request).await?;
        Ok(Response::new(PlacedStream::new(entries, place, self.access.clone(), grant)))
    }

    async fn list_orders(&self, request: Request<ListOrdersRequest>) -> Result<Response<ListOrdersResponse>, Status> {
        let request = request.into_inner();
        if !(0..=PAGE_SIZE_MAX).contains(&request.page_size) {
            return Err(invalid("page_size", "must be 0 (which means 100) to 1000"));
        }
        let size = if request.page_size == 0 { PAGE_SIZE_DEFAULT } else { request.page_size };
        let after = match request.page_token.as_str() {
            "" => None,
            token => Some(
                parse_token(token)
                    .ok_or_else(|| invalid("page_token", "must be next_page_token of an earlier page"))?,
            ),
        };
        let filter = ListFilter {
            in_progress_only: request.in_progress_only,
            contradicted_only: request.contradicted_only,
            attention_only: request.attention_only,
            merchant_id: request.merchant_id,
            after,
            size: size.into(),
        };
        let page = self.model.list(filter).await.map_err(unavailable)?;
        let next = page.next.map(|(at, merchant, number)| format!("{at}:{}:{merchant}{number}", merchant.len()));
        let mut response = ListOrdersResponse { next_page_token: next.unwrap_or_default(), ..Default::default() };
        for order in page.orders {
            match order {
                Ok(order) => response.orders.push(order_out(&order)),
                Err(order) => response.unreadable.push(unreadable_out(order)),
            }
        }
        Ok(Response::new(response))
    }

    async fn get_order(&self, request: Request<GetOrderRequest>) -> Result<Response<GetOrderResponse>, Status> {
        let request = request.into_inner();
        for (field, value) in [("merchant_id", &request.merchant_id), ("merchant_trade_no", &request.merchant_trade_no)]
        {
            if value.is_empty() {
                return Err(invalid(field, "is required and must not be empty"));
            }
        }
        let found = self.model.order(&request.merchant_id, &request.merchant_trade_no).await.map_err(unavailable)?;
        let found = found.ok_or_else(|| {
            let text = "the read model has no such order; it may be behind, see GetStatus.lag";
            refuse(OperatorRefusalReason::NotFound, text)
        })?;
        let OrderHistory { order, timeline } = found.map_err(unreadable)?;
        let timeline = timeline.into_iter().map(timeline_entry).collect();
        Ok(Response::new(GetOrderResponse { order: Some(order_out(&order)), timeline }))
    }

    async fn get_status(&self, _: Request<GetStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
        let status = self.model.status().await.map_err(unavailable)?;
        let mut written: u64 = 0;
        for index in 0..self.journal.partitions(Topic::OrderStates) {
            let partition = Partition { topic: Topic::OrderStates, index };
            let end = self.journal.end(partition).await;
            written += end.map_err(|error| no_journal("the end of the states cannot be read now", &error))?;
        }
        Ok(Response::new(GetStatusResponse {
            orders: status.orders,
            in_progress: i64::try_from(status.in_progress.len()).unwrap_or(i64::MAX),
            oldest_in_progress_ms: status.in_progress.first().copied().unwrap_or_default(),
            contradicted: status.contradicted,
            attention: status.attention,
            lag: written.cast_signed().saturating_sub(status.applied).max(0),
            ages: ages(&status.in_progress, self.context.clock.now().0),
        }))
    }

    async fn get_policy(&self, request: Request<GetPolicyRequest>) -> Result<Response<GetPolicyResponse>, Status> {
        self.policy.get(request.into_inner().version).map(Response::new)
    }

    async fn apply_policy(
        &self,
        request: Request<ApplyPolicyRequest>,
    ) -> Result<Response<ApplyPolicyResponse>, Status> {
        let (request, actor) = Actor::of(request);
        let version = self.policy.apply(request, &actor).await?;
        Ok(Response::new(ApplyPolicyResponse { version }))
    }

    async fn list_merchants(
        &self,
        request: Request<ListMerchantsRequest>,
    ) -> Result<Response<ListMerchantsResponse>, Status> {
        self.merchants.list(request.into_inner()).map(Response::new)
    }

    async fn get_merchant(
        &self,
        request: Request<GetMerchantRequest>,
    ) -> Result<Response<GetMerchantResponse>, Status> {
        self.merchants.get(request.into_inner()).map(Response::new)
    }

    async fn change_merchants(
        &self,
        request: Request<ChangeMerchantsRequest>,
    ) -> Result<Response<ChangeMerchantsResponse>, Status> {
        let (request, actor) = Actor::of(request);
        self.merchants.change(request, &actor).await.map(Response::new)
    }

    async fn list_callers(&self, _: Request<ListCallersRequest>) -> Result<Response<ListCallersResponse>, Status> {
        self.callers.list().map(Response::new)
    }

    async fn change_caller(
        &self,
        request: Request<ChangeCallerRequest>,
    ) -> Result<Response<ChangeCallerResponse>, Status> {
        let (request, actor) = Actor::of(request);
        let version = self.callers.change(request, &actor).await?;
        Ok(Response::new(ChangeCallerResponse { version }))
    }

    async fn replay_policy(
        &self,
        request: Request<ReplayPolicyRequest>,
    ) -> Result<Response<ReplayPolicyResponse>, Status> {
        self.replays.replay(request.into_inner()).await.map(Response::new)
    }
}

fn timeline_entry(entry: model::TimelineEntry) -> TimelineEntry {
    let model::TimelineEntry { at, phase, status_code, position } = entry;
    TimelineEntry { at_ms: at.0, phase, status_code, position }
}

fn ages(accepted_at_ms: &[i64], now_ms: i64) -> Vec<AgeBucket> {
    let mut buckets: Vec<AgeBucket> =
        AGES_MS.into_iter().chain([0]).map(|up_to_ms| AgeBucket { up_to_ms, orders: 0 }).collect();
    for at in accepted_at_ms {
        let bucket = AGES_MS.partition_point(|up_to| *up_to < now_ms.saturating_sub(*at));
        buckets[bucket].orders += 1;
    }
    buckets
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn ages_fall_into_their_buckets() {
        let counts: Vec<i64> = ages(&[0, 999, 1_000, 100_000, -9_000_000], 1_000).iter().map(|b| b.orders).collect();
        assert_eq!(counts, [4, 0, 0, 0, 0, 1]);
    }

    #[tokio::test]
    async fn no_refusal_names_a_host_or_a_path_of_ours() {
        let failure = JournalError::Unusable("/var/lib/twqr: broker-1.internal:9093 refused".into());
        let refused = no_journal("nothing was changed", &failure);
        assert_eq!(refused.code(), Code::Unavailable);
        assert!(refused.message().starts_with("nothing was changed; see the log"), "{refused}");
        assert!(!refused.message().contains("internal") && !refused.message().contains("/var"), "{refused}");
    }

    #[test]
    fn a_malformed_page_token_is_refused() {
        assert_eq!(parse_token("7:2:M1T:1"), Some((7, "M1".into(), "T:1".into())));
        for wrong in ["", "7", "7:9:M1", "x:1:M1", "7:x:M1", "7:1:é"] {
            assert_eq!(parse_token(wrong), None, "{wrong}");
        }
    }
}
