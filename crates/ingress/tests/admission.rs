//! Calls that are refused because their shard is busy, and calls that are not, over gRPC and the
//! POS HTTP form. The test is the router: what it does not answer stays undecided.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/stage.rs"]
mod support;

use std::{sync::Arc, time::Duration};

use support::{Stage, payment, settings};
use tokio::task::JoinHandle;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use twqr_ingress::{AdmissionSettings, Settings};
use twqr_journal::{Journal, Partition, Topic};
use twqr_wire::{
    convert::ReplyContent,
    pos::{InquiryType, PayRequest, PayResponse, QueryRequest},
};

/// An ingress with a fixed limit, whose calls end after 1.5 s.
async fn stage(limit: u32) -> Arc<Stage> {
    let admission = AdmissionSettings { delay: Duration::from_millis(100), limit_min: limit, limit_max: limit };
    Arc::new(Stage::open(Settings { admission, answer_within_ms: 1_500, ..settings() }).await)
}

type Answer = Result<PayResponse, Status>;

async fn pay(stage: &Stage, request: PayRequest) -> JoinHandle<Answer> {
    let mut client = stage.client().await;
    tokio::spawn(async move { client.pay(request).await.map(tonic::Response::into_inner) })
}

/// Sends payments with these numbers and waits until their records are in the log.
async fn fill(stage: &Stage, numbers: std::ops::Range<u32>) -> Vec<JoinHandle<Answer>> {
    let mut calls = Vec::new();
    for number in numbers {
        calls.push(pay(stage, payment(&number.to_string())).await);
    }
    let is_there = |wanted: usize| async move { stage.payments().await.len() >= wanted };
    for _ in 0..1_000 {
        if is_there(calls.len()).await {
            return calls;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the payments were not written: {:?}", stage.payments().await);
}

fn is_shed(answer: &Answer) -> bool {
    answer.as_ref().is_err_and(|status| status.code() == Code::ResourceExhausted)
}

#[tokio::test]
async fn at_the_limit_new_payments_are_refused_and_inquiries_are_not() {
    let stage = stage(8).await;
    let waiting = fill(&stage, 0..7).await;
    let refused = pay(&stage, payment("refused")).await.await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.get_details_retry_info().is_some() && refused.message().contains("nothing was accepted"));
    assert_eq!(stage.payments().await.len(), 7, "a refused payment must not be written");
    let query = QueryRequest {
        inquiry_type: InquiryType::Payment.into(),
        merchant_id: "M1".into(),
        merchant_trade_no: "1".into(),
        ..QueryRequest::default()
    };
    let answer = stage.client().await.query(query).await.unwrap_err();
    assert_eq!(answer.code(), Code::Unavailable, "the inquiry must be admitted, and wait: {answer}");
    for call in waiting {
        assert_eq!(call.await.unwrap().unwrap().status_code, "982");
    }
}

#[tokio::test]
async fn a_repeat_of_a_payment_in_progress_is_admitted_before_new_ones() {
    let stage = stage(8).await;
    let first = pay(&stage, payment("0")).await.await.unwrap().unwrap();
    assert_eq!(first.status_code, "982");
    let _waiting = fill(&stage, 1..7).await;
    assert!(is_shed(&pay(&stage, payment("new")).await.await.unwrap()));
    assert_eq!(pay(&stage, payment("0")).await.await.unwrap().unwrap().status_code, "982");
}

#[tokio::test]
async fn a_merchant_with_its_share_is_refused_before_one_without() {
    let stage = stage(16).await;
    let _waiting = fill(&stage, 0..11).await;
    let of_m2 = PayRequest { merchant_id: "M2".into(), ..payment("0") };
    let other = pay(&stage, of_m2).await;
    while stage.payments().await.len() < 12 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(is_shed(&pay(&stage, payment("11")).await.await.unwrap()));
    assert_eq!(other.await.unwrap().unwrap().status_code, "982");
}

#[tokio::test]
async fn calls_that_wait_for_their_issuer_hold_no_place() {
    let stage = stage(8).await;
    let router = stage.clone();
    // Reads every record at once, but no issuer ever answers.
    let _routing = tokio::spawn(async move {
        let orders = Partition { topic: Topic::Orders, index: 0 };
        let mut reader = router.journal.reader(orders, 0).await.unwrap();
        loop {
            for record in reader.next(100).await.unwrap() {
                if let Some(probe) = support::probe(record) {
                    router.reply(&probe, ReplyContent::NotFound, false).await;
                }
            }
        }
    });
    let mut waiting = Vec::new();
    for number in 0..40 {
        // A call that meets a full lane tries again, as the hint says.
        while stage.payments().await.len() <= number {
            waiting.push(pay(&stage, payment(&number.to_string())).await);
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    }
    let answers = futures::future::join_all(waiting).await;
    let in_progress = answers.iter().filter(|answer| answer.as_ref().unwrap().is_ok()).count();
    assert!(in_progress >= 40, "{in_progress} of {} calls were accepted", answers.len());
}
