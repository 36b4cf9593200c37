//! The rules for every adapter: inquiries answer as the calls did, refunds stay within the charge,
//! and a second reversal has no further effect.

use anyhow::bail;
use twqr_types::{Carrier, masked_card_no};
use twqr_wire::backend::{Charge, exchange_request::Call, exchange_response::Answer, inquiry::Subject};

use super::{
    examiner::{Examiner, long_reversal},
    findings::{Findings, Holds, Question, contract},
    settled::{Settled, movement},
};

const UNKNOWN: Question = contract("unknown-number", "An inquiry about an unknown number answers TradeUnknown.");
const APPROVAL: Question =
    contract("approval-form", "An approval has a payment type, amounts that add up, and no whole card number.");
const AFTER_CHARGE: Question = contract("inquiry-after-charge", "An inquiry answers as the charge did.");
const REFUND_FORM: Question = contract("refund-form", "The amounts of a refund add up to what was asked.");
const AFTER_REFUND: Question = contract("inquiry-after-refund", "An inquiry answers as the refund did.");
const BEYOND: Question = contract("refund-beyond", "A refund of more than is left is refused.");
const REST: Question = contract("reverse-rest", "A reversal takes back what refunds have left.");
const AFTER_REVERSAL: Question = contract("inquiry-after-reversal", "An inquiry answers as the reversal did.");
const TWICE: Question = contract("reverse-twice", "Reversing a reversed charge succeeds.");
const STILL_APPROVED: Question =
    contract("charge-stays-approved", "After a reversal an inquiry still finds the charge as approved.");
const REVERSED_REFUND: Question = contract("refund-of-reversed", "A refund of a reversed charge is refused.");
const NO_CHARGE: Question =
    contract("unknown-charge", "A refund or reversal of an unknown charge does not take effect.");

/// Asks the questions. The error says that no test charge is approved.
pub(super) async fn examine(at: &mut Examiner, found: &mut Findings) -> anyhow::Result<()> {
    unknown_numbers(at, found).await;
    let (charge, amount) = (at.charge(), at.options.amount);
    let approved = at.settle(Call::Charge(charge.clone())).await;
    let Settled::Done(answer) = &approved else {
        bail!(
            "the first test charge is {approved}; give test codes that are approved with --card-token-file, and a test merchant"
        );
    };
    let faults = approval_faults(answer, amount);
    found.add(APPROVAL, faults.is_empty(), if faults.is_empty() { "as it should be".to_owned() } else { faults });
    let inquired = at.inquire(Subject::Charge, &charge.trade_no).await;
    found.add(AFTER_CHARGE, inquired.is_same_as(&approved), inquired.to_string());
    refunds(at, found, &charge, amount / 3).await;
    reversals(at, found, &charge, amount - amount / 3).await;
    unknown_charge(at, found).await;
    Ok(())
}

async fn unknown_numbers(at: &mut Examiner, found: &mut Findings) {
    let mut answers = Vec::new();
    for subject in [Subject::Charge, Subject::Refund, Subject::Reversal] {
        let number = at.number();
        answers.push(at.inquire(subject, &number).await);
    }
    let seen: Vec<String> = answers.iter().map(ToString::to_string).collect();
    found.add(UNKNOWN, answers.iter().all(|answer| *answer == Settled::Absent), seen.join(", "));
}

/// Refunds a part, and then more than is left.
async fn refunds(at: &mut Examiner, found: &mut Findings, charge: &Charge, part: i64) {
    let refund = at.long_refund(charge, part);
    let refunded = at.settle(refund.clone()).await;
    let sum = if let Settled::Done(Answer::Refunded(refunded)) = &refunded {
        Some(refunded.debit_amount + refunded.redeem_amount + refunded.store_redeem_amount)
    } else {
        None
    };
    let form = sum.map_or(Holds::NotShown, |sum| (sum == part).into());
    found.add(REFUND_FORM, form, sum.map_or_else(|| refunded.to_string(), |sum| format!("{sum} of {part}")));
    let number = movement(&refund).map(|(_, number, _)| number.to_owned()).unwrap_or_default();
    let inquired = at.inquire(Subject::Refund, &number).await;
    // A backend that forgets refusals may not know this number.
    let is_same = inquired.is_same_as(&refunded) || (refunded.is_refused() && inquired == Settled::Absent);
    found.add(AFTER_REFUND, is_same, inquired.to_string());
    let beyond = at.long_refund(charge, charge.trade_amount);
    let answer = at.settle(beyond).await;
    found.add(BEYOND, shown(&answer, Settled::is_refused), answer.to_string());
}

async fn reversals(at: &mut Examiner, found: &mut Findings, charge: &Charge, left: i64) {
    let reversal = long_reversal(charge, left);
    let first = at.settle(reversal.clone()).await;
    // An issuer may refuse to reverse.
    let holds = if first.is_done() { Holds::Yes } else { Holds::NotShown };
    found.add(REST, holds, first.to_string());
    let inquired = at.inquire(Subject::Reversal, &charge.trade_no).await;
    found.add(
        AFTER_REVERSAL,
        if first.is_done() { inquired.is_done().into() } else { Holds::NotShown },
        inquired.to_string(),
    );
    let again = at.settle(reversal).await;
    found.add(TWICE, if first.is_done() { again.is_done().into() } else { Holds::NotShown }, again.to_string());
    let still = at.inquire(Subject::Charge, &charge.trade_no).await;
    found.add(STILL_APPROVED, still.is_done(), still.to_string());
    let refund = at.long_refund(charge, 1);
    let answer = at.settle(refund).await;
    let holds = if first.is_done() { shown(&answer, Settled::is_refused) } else { Holds::NotShown };
    found.add(REVERSED_REFUND, holds, answer.to_string());
}

async fn unknown_charge(at: &mut Examiner, found: &mut Findings) {
    let charge = at.charge();
    let refund = at.long_refund(&charge, 1);
    let (refund, reversal) = (at.ask(refund).await, at.ask(long_reversal(&charge, charge.trade_amount)).await);
    let refund = Settled::of(refund, Subject::Refund);
    let reversal = Settled::of(reversal, Subject::Reversal);
    found.add(NO_CHARGE, !refund.is_done() && !reversal.is_done(), format!("{refund}, {reversal}"));
}

/// Whether it holds, if the answer decides anything.
fn shown(answer: &Settled, holds: impl Fn(&Settled) -> bool) -> Holds {
    if answer.is_decided() { holds(answer).into() } else { Holds::NotShown }
}

/// The faults of an approval; empty if there is none.
fn approval_faults(answer: &Answer, amount: i64) -> String {
    let Answer::Approved(approved) = answer else { return "not an approval".to_owned() };
    let paid = amount + approved.redeem_amount + approved.store_redeem_amount;
    let faults = [
        (approved.payment_type == 0, "payment_type is missing"),
        (paid != approved.debit_amount, "debit_amount is not the amount with what was redeemed"),
        (approved.redeem_amount > 0 || approved.store_redeem_amount > 0, "a redeemed amount is above zero"),
        (masked_card_no(&approved.card_no_masked) != approved.card_no_masked, "card_no_masked is not masked"),
        (
            !approved.invoice_vehicle.is_empty() && Carrier::parse(&approved.invoice_vehicle).is_none(),
            "invoice_vehicle is no carrier",
        ),
    ];
    let found: Vec<&str> = faults.iter().filter(|(is_fault, _)| *is_fault).map(|(_, fault)| *fault).collect();
    found.join("; ")
}
