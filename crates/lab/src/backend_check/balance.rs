//! Whether a repeated charge moves money. The contract has no balance, so this needs an account
//! whose balance is known: if a repeat moved money, a later charge is refused.

use twqr_wire::backend::exchange_request::Call;

use super::{
    examiner::{Examiner, long_reversal},
    findings::{Findings, Holds, Question, charges, property},
};

const MONEY: Question = charges("repeat-charge-money", "A repeated charge moves no money.");
const MONEY_UNKNOWN: Question = property(MONEY.check, MONEY.what);
const STAYS_REFUSED: Question =
    charges("refused-for-balance-stays", "A charge that was refused for its balance stays refused.");

/// Charges 40 % of the balance, repeats it, and charges 40 % again: with the repeat it would be
/// 120 %. A third charge is beyond the balance, and is repeated once there is money for it.
pub(super) async fn examine(at: &mut Examiner, found: &mut Findings, balance: Option<i64>) {
    let Some(balance) = balance else {
        found.add(MONEY_UNKNOWN, Holds::NotShown, "--balance was not given");
        return;
    };
    let amount = balance * 2 / 5;
    let send_by = at.charge().send_by_ms;
    let [first, second, third] = [(); 3].map(|()| at.charge_of(amount, send_by));
    let paid = at.settle(Call::Charge(first.clone())).await;
    at.settle(Call::Charge(first.clone())).await;
    let also_paid = at.settle(Call::Charge(second.clone())).await;
    let holds = if paid.is_done() && also_paid.is_decided() { also_paid.is_done().into() } else { Holds::NotShown };
    found.add(MONEY, holds, format!("40 % of the balance twice under one number, then 40 % is {also_paid}"));
    let beyond = at.settle(Call::Charge(third.clone())).await;
    let reversal = at.settle(long_reversal(&first, amount)).await;
    let again = at.settle(Call::Charge(third)).await;
    let shown = beyond.is_refused() && reversal.is_done() && again.is_decided();
    let holds = if shown { again.is_refused().into() } else { Holds::NotShown };
    found.add(STAYS_REFUSED, holds, format!("{beyond}, then, with money again, {again}"));
    at.settle(long_reversal(&second, amount)).await;
}
