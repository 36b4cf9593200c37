//! `twqr cancel`: cancels one payment. The card token is read from a file or standard input, and no
//! error shows it.

use std::{io::Read, path::Path, process::ExitCode, time::Duration};

use anyhow::{Context as _, ensure};
use twqr_wire::pos::CancelRequest;

use super::print::print;
use crate::cli;

/// The longest file that is read, in bytes; every card token is shorter.
const TOKEN_BYTES_MAX: u64 = 1_024;

/// Prints the answer as JSON with the POS document's field names; exit code 1 if there was none.
pub(crate) async fn run(arguments: cli::Cancel) -> anyhow::Result<ExitCode> {
    let card_token = card_token(&arguments.card_token_file)?;
    let mut client = twqr_client::connect(&arguments.endpoint).await?;
    let mut request = tonic::Request::new(CancelRequest {
        merchant_id: arguments.merchant_id,
        merchant_trade_no: arguments.merchant_trade_no,
        gateway_trade_no: arguments.gateway_trade_no,
        card_token,
        trade_amount: arguments.amount,
        un_redeem: arguments.un_redeem,
        ..CancelRequest::default()
    });
    request.set_timeout(Duration::from_millis(twqr_client::CALL_MS_MAX));
    print(client.cancel(request).await.as_ref().map(|answer| twqr_client::cancel_json(answer.get_ref())))
}

/// Reads the card token, without the line end.
fn card_token(file: &Path) -> anyhow::Result<String> {
    let name = file.display();
    let cannot_read = || format!("{name} cannot be read");
    let mut bytes = Vec::new();
    let opened = twqr_files::open(file).with_context(cannot_read)?;
    opened.take(TOKEN_BYTES_MAX).read_to_end(&mut bytes).with_context(cannot_read)?;
    let text = twqr_files::text(bytes).with_context(cannot_read)?;
    let token = text.trim_end_matches('\n');
    ensure!(!token.is_empty(), "{name} is empty; it must contain the card token");
    ensure!(!token.contains('\n'), "{name} has several lines; it must contain only the card token");
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_token_is_one_line_and_no_error_shows_it() {
        for (text, expected) in [
            ("22SECRET\n", Ok("22SECRET")),
            ("22SECRET\r\n", Ok("22SECRET")),
            ("\u{feff}22SECRET\r\n", Ok("22SECRET")),
            (" 22SECRET", Ok(" 22SECRET")),
            ("", Err("is empty")),
            ("22SECRET\n22SECRET\n", Err("several lines")),
        ] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            let read = card_token(file.path()).map_err(|error| format!("{error:#} {error:?}"));
            match (&read, expected) {
                (Ok(token), Ok(expected)) => assert_eq!(token, expected),
                (Err(error), Err(expected)) => {
                    assert!(error.contains(expected) && !error.contains("SECRET"), "{error}");
                }
                _ => panic!("{text:?}"),
            }
        }
    }
}
