//! Tests of the kinds of issuers: what each does with late calls and with numbers that it has seen.

use super::*;

/// After its send_by of 5,000 ms.
const LATE_MS: i64 = 60_000;

/// A bank whose wallet and other issuer are of this kind.
fn bank_of(kind: IssuerKind, faults: &Faults) -> Bank {
    bank(Faults { kind: Some(kind), ..faults.clone() })
}

/// The shapes of the reactions to some calls, one after another.
fn shapes(bank: &mut Bank, calls: &[(ExchangeRequest, i64)]) -> Vec<String> {
    calls.iter().map(|(call, now)| shape(&bank.handle(call.clone(), *now))).collect()
}

#[test]
fn each_kind_answers_late_and_repeated_calls_in_its_own_way() {
    let pay = |issuer| charge(issuer, "T1", "22AB");
    let back = |issuer| refund(issuer, "R1", "T1", 40);
    let reverse = |issuer| reversal(issuer, "T1", 100);
    let refusing = || Faults { refuse_first: 1.0, ..Faults::default() };
    for (name, kind) in IssuerKind::ALL {
        // A call after its send_by; a charge, a refused charge, a charge after its reversal, a
        // refund and a refused refund, each of them twice.
        let expected = match kind {
            IssuerKind::Plain => ["RA", "RA RA", "RD RA", "RA RV RA", "RA RB RB", "RA RD RB"],
            IssuerKind::RefusesLate => ["RD", "RA RA", "RD RA", "RA RV RA", "RA RB RB", "RA RD RB"],
            IssuerKind::Idempotent => ["RD", "RA =A", "RD =D", "RA RV =D", "RA RB =B", "RA RD =D"],
            IssuerKind::IdempotentCharges => ["RD", "RA =A", "RD =D", "RA RV =D", "RA RB RB", "RA RD RB"],
            IssuerKind::IdempotentRefunds => ["RD", "RA RA", "RD RA", "RA RV RA", "RA RB =B", "RA RD =D"],
            IssuerKind::ForgetsRefusals => ["RD", "RA =A", "RD RA", "RA RV =D", "RA RB =B", "RA RD RB"],
            IssuerKind::ForgetsReversals => ["RD", "RA =A", "RD =D", "RA RV RA", "RA RB =B", "RA RD =D"],
        };
        for issuer in [WALLET, other()] {
            let plain = || bank_of(kind, &Faults::default());
            let refused_refund = || {
                let mut first = bank_of(kind, &Faults::default());
                let recorded = entries(first.handle(pay(issuer), 0));
                Bank::new(script(Faults { kind: Some(kind), ..refusing() }), recorded)
            };
            let answers = [
                shapes(&mut plain(), &[(pay(issuer), LATE_MS)]),
                shapes(&mut plain(), &[(pay(issuer), 0), (pay(issuer), 0)]),
                shapes(&mut bank_of(kind, &refusing()), &[(pay(issuer), 0), (pay(issuer), 0)]),
                shapes(&mut plain(), &[(pay(issuer), 0), (reverse(issuer), 0), (pay(issuer), 0)]),
                shapes(&mut plain(), &[(pay(issuer), 0), (back(issuer), 0), (back(issuer), 0)]),
                [vec!["RA".to_owned()], shapes(&mut refused_refund(), &[(back(issuer), 0), (back(issuer), 0)])]
                    .concat(),
            ];
            assert_eq!(answers.map(|shapes| shapes.join(" ")), expected, "{name}, {issuer:?}");
        }
    }
}

#[test]
fn an_idempotent_issuer_keeps_every_result_for_ever() {
    let kind = Some(IssuerKind::Idempotent);
    for issuer in [WALLET, other()] {
        // A refusal for lateness, one by FISC for maintenance, and one by the issuer.
        let mut late = bank(Faults { kind, ..Faults::default() });
        late.handle(charge(issuer, "T1", "22AB"), LATE_MS);
        assert_eq!(declined(&late.handle(charge(issuer, "T1", "22AB"), 0)).code, "906", "{issuer:?}");
        let in_maintenance = Faults { kind, maintenance: true, ..Faults::default() };
        let recorded = entries(bank(in_maintenance).handle(charge(issuer, "T1", "22AB"), 0));
        let mut after = Bank::new(script(Faults { kind, ..Faults::default() }), recorded);
        assert_eq!(declined(&after.handle(charge(issuer, "T1", "22AB"), 0)).code, "M001", "{issuer:?}");
        // A charge that was reversed stays reversed, also when it is repeated after send_by.
        let mut reversed = charged(Faults { kind, ..Faults::default() });
        reversed.handle(reversal(issuer, "T1", 100), 0);
        let repeated = reversed.handle(charge(issuer, "T1", "22AB"), LATE_MS);
        assert_eq!((shape(&repeated).as_str(), declined(&repeated).code.as_str()), ("=D", "812"), "{issuer:?}");
        // A charge that was refunded is still approved. A refund is repeated also after a reversal.
        let mut refunded = charged(Faults { kind, ..Faults::default() });
        let first = refunded.handle(refund(issuer, "R1", "T1", 40), 0);
        assert_eq!(shape(&refunded.handle(charge(issuer, "T1", "22AB"), LATE_MS)), "=A", "{issuer:?}");
        refunded.handle(reversal(issuer, "T1", 60), 0);
        let again = refunded.handle(refund(issuer, "R1", "T1", 40), LATE_MS);
        assert_eq!((shape(&again).as_str(), last_answer(&again)), ("=B", last_answer(&first)), "{issuer:?}");
    }
}

#[test]
fn an_issuer_that_forgets_refusals_does_not_know_a_refused_number() {
    for (name, kind) in IssuerKind::ALL {
        let mut bank = bank_of(kind, &Faults::default());
        bank.handle(charge(other(), "T1", "IPD911"), 0);
        let expected = if kind == IssuerKind::ForgetsRefusals { "U" } else { "D" };
        assert_eq!(shape(&bank.handle(inquiry(other(), "T1"), 0)), expected, "{name}");
    }
}
