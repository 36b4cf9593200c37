//! Results of a charge, and when inquiries are sent (`proto/README.md`, sections StatusCodes
//! and Inquiries).

use super::{
    check,
    fixtures::{self, OTHER, WALLET, approved, declined, declined_by, not_sent, unknown},
    world::World,
};
use crate::{Approval, Decline, DeclineKind, Evidence, Phase, Step, TaskResult};

#[test]
fn results_of_a_charge() {
    check(&[
        ("an approved charge is paid", |w| {
            w.pay("T", WALLET, 100);
            assert_eq!(w.charged("T", approved(100)), Step::Paid);
            assert_eq!((w.charge("T").as_str(), w.received().as_str()), ("done", "order"));
        }),
        ("a declined charge has failed, because the issuer said so", |w| {
            w.pay("T", WALLET, 100);
            assert_eq!(w.charged("T", declined("928")), Step::Failed(Evidence::Declined));
            assert_eq!((w.charge("T").as_str(), w.received().as_str()), ("928", "order"));
        }),
        ("StatusDesc has at most 1000 characters, however long the issuer's reason is", |w| {
            w.pay("T", OTHER, 100);
            let decline = Decline { kind: DeclineKind::Issuer, code: "05".into(), reason: "餘".repeat(1_000).into() };
            w.charged("T", TaskResult::Declined(decline));
            assert_eq!(w.payment("T").charge.failure().unwrap().status_desc.chars().count(), 1_000);
        }),
        ("a charge that was not sent has failed, because its owner never sent it", |w| {
            w.pay("T", WALLET, 100);
            assert_eq!(w.charged("T", not_sent()), Step::Failed(Evidence::NotSent));
            assert_eq!(w.charge("T"), "982");
        }),
        ("no result: in progress, answered so, with a due time", |w| {
            w.pay("T", WALLET, 100);
            assert_eq!(w.charged("T", unknown()), Step::Unresolved);
            assert_eq!((w.charge("T").as_str(), w.received().as_str()), ("open", "order"));
            assert!(w.payment("T").due_at().is_some());
        }),
        ("a charge that is absent after the window has failed", |w| {
            w.pay("T", WALLET, 100);
            w.charged("T", unknown());
            w.at += 6_000;
            w.due("T", 0);
            assert_eq!(w.charged("T", TaskResult::Absent), Step::Failed(Evidence::Absent));
            assert_eq!(w.charge("T"), "982");
        }),
        ("981, 982, 983: who refused decides the code, and the codes are configuration", |w| {
            let kinds = [
                (DeclineKind::CardNotSupported, "981", "711"),
                (DeclineKind::Fisc, "982", "712"),
                (DeclineKind::Issuer, "983", "713"),
            ];
            for (n, (kind, by_default, configured)) in kinds.into_iter().enumerate() {
                let (first, second) = (format!("T{n}"), format!("U{n}"));
                w.set_policy(fixtures::policy());
                w.pay(&first, OTHER, 100);
                w.charged(&first, declined_by(kind, "4501"));
                w.set_policy(fixtures::policy_with(|policy| {
                    policy.status_codes.card_not_supported = twqr_types::StatusCode::parse("711").unwrap();
                    policy.status_codes.fisc_abnormal = twqr_types::StatusCode::parse("712").unwrap();
                    policy.status_codes.issuer_declined = twqr_types::StatusCode::parse("713").unwrap();
                }));
                w.pay(&second, OTHER, 100);
                w.charged(&second, declined_by(kind, "4501"));
                assert_eq!((w.charge(&first).as_str(), w.charge(&second).as_str()), (by_default, configured));
            }
        }),
        ("983: the issuer's reason goes to StatusDesc", |w| {
            w.pay("T", OTHER, 100);
            w.charged("T", declined_by(DeclineKind::Issuer, "4501"));
            assert_eq!(&*w.payment("T").charge.failure().unwrap().status_desc, "4501 why");
        }),
        ("an approval whose amounts do not add up counts, and an operator must look", |w| {
            w.pay("T", WALLET, 100);
            assert_eq!(w.charged("T", approved(99)), Step::Paid);
            assert!(w.payment("T").contradiction.is_some());
        }),
    ]);
}

#[test]
fn an_ambiguous_status_code_is_never_a_failure() {
    check(&[
        ("ambiguous codes of the wallet: 301, 801, 901, 909; and those that prove nothing: 000, 916, no code", |w| {
            for code in ["301", "801", "901", "909", "000", "916", "9O9", ""] {
                let number = format!("T{code}");
                w.pay(&number, WALLET, 100);
                assert_eq!(w.charged(&number, declined(code)), Step::Unresolved, "{code}");
                assert!(matches!(w.payment(&number).charge.phase, Phase::Unresolved { .. }), "{code}");
            }
        }),
        ("every other code of the wallet is a refusal", |w| {
            for code in ["601", "802", "906", "911", "912", "927", "928", "929", "939", "977", "978"] {
                let number = format!("T{code}");
                w.pay(&number, WALLET, 100);
                assert_eq!(w.charged(&number, declined(code)), Step::Failed(Evidence::Declined), "{code}");
                assert_eq!(w.charge(&number), code);
            }
        }),
        ("other issuers' codes are their own: none is ambiguous", |w| {
            w.pay("T", OTHER, 100);
            assert_eq!(w.charged("T", declined_by(DeclineKind::Issuer, "301")), Step::Failed(Evidence::Declined));
        }),
        ("the same for refunds", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 10);
            assert_eq!(w.refunded("T", "R", declined("801")), Step::Unresolved);
            assert_eq!(w.refund_state("R"), "open");
        }),
        ("the same for reversals", |w| {
            w.paid("T", WALLET, 100);
            w.cancel("T", WALLET, 100);
            assert_eq!(w.reversed("T", declined("909")), Step::Unresolved);
            assert_eq!(w.cancelled("T"), "open");
        }),
    ]);
}

#[test]
fn times_of_inquiries() {
    check(&[
        ("an order without any outcome is inquired about after its window, not before", |w| {
            w.pay("T", WALLET, 100);
            assert_eq!(w.due("T", 4_999), Step::Ignored, "send_by 2,000 and window 3,000");
            assert_eq!(w.due("T", 1), Step::Inquired);
            assert_eq!(w.due("T", 1_000), Step::Ignored, "the inquiry is out");
            assert_eq!(w.sent("T"), "charge:100 ask-charge");
        }),
        ("an inquiry without an outcome is repeated after two minutes", |w| {
            w.pay("T", WALLET, 100);
            w.due("T", 5_000);
            assert_eq!(w.due("T", crate::INQUIRY_MS_MAX - 1), Step::Ignored);
            assert_eq!(w.due("T", 1), Step::Inquired);
        }),
        ("the spacing of inquiries grows, up to the maximum and its jitter", |w| {
            w.pay("T", WALLET, 100);
            w.charged("T", unknown());
            w.at += 5_001;
            w.due("T", 0);
            let mut last = 0;
            for round in 0..12 {
                w.charged("T", unknown());
                let wait = w.payment("T").due_at().unwrap().0 - w.at;
                assert!(wait >= last || wait >= 60_000, "{round}: {wait} after {last}");
                assert!((1_000..=75_000).contains(&wait), "{round}: {wait}");
                last = wait;
                assert_eq!(w.due_in_time("T"), Step::Inquired);
            }
        }),
        ("an issuer in announced maintenance is not charged: refused at once, nothing sent", |w| {
            w.set_policy(fixtures::maintenance(0, 60_000));
            assert_eq!(w.pay("T", OTHER, 100), Step::Refused);
            assert_eq!((w.charge("T").as_str(), w.sent("T").as_str()), ("982", ""));
        }),
        ("an issuer in announced maintenance gets its inquiry afterwards", |w| {
            w.set_policy(fixtures::maintenance(1_000, 60_000));
            w.pay("T", OTHER, 100);
            w.due("T", 5_000);
            assert_eq!(w.sent("T"), "charge:100");
            assert!(w.payment("T").due_at().unwrap().0 >= fixtures::NOON + 60_000);
            w.due_in_time("T");
            assert_eq!(w.sent("T"), "charge:100 ask-charge");
        }),
        ("no policy yet: refused, nothing sent", |w| {
            *w = super::World::without_policy();
            assert_eq!(w.pay("T", WALLET, 100), Step::Refused);
            assert_eq!((w.charge("T").as_str(), w.sent("T").as_str()), ("982", ""));
        }),
    ]);
}

#[test]
fn an_issuer_that_left_is_asked_more_and_more_rarely_and_a_person_is_told() {
    const HOUR: i64 = 3_600_000;
    // Each way in which an inquiry can end without a result, and the outcome that a worker reports.
    let endings: [(&str, Option<TaskResult<Approval>>); 3] =
        [("undecided", Some(unknown())), ("not sent", Some(not_sent())), ("no outcome", None)];
    for (ending, result) in endings {
        let mut w = World::new(fixtures::policy());
        w.pay("T", OTHER, 100);
        w.charged("T", unknown());
        // The issuer left: its route and its rules are removed.
        w.set_policy(fixtures::policy_with(|policy| {
            policy.routes.truncate(1);
            policy.issuers.truncate(1);
        }));
        let (mut asked, mut last_day) = (0, 0);
        let began = w.at;
        while w.at < began + 30 * 24 * HOUR {
            w.due_in_time("T");
            if let Some(result) = &result {
                w.charged("T", result.clone());
            }
            asked += 1;
            last_day += u32::from(w.at >= began + 29 * 24 * HOUR);
            let order = w.order("T").unwrap();
            let age = w.at - began;
            assert!(age > 2 * HOUR || order.due_at().unwrap().0 - w.at <= HOUR / 2, "{ending}: soon at first");
            assert_eq!(order.attention().is_some(), age > HOUR + 5_000, "{ending}, after {age} ms");
        }
        assert!(asked <= 250 && (3..=5).contains(&last_day), "{ending}: {asked} in 30 days, {last_day} in the last");
        assert_eq!(w.charged("T", approved(100)), Step::Paid, "{ending}: an answer still counts");
        assert_eq!(w.order("T").unwrap().attention(), None);
    }
}
