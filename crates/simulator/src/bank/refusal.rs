//! Refusals with their codes and reasons, and the codes that a request can provoke.

use twqr_types::{Issuer, StatusCode};
use twqr_wire::backend::{Declined, declined::Kind};

/// A refusal by the issuer.
pub(super) fn refusal(issuer: Issuer, code: &str) -> Declined {
    let kind = if issuer == Issuer::Wallet { Kind::Wallet } else { Kind::Issuer };
    Declined { kind: kind.into(), code: code.to_owned(), reason: reason(code).to_owned() }
}

/// A refusal for which the wallet and the other issuers have different codes.
pub(super) fn refusal_by(issuer: Issuer, wallet_code: StatusCode, issuer_code: &str) -> Declined {
    refusal(issuer, if issuer == Issuer::Wallet { wallet_code.as_str() } else { issuer_code })
}

/// FISC's refusal while the issuer is in maintenance.
pub(super) fn maintenance() -> Declined {
    Declined { kind: Kind::Fisc.into(), code: "M001".to_owned(), reason: "發卡機構維護中".to_owned() }
}

/// The refusal for a store that takes no credit card.
pub(super) fn card_not_supported() -> Declined {
    let reason = "此店家不支援信用卡".to_owned();
    Declined { kind: Kind::CardNotSupported.into(), code: "K001".to_owned(), reason }
}

/// The refusal of a call that arrives after its `send_by`.
pub(super) fn too_late(issuer: Issuer) -> Declined {
    Declined { reason: "請求逾期".to_owned(), ..refusal(issuer, StatusCode::EXPIRED.as_str()) }
}

/// The code that a text provokes: the first three digits that follow `letter`.
pub(super) fn provoked(text: &str, letter: char) -> Option<&str> {
    let digits = |at: usize| text.get(at + 1..at + 4).filter(|code| code.bytes().all(|b| b.is_ascii_digit()));
    text.match_indices(letter).find_map(|(at, _)| digits(at))
}

/// Like [`provoked`], but only the wallet's ambiguous codes.
pub(super) fn provoked_ambiguous(issuer: Issuer, text: &str, letter: char) -> Option<&str> {
    let is_ambiguous = |code: &&str| StatusCode::parse(code).is_ok_and(StatusCode::is_ambiguous);
    provoked(text, letter).filter(|code| issuer == Issuer::Wallet && is_ambiguous(code))
}

/// The reason for a code. The wallet's codes are StatusCodes of the POS API (`proto/README.md`,
/// section StatusCodes). Other issuers' own codes begin with `R` for refunds and `V` for reversals.
fn reason(code: &str) -> &'static str {
    StatusCode::parse(code).map_or_else(|_| issuer_reason(code), wallet_reason)
}

fn wallet_reason(code: StatusCode) -> &'static str {
    match code {
        StatusCode::SYSTEM_FAILED => "網路或系統異常",
        StatusCode::NO_BOUND_MEMBER => "查無綁定會員",
        StatusCode::GATEWAY_FAILED => "閘道連線異常",
        StatusCode::BANK_FAILED => "銀行端交易失敗",
        StatusCode::CANCELLED => "訂單已轉為退款",
        StatusCode::UNDEFINED_ERROR => "未定義錯誤",
        StatusCode::EXPIRED => "付款碼逾期",
        StatusCode::NOT_A_PARTNER_STORE => "非合作店家",
        StatusCode::WRITE_FAILED => "寫入失敗",
        StatusCode::USER_SUSPENDED => "用戶停權",
        StatusCode::NO_SUCH_MEMBER => "查無此會員",
        StatusCode::NO_SUCH_ORDER => "查無此訂單",
        StatusCode::REFUNDS_ABOVE_PAYMENT => "退款總額超過付款金額",
        StatusCode::BAD_CODE => "付款碼錯誤",
        StatusCode::BALANCE_TOO_LOW => "餘額不足",
        StatusCode::METHOD_NOT_SUPPORTED => "此交易不支援該付款方式",
        StatusCode::AMOUNT_OVER_LIMIT => "超過交易限額",
        StatusCode::STORE_LIMIT => "超過店家限額",
        StatusCode::STATE_FORBIDS_REFUND => "訂單狀態不可退款",
        StatusCode::STORE_DAILY_LIMIT => "超過店家單日限額",
        StatusCode::AMOUNT_NOT_POSITIVE => "金額須大於零",
        code if StatusCode::REFUND_REFUSALS.contains(&code) => "不符退款規則",
        StatusCode::IDENTITY_CHECK_NEEDED => "需要身分驗證",
        StatusCode::USER_NOT_ALLOWED => "用戶不可使用此服務",
        StatusCode::STORE_CLOSED => "店家已關閉",
        _ => UNEXPLAINED,
    }
}

fn issuer_reason(code: &str) -> &'static str {
    match code {
        "R940" => "金額須大於零",
        "R051" => "發卡機構不受理退款",
        "R812" => "原交易已沖正",
        "R922" => "退款總額超過原交易金額",
        "R934" => "原交易狀態不可退款",
        "V051" => "發卡機構不受理沖正",
        "V934" => "沖正金額與原交易餘額不符",
        _ => UNEXPLAINED,
    }
}

/// The reason for every code without an entry above.
const UNEXPLAINED: &str = "交易失敗";
