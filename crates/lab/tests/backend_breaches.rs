//! Tests that `twqr-lab backend check` notices each breach of the contract: a bank in memory whose
//! answers are falsified in one way at a time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex},
};

use futures::{Stream, StreamExt};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming};
use twqr_lab::backend_check::{CheckOptions, Group, Holds, check};
use twqr_service::{Clock, SystemClock};
use twqr_simulator::{Bank, IssuerKind, Reaction, Script};
use twqr_wire::backend::{
    Approved, Declined, ExchangeRequest, ExchangeResponse, Refunded, TradeUnknown,
    backend_service_server::{BackendService, BackendServiceServer},
    declined::Kind,
    exchange_request::Call,
    exchange_response::Answer,
    inquiry::Subject,
};

/// What is wrong with an adapter.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Breach {
    UnknownIsDeclined,
    ChargesAreForgotten,
    ReversalsAreForgotten,
    EmptyCallIsDeclined,
    EmptyCallEndsTheStream,
    UnknownSubjectIsACharge,
    RefundsNeverFail,
    SecondReversalFails,
    CallIdsAreCut,
    CallsAreDropped,
    CardsAreWhole,
    AmountsAreWrong,
    AnswersContradict,
    TokensAreRepeated,
    AbandonedChargeLandsAfterItsWindow,
}

/// A bank behind the contract, with one breach.
struct BrokenAdapter {
    breach: Breach,
    bank: Mutex<Bank>,
    /// Charges that take effect too late, by number, with how often they were inquired about.
    held: Mutex<BTreeMap<String, (ExchangeRequest, u32)>>,
    calls: Mutex<u64>,
}

impl BrokenAdapter {
    fn handle(&self, request: ExchangeRequest) -> Vec<Answer> {
        let reactions = self.bank.lock().unwrap().handle(request, SystemClock.now().0);
        let answer = |reaction| match reaction {
            Reaction::Answer { response, .. } => response.answer,
            Reaction::Record(_) | Reaction::Release { .. } => None,
        };
        reactions.into_iter().filter_map(answer).collect()
    }

    /// The answers to one call; an error ends the stream.
    fn answers(&self, request: ExchangeRequest) -> Result<Vec<ExchangeResponse>, Status> {
        let call = request.call.clone();
        let mut call_id = request.call_id;
        let mut answers = self.held_back(&request).unwrap_or_else(|| self.handle(request));
        let is_inquiry = matches!(call, Some(Call::Inquiry(_)));
        let subject = match &call {
            Some(Call::Inquiry(inquiry)) => Some(inquiry.subject),
            _ => None,
        };
        let count = {
            let mut calls = self.calls.lock().unwrap();
            *calls += 1;
            *calls
        };
        let declined =
            || Answer::Declined(Declined { kind: Kind::Issuer.into(), code: "999".into(), reason: String::new() });
        for answer in &mut answers {
            match (self.breach, &mut *answer) {
                (Breach::UnknownIsDeclined, Answer::TradeUnknown(_)) => *answer = declined(),
                (Breach::ChargesAreForgotten, Answer::Approved(_))
                | (Breach::ReversalsAreForgotten, Answer::Reversed(_))
                    if is_inquiry =>
                {
                    *answer = Answer::TradeUnknown(TradeUnknown {});
                }
                (Breach::EmptyCallIsDeclined, Answer::Undecided(_)) if call.is_none() => *answer = declined(),
                (Breach::EmptyCallEndsTheStream, _) if call.is_none() => return Err(Status::internal("no call")),
                (Breach::UnknownSubjectIsACharge, Answer::Undecided(_)) if subject == Some(99) => {
                    *answer = Answer::TradeUnknown(TradeUnknown {});
                }
                (Breach::RefundsNeverFail, Answer::Declined(_)) if matches!(call, Some(Call::Refund(_))) => {
                    *answer = Answer::Refunded(Refunded::default());
                }
                (Breach::SecondReversalFails, Answer::Reversed(_)) if !is_inquiry && self.is_again(call.as_ref()) => {
                    *answer = declined();
                }
                (Breach::CallIdsAreCut, _) => call_id &= u64::from(u32::MAX),
                (Breach::CardsAreWhole, Answer::Approved(approved)) => {
                    "4111111111111111".clone_into(&mut approved.card_no_masked);
                }
                (Breach::AmountsAreWrong, Answer::Approved(approved)) => approved.debit_amount -= 1,
                (Breach::TokensAreRepeated, Answer::Approved(approved)) => {
                    if let Some(Call::Charge(charge)) = &call {
                        approved.issuer_trade_no = format!("I-{}", charge.card_token);
                    }
                }
                _ => {}
            }
        }
        if self.breach == Breach::CallsAreDropped && subject == Some(Subject::Charge.into()) && count % 3 == 0 {
            answers.clear();
        }
        if self.breach == Breach::AnswersContradict && matches!(answers[..], [Answer::Approved(Approved { .. })]) {
            answers.push(declined());
        }
        Ok(answers.into_iter().map(|answer| ExchangeResponse { call_id, answer: Some(answer) }).collect())
    }

    /// Whether the charge was reversed before.
    fn is_again(&self, call: Option<&Call>) -> bool {
        let Some(Call::Reversal(reversal)) = call else { return false };
        let request = ExchangeRequest { institution: "391".into(), ..ExchangeRequest::default() };
        let mut held = self.held.lock().unwrap();
        held.insert(reversal.trade_no.clone(), (request, 0)).is_some()
    }

    /// Holds a charge back that was sent on a stream of its own, until the second inquiry that is
    /// made long after its `send_by`.
    fn held_back(&self, request: &ExchangeRequest) -> Option<Vec<Answer>> {
        if self.breach != Breach::AbandonedChargeLandsAfterItsWindow {
            return None;
        }
        let mut held = self.held.lock().unwrap();
        match request.call.as_ref()? {
            Call::Charge(charge) if request.call_id == 1 => {
                held.insert(charge.trade_no.clone(), (request.clone(), 0));
                Some(Vec::new())
            }
            Call::Inquiry(inquiry) => {
                let (late, inquiries) = held.get_mut(&inquiry.trade_no)?;
                *inquiries += 1;
                if *inquiries == 2 {
                    let mut late = late.clone();
                    if let Some(Call::Charge(charge)) = &mut late.call {
                        charge.send_by_ms = i64::MAX;
                    }
                    self.handle(late);
                }
                None
            }
            Call::Charge(_) | Call::Refund(_) | Call::Reversal(_) => None,
        }
    }
}

/// The service of one breach.
struct Serving(Arc<BrokenAdapter>);

#[tonic::async_trait]
impl BackendService for Serving {
    type ExchangeStream = Pin<Box<dyn Stream<Item = Result<ExchangeResponse, Status>> + Send>>;

    async fn exchange(
        &self,
        request: Request<Streaming<ExchangeRequest>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let (sender, responses) = mpsc::unbounded_channel();
        let (mut calls, adapter) = (request.into_inner(), self.0.clone());
        tokio::spawn(async move {
            while let Some(Ok(call)) = calls.next().await {
                match adapter.answers(call) {
                    Ok(answers) => answers.into_iter().for_each(|answer| drop(sender.send(Ok(answer)))),
                    Err(status) => {
                        drop(sender.send(Err(status)));
                        return;
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(responses))))
    }
}

/// The names of the questions of the contract that do not hold.
async fn broken(breach: Breach) -> Vec<&'static str> {
    let script = Script { kind: Some(IssuerKind::Idempotent), ..Script::default() };
    let adapter = BrokenAdapter {
        breach,
        bank: Mutex::new(Bank::new(script, [])),
        held: Mutex::default(),
        calls: Mutex::default(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = BackendServiceServer::new(Serving(Arc::new(adapter)));
    let server = tonic::transport::Server::builder().add_service(service);
    let serving = tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let options = CheckOptions {
        institution: "391".to_owned(),
        answer_ms: 300,
        send_within_ms: 1_500,
        window_ms: 300,
        clock_skew_ms: 10,
        ..CheckOptions::of(format!("http://{address}"))
    };
    let report = check(&options).await.unwrap();
    serving.abort();
    assert!(!report.keeps_contract && !report.allows(&[]), "{breach:?}:\n{report}");
    let is_broken = |group, holds| group == Group::Contract && holds == Holds::No;
    report.findings.iter().filter(|found| is_broken(found.group, found.holds)).map(|found| found.check).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_breach_of_the_contract_is_named() {
    let expected = [
        (Breach::UnknownIsDeclined, "unknown-number"),
        (Breach::ChargesAreForgotten, "inquiry-after-charge"),
        (Breach::ReversalsAreForgotten, "inquiry-after-reversal"),
        (Breach::EmptyCallIsDeclined, "unknown-call"),
        (Breach::EmptyCallEndsTheStream, "stream-stays"),
        (Breach::UnknownSubjectIsACharge, "unknown-subject"),
        (Breach::RefundsNeverFail, "refund-beyond"),
        (Breach::SecondReversalFails, "reverse-twice"),
        (Breach::CallIdsAreCut, "call-ids"),
        (Breach::CallsAreDropped, "many-at-once"),
        (Breach::CardsAreWhole, "approval-form"),
        (Breach::AmountsAreWrong, "approval-form"),
        (Breach::AnswersContradict, "one-result"),
        (Breach::TokensAreRepeated, "no-card-token"),
        (Breach::AbandonedChargeLandsAfterItsWindow, "broken-stream"),
    ];
    let checks = expected.map(|(breach, check)| async move {
        let broken = broken(breach).await;
        assert!(broken.contains(&check), "{breach:?} breaks {broken:?}, must break {check}");
    });
    futures::future::join_all(checks).await;
}
