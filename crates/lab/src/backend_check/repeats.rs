//! The promises of idempotent issuers (`proto/README.md`, section Idempotent backends): a repeat
//! gets the first result and moves no money, what was refused stays refused, and an unknown number
//! is refused after `send_by`.

use twqr_types::StatusCode;
use twqr_wire::backend::{Charge, exchange_request::Call, inquiry::Subject};

use super::{
    examiner::{Examiner, long_reversal, reversal},
    findings::{Findings, Holds, Question, charges, contract, property, refunds},
    settled::{Settled, movement},
};

const REPEAT: Question = charges("repeat-charge", "A repeated charge gets the first result.");
const AT_ONCE: Question = charges("charges-at-once", "Two equal charges at the same time get one result.");
const LATE: Question = charges("late-charge", "A charge with an unknown number is refused after send_by.");
const LATE_REPEAT: Question = charges("late-repeat-charge", "A repeat after send_by gets the first result.");
const STAYS_REFUSED: Question = charges("refused-charge-stays", "A charge that was refused stays refused.");
const REVERSED: Question = charges(
    "charge-after-reversal",
    "A charge that is repeated after its reversal is answered as first, or refused, before and after send_by.",
);
const REPEAT_REFUND: Question = refunds("repeat-refund", "A repeated refund gets the first result.");
const REFUND_MONEY: Question = refunds("repeat-refund-money", "A repeated refund moves no money.");
const REFUNDS_AT_ONCE: Question = refunds("refunds-at-once", "Two equal refunds at the same time count as one.");
const LATE_REFUND: Question = refunds("late-refund", "A refund with an unknown number is refused after send_by.");
const LATE_REPEAT_REFUND: Question =
    refunds("late-repeat-refund", "A refund that is repeated after send_by gets the first result.");
const REFUND_STAYS_REFUSED: Question = refunds("refused-refund-stays", "A refund that was refused stays refused.");
const REFUND_OF_REVERSED: Question =
    refunds("refund-after-reversal", "A refund that is repeated after a reversal gets the first result.");
const LATE_REVERSAL: Question = property("late-reversal", "A reversal is refused after send_by.");
const KNOWN_REFUSAL: Question = property("inquiry-after-refusal", "An inquiry knows a charge that was refused.");
const CONTRADICTED: Question =
    contract("refusal-is-final", "An inquiry never finds a charge as approved that was refused.");

/// The calls that are repeated once their `send_by` has passed.
struct Repeated {
    charge: Charge,
    approved: Settled,
    refund: Call,
    refunded: Settled,
    reversed: Charge,
    /// The outcome of the charge that was repeated after its reversal.
    after_reversal: Settled,
}

/// Asks the questions, and returns the code that refuses a charge again after its reversal, if it
/// is not the wallet's 812.
pub(super) async fn examine(at: &mut Examiner, found: &mut Findings) -> Option<String> {
    refused_refund(at, found).await;
    at_once(at, found).await;
    refund_of_reversed(at, found).await;
    let repeated = in_time(at, found).await;
    let last = repeated.reversed.send_by_ms.max(repeated.charge.send_by_ms);
    at.wait_past(movement(&repeated.refund).map_or(last, |(_, _, send_by)| last.max(send_by))).await;
    late_repeats(at, found, &repeated).await;
    late_calls(at, found).await;
    after_reversal(at, found, &repeated).await
}

/// Repeats a charge and a refund, and a charge after its reversal, all before `send_by`.
async fn in_time(at: &mut Examiner, found: &mut Findings) -> Repeated {
    let (amount, part) = (at.options.amount, at.options.amount / 3);
    let charge = at.short_charge();
    let approved = at.settle(Call::Charge(charge.clone())).await;
    same(at, found, REPEAT, &approved, Call::Charge(charge.clone())).await;
    let send_by = at.soon();
    let refund = at.refund(&charge, part, send_by);
    let refunded = at.settle(refund.clone()).await;
    same(at, found, REPEAT_REFUND, &refunded, refund.clone()).await;
    let rest = at.long_refund(&charge, amount - part);
    let rest = at.settle(rest).await;
    only_once(found, REFUND_MONEY, &refunded, &rest);
    let reversed = at.short_charge();
    at.settle(Call::Charge(reversed.clone())).await;
    let taken_back = at.settle(long_reversal(&reversed, amount)).await;
    let again = at.settle(Call::Charge(reversed.clone())).await;
    let after_reversal =
        if taken_back.is_done() { again } else { Settled::Unknown(format!("the reversal is {taken_back}")) };
    Repeated { charge, approved, refund, refunded, reversed, after_reversal }
}

async fn at_once(at: &mut Examiner, found: &mut Findings) {
    let (amount, part) = (at.options.amount, at.options.amount / 3);
    let charge = at.charge();
    let [one, two] = at.settle_twice(Call::Charge(charge.clone())).await;
    let holds = if one.is_decided() && two.is_decided() { one.is_same_as(&two).into() } else { Holds::NotShown };
    found.add(AT_ONCE, holds, format!("{one}, {two}"));
    let refund = at.long_refund(&charge, part);
    let [one, _] = at.settle_twice(refund).await;
    let rest = at.long_refund(&charge, amount - part);
    let rest = at.settle(rest).await;
    only_once(found, REFUNDS_AT_ONCE, &one, &rest);
}

/// A refund that comes before its charge is refused; it must not take effect when it is repeated.
async fn refused_refund(at: &mut Examiner, found: &mut Findings) {
    let charge = at.charge();
    let refund = at.long_refund(&charge, at.options.amount / 3);
    let refused = at.settle(refund.clone()).await;
    at.settle(Call::Charge(charge)).await;
    let again = at.settle(refund).await;
    stays_refused(found, REFUND_STAYS_REFUSED, &refused, &again);
}

async fn refund_of_reversed(at: &mut Examiner, found: &mut Findings) {
    let (amount, part) = (at.options.amount, at.options.amount / 3);
    let charge = at.charge();
    at.settle(Call::Charge(charge.clone())).await;
    let refund = at.long_refund(&charge, part);
    let refunded = at.settle(refund.clone()).await;
    let taken_back = at.settle(long_reversal(&charge, amount - part)).await;
    if taken_back.is_done() {
        same(at, found, REFUND_OF_REVERSED, &refunded, refund).await;
    } else {
        found.add(REFUND_OF_REVERSED, Holds::NotShown, format!("the reversal is {taken_back}"));
    }
}

async fn late_repeats(at: &mut Examiner, found: &mut Findings, repeated: &Repeated) {
    same(at, found, LATE_REPEAT, &repeated.approved, Call::Charge(repeated.charge.clone())).await;
    same(at, found, LATE_REPEAT_REFUND, &repeated.refunded, repeated.refund.clone()).await;
}

/// Calls that arrive after their `send_by` for the first time.
async fn late_calls(at: &mut Examiner, found: &mut Findings) {
    let (amount, past) = (at.options.amount, at.past());
    let late = at.charge_of(amount, past);
    let refused = at.settle(Call::Charge(late.clone())).await;
    found.add(LATE, is_refused(&refused), refused.to_string());
    let inquired = at.inquire(Subject::Charge, &late.trade_no).await;
    if refused.is_refused() {
        found.add(KNOWN_REFUSAL, inquired.is_refused(), inquired.to_string());
        found.add(CONTRADICTED, !inquired.is_done(), inquired.to_string());
    } else {
        found.add(KNOWN_REFUSAL, Holds::NotShown, "nothing was refused");
    }
    let send_by_ms = at.charge().send_by_ms;
    let again = at.settle(Call::Charge(Charge { send_by_ms, ..late })).await;
    stays_refused(found, STAYS_REFUSED, &refused, &again);

    let charge = at.charge();
    at.settle(Call::Charge(charge.clone())).await;
    let refund = at.refund(&charge, 1, past);
    let answer = at.settle(refund).await;
    found.add(LATE_REFUND, is_refused(&answer), answer.to_string());
    let left = if answer.is_done() { amount - 1 } else { amount };
    let answer = at.settle(reversal(&charge, left, past)).await;
    found.add(LATE_REVERSAL, is_refused(&answer), answer.to_string());
}

/// Repeats a reversed charge after `send_by`: the result must be that of its repeat before. A
/// backend that charged again then would now refuse for lateness alone.
async fn after_reversal(at: &mut Examiner, found: &mut Findings, repeated: &Repeated) -> Option<String> {
    let before = &repeated.after_reversal;
    let late = at.settle(Call::Charge(repeated.reversed.clone())).await;
    let decided = before.is_decided() && late.is_decided();
    let holds = if decided { before.is_same_as(&late).into() } else { Holds::NotShown };
    found.add(REVERSED, holds, format!("{before}; after send_by {late}"));
    let Settled::Refused(declined) = late else { return None };
    (decided && declined.code != StatusCode::CANCELLED.as_str()).then_some(declined.code)
}

/// Repeats a call and compares the results.
async fn same(at: &mut Examiner, found: &mut Findings, question: Question, first: &Settled, call: Call) {
    let again = at.settle(call).await;
    let holds =
        if first.is_decided() && again.is_decided() { first.is_same_as(&again).into() } else { Holds::NotShown };
    found.add(question, holds, format!("{first}, then {again}"));
}

/// A refund of exactly the rest takes effect only if the refund before it counted once.
fn only_once(found: &mut Findings, question: Question, refunded: &Settled, rest: &Settled) {
    let holds = if refunded.is_done() && rest.is_decided() { rest.is_done().into() } else { Holds::NotShown };
    found.add(question, holds, format!("the rest is {rest}"));
}

fn stays_refused(found: &mut Findings, question: Question, refused: &Settled, again: &Settled) {
    let holds = if refused.is_refused() && again.is_decided() { again.is_refused().into() } else { Holds::NotShown };
    found.add(question, holds, format!("{refused}, then {again}"));
}

/// Whether a late call is refused. One whose result is not known in time is not.
fn is_refused(settled: &Settled) -> Holds {
    settled.is_refused().into()
}
