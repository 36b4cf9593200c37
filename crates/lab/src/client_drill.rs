//! `twqr-lab client-drill`: checks that a client's payment is charged once although the ingress is
//! killed after it has accepted the payment and before it has answered. The clients are programs of
//! any language (`proto/clients/`), and use TLS with a certificate. They may take seconds to start:
//! the first payment gets no result until `CALL_TIMEOUT_MS` after its charge.
//!
//! The ingress is killed twice. After the first time it must see each payment again. After the
//! second time, once the clients have stopped sending payments, it must see an inquiry about each.
//! Both are counted in the log, to which the ingresses have written them.

mod ingress_proxy;
mod seen_calls;

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
    time::{sleep, timeout},
};
use twqr_config::Config;
use twqr_files::print_line;
use twqr_loadgen::ledger;
use twqr_wire::backend::{LedgerEntry, ledger_entry::Kind};

use crate::{
    chaos::signals::{resume, suspend},
    launch::{Authority, Launch, Listen, Programs, Shape, System, connect},
    short_times::{CallTimes, with_call_times},
    simulator::Kinds,
};
use ingress_proxy::IngressProxy;
use seen_calls::{LoggedCalls, logged_calls, until_waiting};

/// The wallet takes effect and never answers, so no payment is answered before the first kill.
const SCRIPT: &str = "[wallet]\nlose_answers = 1.0\n";
/// The deadline of a client's call, in ms (`proto/service-config.json`). It is the budget from the
/// first client's call until every client has sent its payment again: after it the first client
/// inquires instead.
const CLIENT_DEADLINE_MS: u64 = 14_000;
/// How long a charge waits for the wallet's answer until it is inquired about, in ms. This is also
/// the longest time between the first charge and the last one, since all clients must be waiting
/// when the ingress is killed. What is left of the deadline is for the restart and the retries.
const CALL_TIMEOUT_MS: u64 = 10_000;
const _: () = assert!(CALL_TIMEOUT_MS < CLIENT_DEADLINE_MS);
/// The window must be longer than a call may take.
const WINDOW_MS: i64 = 11_000;
/// A movement is sent within this time or not at all, in ms.
const SEND_WITHIN_MS: i64 = 2_000;
/// How long no ingress can be reached: longer than the retries of the service config take.
const DOWN: Duration = Duration::from_secs(3);
/// After this a client, the wallet or the ingress counts as stuck. The budgets above end sooner.
const STUCK: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(20);
const MERCHANT: &str = "M1";
/// A code of the wallet that the simulator approves.
const CARD_TOKEN: &[u8] = b"22abcdefghijklmnop\n";
const AMOUNT: i64 = 100;

/// The arguments of `twqr-lab client-drill`.
#[derive(clap::Args)]
pub struct ClientDrillOptions {
    /// The folder for data and logs; it is emptied first
    #[arg(long, default_value = "target/client-drill")]
    dir: PathBuf,
    /// The programs, each as NAME=COMMAND, where the command is run by a shell with the arguments
    /// ADDRESS MERCHANT NUMBER AMOUNT and the card token on its standard input
    #[arg(required = true)]
    clients: Vec<String>,
}

/// The line that a client prints at its end.
#[derive(Deserialize)]
struct Printed {
    merchant_trade_no: String,
    order_status: String,
    status_code: String,
    trade_no: String,
    inquiries: u32,
}

/// A running client; its name is the MerchantTradeNo of its payment.
struct Client {
    name: String,
    child: Child,
}

/// Kills the ingress under all clients at once. Fails unless each sends its payment again, is
/// charged once and knows it.
pub async fn run(options: &ClientDrillOptions, config: Config) -> anyhow::Result<()> {
    let mut system = start(options, config).await?;
    let proxy = IngressProxy::start(system.config.grpc).await?;
    let authority = system.authority.as_ref().context("the system has no certificates")?;
    let clients = options.clients.iter().map(|client| start_client(client, proxy.address, authority));
    let mut clients = clients.collect::<anyhow::Result<Vec<Client>>>()?;
    for client in &mut clients {
        let mut input = client.child.stdin.take().context("a client has no standard input")?;
        input.write_all(CARD_TOKEN).await?;
    }
    until_charged(&system, &mut clients).await?;
    kill_twice(&mut system, &proxy, clients.len()).await?;
    let mut ended = Vec::new();
    for client in clients {
        let Client { name, child } = client;
        let output = timeout(STUCK, child.wait_with_output()).await;
        let output = output.with_context(|| format!("{name} does not end"))??;
        ensure!(output.status.success(), "{name} failed ({})", output.status);
        let text = String::from_utf8(output.stdout)?;
        let printed = serde_json::from_str(text.trim()).with_context(|| format!("{name} printed {text:?}"))?;
        check(&name, &printed, &charges(&system).await?)?;
        ended.push((name, text));
    }
    system.end().await;
    let logged = logged_calls(&system.config).await?;
    for (name, text) in ended {
        let calls = logged.get(&name).copied().unwrap_or_default();
        check_calls(&name, calls)?;
        let LoggedCalls { payments, inquiries } = calls;
        print_line(format_args!(
            "client-drill: {name} sent its payment {payments} times and inquired {inquiries} times, was charged once \
             and knows it: {}",
            text.trim()
        ))?;
    }
    Ok(())
}

/// Kills the ingress, and starts it again while the connections of the clients wait, so that it
/// sees their payments again. Kills it again before it has answered any of them: the wallet is
/// suspended meanwhile, so that no result is known. Starts it again once the clients have stopped
/// sending their payments.
async fn kill_twice(system: &mut System, proxy: &IngressProxy, clients: usize) -> anyhow::Result<()> {
    let wallet = system.simulator_id().context("the wallet is no process of its own")?;
    suspend(wallet)?;
    system.kill("up").await?;
    system.start_again("up")?;
    let again = until_waiting(system.config.admin, clients, STUCK).await;
    again.with_context(|| {
        format!("not every client has sent its payment again before its deadline, {CLIENT_DEADLINE_MS} ms")
    })?;
    proxy.refuse();
    system.kill("up").await?;
    resume(wallet)?;
    sleep(DOWN).await;
    system.start_again("up")
}

async fn start(options: &ClientDrillOptions, config: Config) -> anyhow::Result<System> {
    std::fs::create_dir_all(&options.dir)?;
    let folder = tempfile::tempdir_in(&options.dir)?;
    let script = folder.path().join("simulator.toml");
    std::fs::write(&script, SCRIPT)?;
    let launch = Launch {
        programs: Programs::beside_this_one()?,
        dir: &options.dir.join("system"),
        script: Some(&script),
        config: drill_config(config)?,
        listen: Listen::OnFreePorts,
        shape: Shape::AllInOne,
        kinds: Kinds::default(),
        tls: true,
        log_filter: Some("info"),
    };
    launch.start().await
}

/// The configuration with the times of the drill.
fn drill_config(config: Config) -> anyhow::Result<Config> {
    let times = CallTimes { call_timeout_ms: CALL_TIMEOUT_MS, send_within_ms: SEND_WITHIN_MS, window_ms: WINDOW_MS };
    // A caller must wait longer than it takes to find out that a call was lost.
    with_call_times(Config { answer_within_ms: CLIENT_DEADLINE_MS, ..config }, &times)
}

/// Starts a client, with the certificate of the system's clients.
fn start_client(client: &str, ingress: SocketAddr, authority: &Authority) -> anyhow::Result<Client> {
    let (name, command) = client.split_once('=').with_context(|| format!("{client} must be NAME=COMMAND"))?;
    let child = Command::new("sh")
        .args(["-c", &format!("exec {command} \"$@\""), name])
        .args([&ingress.to_string(), MERCHANT, name, &AMOUNT.to_string()])
        .env("TWQR_CA", authority.file("ca.pem"))
        .env("TWQR_CERTIFICATE", authority.file("client.pem"))
        .env("TWQR_KEY", authority.file("client.key"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    Ok(Client { name: name.to_owned(), child })
}

/// Waits until the wallet has charged each payment. Fails if a client ends before.
async fn until_charged(system: &System, clients: &mut [Client]) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        for Client { name, child } in &mut *clients {
            ensure!(
                child.try_wait()?.is_none(),
                "{name} ended before the ingress was killed: it failed, or another client was not charged within \
                 {CALL_TIMEOUT_MS} ms after it"
            );
        }
        let charges = charges(system).await?;
        let is_charged = |client: &Client| charges.iter().any(|entry| entry.merchant_trade_no == client.name);
        if clients.iter().all(is_charged) {
            return Ok(());
        }
        ensure!(began.elapsed() < STUCK, "the wallet has charged only {} payments", charges.len());
        sleep(PAUSE).await;
    }
}

async fn charges(system: &System) -> anyhow::Result<Vec<LedgerEntry>> {
    let entries = ledger(connect(&system.config.wallet).await?).await.context("the simulator's ledger")?;
    Ok(entries.into_iter().filter(|entry| entry.kind() == Kind::Charged).collect())
}

/// Compares what a client printed with the ledger.
fn check(name: &str, printed: &Printed, charges: &[LedgerEntry]) -> anyhow::Result<()> {
    let own: Vec<&LedgerEntry> = charges.iter().filter(|entry| entry.merchant_trade_no == name).collect();
    let [charge] = own.as_slice() else { anyhow::bail!("{name} was charged {} times", own.len()) };
    ensure!(charge.trade_amount == AMOUNT, "{name} was charged {} TWD", charge.trade_amount);
    ensure!(printed.merchant_trade_no == name, "{name} prints the number {}", printed.merchant_trade_no);
    ensure!(
        (printed.order_status.as_str(), printed.status_code.as_str()) == ("ORDER_STATUS_PAID", "000"),
        "{name} was charged, and says {} {}",
        printed.order_status,
        printed.status_code
    );
    ensure!(printed.trade_no == charge.trade_no, "{name} says the TradeNo is {}", printed.trade_no);
    ensure!(printed.inquiries > 0, "{name} did not inquire");
    Ok(())
}

/// Checks what the ingresses have written to the log about a client's order.
fn check_calls(name: &str, calls: LoggedCalls) -> anyhow::Result<()> {
    ensure!(calls.payments >= 2, "{name} sent its payment {} times, so it did not retry", calls.payments);
    ensure!(calls.inquiries >= 1, "no ingress has seen an inquiry of {name}");
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_the_drill_fit_together() {
        let config = drill_config(Config::default()).unwrap();
        assert_eq!(config.timing_faults(&config.policy.policy().unwrap()), [""; 0]);
        let service_config = include_str!("../../../proto/service-config.json");
        let deadline = format!("\"timeout\": \"{}s\"", CLIENT_DEADLINE_MS / 1_000);
        assert!(service_config.contains(&deadline), "{service_config}");
    }
}
