//! The two floors, which bound what the system can reach on this machine: gRPC alone, and appends
//! to a plain file alone. Each runs as a process, like the services.

use std::path::Path;

use anyhow::Context as _;
use twqr_client::ProgressBar;
use twqr_loadgen::{Over, open_loop, payments, send_each};

use super::{DAY_IN_FLIGHT, WARM_UP_PAYMENTS, channels, once, step};
use crate::{
    bench::{
        figures::{Step, highest_rate, payments_of},
        journal_floor::Floor,
    },
    launch::{self, ReservedAddresses, end, this_program},
    usage::Usage,
};

/// The rates of the two floors in payments per second, and the duration of each in ms.
const FLOOR_RATES: [u32; 5] = [1_000, 10_000, 20_000, 40_000, 60_000];
const ECHO_RATES: [u32; 5] = [1_000, 5_000, 10_000, 20_000, 30_000];
const ECHO_STREAM_RATES: [u32; 5] = [1_000, 10_000, 20_000, 40_000, 60_000];
const FLOOR_MS: u32 = 1_500;

/// All floors of one run.
pub(super) struct Floors {
    pub(super) echo: Floor,
    pub(super) echo_over_streams: Floor,
    pub(super) journal: Floor,
}

/// Measures all of them; the journal's on the disk of this folder, which is emptied first.
pub(super) async fn floors(seed: u64, dir: &Path, progress: &mut ProgressBar) -> anyhow::Result<Floors> {
    progress.step("echo floor");
    let echo = echo_floor(seed, Over::Calls).await?;
    progress.step("echo floor over streams");
    let echo_over_streams = echo_floor(seed, Over::Streams).await?;
    progress.step("journal floor");
    let journal = journal_floor(dir).await?;
    Ok(Floors { echo, echo_over_streams, journal })
}

/// Measures the floor of gRPC, with calls or over streams. Its server is another process, like the
/// services.
async fn echo_floor(seed: u64, over: Over) -> anyhow::Result<Floor> {
    let (rates, name) = match over {
        Over::Calls => (ECHO_RATES, "e"),
        Over::Streams => (ECHO_STREAM_RATES, "es"),
    };
    let mut reserved = ReservedAddresses::default();
    let [listen] = reserved.reserve()?;
    let arguments = ["bench".to_owned(), "echo".to_owned(), "--listen".to_owned(), listen.to_string()];
    let arguments: Vec<&std::ffi::OsStr> = arguments.iter().map(AsRef::as_ref).collect();
    let mut server = this_program(&arguments)?.spawn().context("cannot start the echo")?;
    let channels = channels(listen).await?;
    drop(send_each(&channels[0], payments(seed, "warm", WARM_UP_PAYMENTS), DAY_IN_FLIGHT, || ()).await);
    let mut steps = Vec::new();
    let mut cpu_us_per_payment = 0.0;
    for (number, rate) in rates.into_iter().enumerate() {
        let before = server.id().map(Usage::of).unwrap_or_default();
        let requests = payments(seed, &format!("{name}{number}"), payments_of(rate, FLOOR_MS));
        let count = requests.len();
        let step = step(rate, &open_loop(&channels, requests, once(rate, seed, over)).await);
        if number == 0 {
            let used = server.id().map(Usage::of).unwrap_or_default().since(before);
            cpu_us_per_payment = used.cpu_us as f64 / count as f64;
        }
        steps.push(step);
        if !step.is_sustained() {
            break;
        }
    }
    end(&mut server).await;
    let latency = steps.first().map(|step: &Step| step.latency).unwrap_or_default();
    Ok(Floor { latency, cpu_us_per_payment, disk_bytes_per_payment: 0.0, rate: highest_rate(&steps) })
}

/// Measures the floor of the journal on the disk of this folder, which is emptied first.
async fn journal_floor(dir: &Path) -> anyhow::Result<Floor> {
    launch::empty(dir)?;
    let journal = dir.join("journal");
    let rates = FLOOR_RATES.map(|rate| rate.to_string()).join(",");
    let hold_ms = FLOOR_MS.to_string();
    let arguments: [&std::ffi::OsStr; 8] = [
        "bench".as_ref(),
        "journal".as_ref(),
        "--dir".as_ref(),
        journal.as_ref(),
        "--rates".as_ref(),
        rates.as_ref(),
        "--hold-ms".as_ref(),
        hold_ms.as_ref(),
    ];
    let output = this_program(&arguments)?.stderr(std::process::Stdio::inherit()).output().await?;
    serde_json::from_slice(&output.stdout).context("the journal floor printed no figures")
}
