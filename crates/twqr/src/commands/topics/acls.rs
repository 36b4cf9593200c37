//! `twqr topics acls`: prints the rights of each program's user, as arguments of Kafka's own tool
//! or as the chart's file. It connects to no broker.

use std::{collections::BTreeMap, io::Write};

use clap::Args;
use twqr_journal::kafka::{Right, User};

#[derive(Debug, Args)]
pub(crate) struct Acls {
    /// The principal of a program's user; {} is the program's name, such as wallet-worker
    #[arg(long, value_name = "PRINCIPAL", default_value = "User:{}")]
    principal: String,
    /// Print instead the file deploy/helm/twqr/files/kafka-rights.yaml, without principals and
    /// prefix
    #[arg(long)]
    chart: bool,
}

/// Prints the rights of all users to topics and groups with this prefix.
pub(crate) fn print(acls: &Acls, prefix: &str) -> std::io::Result<()> {
    let mut out = twqr_files::stdout();
    if acls.chart { print_chart(&mut out) } else { print_arguments(&mut out, &acls.principal, prefix) }
}

/// One line for each right, with all users that have it: each call of the tool takes a second.
fn print_arguments(out: &mut impl Write, principal: &str, prefix: &str) -> std::io::Result<()> {
    let mut users: BTreeMap<Right, Vec<User>> = BTreeMap::new();
    for user in User::ALL {
        for right in user.rights() {
            users.entry(right).or_default().push(user);
        }
    }
    for (right, users) in users {
        write!(out, "--add")?;
        for user in users {
            write!(out, " --allow-principal '{}'", principal.replace("{}", user.name()))?;
        }
        for operation in right.operations {
            write!(out, " --operation {operation}")?;
        }
        if right.is_prefix {
            write!(out, " --resource-pattern-type prefixed")?;
        }
        for topic in &right.topics {
            write!(out, " --topic {prefix}{topic}")?;
        }
        for group in &right.groups {
            write!(out, " --group {prefix}{group}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// The rights of each user as Strimzi writes them, without the prefix.
fn print_chart(out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "# What each program may do at the brokers, as `twqr topics acls --chart` prints it; a test of")?;
    writeln!(out, "# `twqr` compares. The chart puts the prefix before each name.")?;
    for user in User::ALL {
        writeln!(out, "{}:", user.name())?;
        for right in user.rights() {
            let operations = right.operations.join(", ");
            let pattern = if right.is_prefix { "prefix" } else { "literal" };
            let topics = right.topics.iter().map(|name| ("topic", *name));
            for (kind, name) in topics.chain(right.groups.iter().map(|name| ("group", name.as_str()))) {
                writeln!(out, "  - resource: {{type: {kind}, name: {name:?}, patternType: {pattern}}}")?;
                writeln!(out, "    operations: [{operations}]")?;
            }
        }
    }
    Ok(())
}
