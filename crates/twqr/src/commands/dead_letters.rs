//! `twqr dead-letters`: shows the records that a service could not use, as far as this build can
//! read them. Their bytes may contain card tokens, so only the kind and the key of a record are
//! printed.

use std::{collections::VecDeque, process::ExitCode, sync::Arc};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use twqr_config::Config;
use twqr_files::{is_stdout_closed, print_error_line, print_line};
use twqr_journal::{Journal, Partition, Topic, embedded::EmbeddedJournal, kafka::KafkaJournal};
use twqr_order::{Command, Target, TaskKind};
use twqr_types::{OrderKey, TradeNo};
use twqr_wire::convert::{
    DeadLetter, RecordFault, ReplyContent, StateBody, TaskRecord, decode_dead_letter, decode_record, decode_reply,
    decode_state, decode_task_record,
};

/// The subcommands of `twqr dead-letters`.
#[derive(Debug, Subcommand)]
pub(crate) enum DeadLetters {
    /// Prints a JSON line for each dead letter, the oldest first: where the record is, why it could
    /// not be used, and its kind and order if this build can read it. Needs the cluster, or the
    /// folder of the embedded journal while no process uses it
    Show(ShowLetters),
}

#[derive(Debug, Args)]
pub(crate) struct ShowLetters {
    /// Print at most this number of dead letters: the newest
    #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
    last: usize,
    /// Only dead letters about records of this topic
    #[arg(long, value_parser = ["orders", "order-states", "wallet-tasks", "fisc-tasks", "replies"])]
    topic: Option<String>,
}

const DEAD_LETTERS: Partition = Partition { topic: Topic::DeadLetters, index: 0 };
/// How many letters are read at once.
const BATCH: usize = 256;

/// Runs a subcommand. Exit code 1 if a letter itself cannot be read: it is named on standard error.
pub(crate) async fn run(command: DeadLetters, config: &Config) -> anyhow::Result<ExitCode> {
    let DeadLetters::Show(arguments) = command;
    let journal = open(config).await?;
    let shown = show(&*journal, &arguments).await;
    journal.close().await;
    shown
}

async fn open(config: &Config) -> anyhow::Result<Arc<dyn Journal>> {
    if !config.kafka.bootstrap.is_empty() {
        return Ok(KafkaJournal::connect(config.kafka.settings()?, "dead-letters").await?);
    }
    let dir = config.data_dir.join("journal");
    anyhow::ensure!(dir.is_dir(), "there is no journal in {}; set data_dir or kafka.bootstrap", dir.display());
    Ok(EmbeddedJournal::open(config.embedded(dir))?)
}

async fn show(journal: &dyn Journal, arguments: &ShowLetters) -> anyhow::Result<ExitCode> {
    let (mut next, end) = (journal.start(DEAD_LETTERS).await?, journal.end(DEAD_LETTERS).await?);
    let (mut newest, mut code) = (VecDeque::new(), ExitCode::SUCCESS);
    let mut reader = journal.reader(DEAD_LETTERS, next).await?;
    while next < end {
        for record in reader.next(BATCH).await? {
            next = record.offset + 1;
            match decode_dead_letter(record.entry.value.unwrap_or_default()) {
                Ok(letter) if arguments.topic.as_ref().is_none_or(|topic| *topic == letter.topic) => {
                    newest.push_back(line(&letter));
                    if newest.len() > arguments.last {
                        newest.pop_front();
                    }
                }
                Ok(_) => {}
                Err(fault) => {
                    code = ExitCode::FAILURE;
                    print_error_line(format_args!("dead letter {} cannot be read: {fault}", record.offset));
                }
            }
        }
    }
    for line in newest {
        if is_stdout_closed() {
            break;
        }
        print_line(line)?;
    }
    Ok(code)
}

fn line(letter: &DeadLetter) -> Value {
    let mut line = json!({
        "Written": letter.at.taipei(),
        "Topic": letter.topic,
        "Partition": letter.partition,
        "Offset": letter.offset,
        "Reason": letter.reason,
        "Bytes": letter.payload.len(),
    });
    let read = read(letter);
    line["Kind"] = json!(read.as_ref().map_or("", |record| record.kind));
    line["Unreadable"] = json!(read.as_ref().err().map_or_else(String::new, ToString::to_string));
    if let Ok(record) = read {
        if let Some(key) = record.key {
            line["MerchantID"] = json!(key.merchant_id.as_str());
            line["MerchantTradeNo"] = json!(key.merchant_trade_no.as_str());
        }
        if let Some(number) = record.trade_no {
            line["TradeNo"] = json!(number.as_str());
        }
    }
    line
}

/// The part of the record in a dead letter that this build can read.
struct ReadRecord {
    kind: &'static str,
    key: Option<OrderKey>,
    trade_no: Option<TradeNo>,
}

fn read(letter: &DeadLetter) -> Result<ReadRecord, RecordFault> {
    let payload = letter.payload.clone();
    let topic = Topic::ALL.into_iter().find(|topic| topic.name() == letter.topic);
    match topic {
        Some(Topic::Orders) => decode_record(payload).map(|record| order_record(&record.command)),
        Some(Topic::OrderStates) => decode_state(payload).map(|entry| state(&entry.body)),
        Some(Topic::WalletTasks | Topic::FiscTasks) => decode_task_record(payload).map(|record| task(&record)),
        Some(Topic::Replies) => decode_reply(payload).map(|reply| self::reply(&reply.content)),
        Some(Topic::DeadLetters | Topic::Callers) | None => Err(RecordFault::Missing("a topic that this build knows")),
    }
}

fn order_record(command: &Command) -> ReadRecord {
    let kind = match command {
        Command::Hold(_) => "claim or sign of life",
        Command::Pay(_) => "payment",
        Command::Refund(_) => "refund",
        Command::Cancel(_) => "cancel",
        Command::Reserve(_) => "reservation of a refund",
        Command::RefundResult(_) => "result of a refund",
        Command::Query(_) => "inquiry of a caller",
        Command::Outcome(_) => "outcome of a task",
        Command::Due(_) => "due check",
        Command::Policy(_) => "version of the policy",
        Command::CloseBooks(_) => "closing of the books",
        Command::Listing(_) => "entry of the directory of merchants",
    };
    let (key, trade_no) = match command.target() {
        Some(Target::Key(key)) => (Some(key.clone()), None),
        Some(Target::Number(number)) => (None, Some(number)),
        None => (None, None),
    };
    ReadRecord { kind, key, trade_no }
}

fn state(body: &StateBody) -> ReadRecord {
    let (kind, key) = match body {
        StateBody::Order(order) => ("state of an order", Some(order.key().clone())),
        StateBody::Policies(_) => ("versions of the policy", None),
        StateBody::Listing(_) => ("entry of the directory of merchants", None),
        StateBody::Marker => ("marker", None),
        StateBody::Beginning { .. } => ("beginning", None),
    };
    ReadRecord { kind, key, trade_no: None }
}

fn task(record: &TaskRecord) -> ReadRecord {
    let TaskRecord::Task(task) = record else {
        return ReadRecord { kind: "claim or sign of life", key: None, trade_no: None };
    };
    let kind = match &task.kind {
        TaskKind::Charge(_) => "charge",
        TaskKind::Refund(_) => "refund at the issuer",
        TaskKind::Reverse(_) => "reversal",
        TaskKind::Inquire(_) => "inquiry at the issuer",
    };
    ReadRecord { kind, key: Some(task.key.clone()), trade_no: Some(task.trade_no) }
}

fn reply(content: &ReplyContent) -> ReadRecord {
    let key = match content {
        ReplyContent::Order(order) => Some(order.key().clone()),
        ReplyContent::Forget(key) => Some(key.clone()),
        ReplyContent::NotFound
        | ReplyContent::Conflict(_)
        | ReplyContent::TooManyWatchers
        | ReplyContent::KeyRefused
        | ReplyContent::Replayed
        | ReplyContent::RulesChanged
        | ReplyContent::Empty => None,
    };
    ReadRecord { kind: "reply", key, trade_no: None }
}
