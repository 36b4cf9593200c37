//! Refusals with their codes and reasons, and the codes that a caller can provoke by what it sends.

use twqr_types::Issuer;
use twqr_wire::backend::{Declined, declined::Kind};

/// Codes that leave open whether the wallet charged (`proto/README.md`, section StatusCodes).
const AMBIGUOUS: [&str; 4] = ["301", "801", "901", "909"];

/// A refusal by the issuer.
pub(super) fn refusal(issuer: Issuer, code: &str) -> Declined {
    let kind = if issuer == Issuer::Wallet { Kind::Wallet } else { Kind::Issuer };
    Declined { kind: kind.into(), code: code.to_owned(), reason: reason(code).to_owned() }
}

/// A refusal for which the wallet and the other issuers have different codes.
pub(super) fn refusal_by(issuer: Issuer, wallet_code: &str, issuer_code: &str) -> Declined {
    refusal(issuer, if issuer == Issuer::Wallet { wallet_code } else { issuer_code })
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

/// The wallet's refusal of a refund or reversal that arrives after its `send_by`.
pub(super) fn too_late() -> Declined {
    Declined { kind: Kind::Wallet.into(), code: "906".to_owned(), reason: "請求逾期".to_owned() }
}

/// The code that a text provokes: the first three digits that follow `letter`.
pub(super) fn provoked(text: &str, letter: char) -> Option<&str> {
    let digits = |at: usize| text.get(at + 1..at + 4).filter(|code| code.bytes().all(|b| b.is_ascii_digit()));
    text.match_indices(letter).find_map(|(at, _)| digits(at))
}

/// Like [`provoked`], but only the wallet's ambiguous codes.
pub(super) fn provoked_ambiguous(issuer: Issuer, text: &str, letter: char) -> Option<&str> {
    provoked(text, letter).filter(|code| issuer == Issuer::Wallet && AMBIGUOUS.contains(code))
}

/// The wallet's codes are StatusCodes of the POS API (`proto/README.md`, section StatusCodes). Other
/// issuers use codes that begin with `R` for refunds and with `V` for reversals.
fn reason(code: &str) -> &'static str {
    match code {
        "301" => "網路或系統異常",
        "601" => "查無綁定會員",
        "801" => "閘道連線異常",
        "802" => "銀行端交易失敗",
        "812" => "訂單已轉為退款",
        "901" => "未定義錯誤",
        "906" => "付款碼逾期",
        "907" => "非合作店家",
        "909" => "寫入失敗",
        "911" => "用戶停權",
        "912" => "查無此會員",
        "916" => "查無此訂單",
        "922" => "退款總額超過付款金額",
        "927" => "付款碼錯誤",
        "928" => "餘額不足",
        "929" => "此交易不支援該付款方式",
        "931" => "超過交易限額",
        "932" => "超過店家限額",
        "934" => "訂單狀態不可退款",
        "935" => "超過店家單日限額",
        "940" | "R940" => "金額須大於零",
        "951" | "961" | "962" | "968" | "975" => "不符退款規則",
        "977" => "需要身分驗證",
        "978" => "用戶不可使用此服務",
        "980" => "店家已關閉",
        "R051" => "發卡機構不受理退款",
        "R812" => "原交易已沖正",
        "R922" => "退款總額超過原交易金額",
        "R934" => "原交易狀態不可退款",
        "V051" => "發卡機構不受理沖正",
        "V934" => "沖正金額與原交易餘額不符",
        _ => "交易失敗",
    }
}
