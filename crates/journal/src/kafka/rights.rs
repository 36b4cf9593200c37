//! The rights of each program at the brokers, in one table. `twqr topics acls` prints it as access
//! control lists for a cluster, and as the file from which the chart creates its users; tests
//! compare the table with the behaviour of brokers and with the chart.

use super::{OWNED, READERS, owners};
use crate::{Group, Topic};

/// A program that connects to the brokers. Each has a user of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum User {
    /// Runs `twqr ingress`.
    Ingress,
    /// Runs `twqr router`.
    Router,
    /// Runs `twqr wallet-worker`.
    WalletWorker,
    /// Runs `twqr fisc-worker`.
    FiscWorker,
    /// Runs `twqr tracker`.
    Tracker,
    /// Runs `twqr up`, with the rights of all services.
    Up,
    /// Runs `twqr topics`.
    Topics,
    /// Runs `twqr dead-letters`.
    DeadLetters,
}

/// One right of a user: these operations on these topics and groups, and no others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// The operations, by Kafka's names. `Read` and `Write` include `Describe`.
    pub operations: &'static [&'static str],
    /// The topics, without the deployment's prefix.
    pub topics: Vec<&'static str>,
    /// The groups, without the deployment's prefix.
    pub groups: Vec<String>,
    /// Whether the names are prefixes.
    pub is_prefix: bool,
}

const SERVICES: [User; 5] = [User::Ingress, User::Router, User::WalletWorker, User::FiscWorker, User::Tracker];

/// The topic that records the layout; it is no [`Topic`].
pub(super) const LAYOUT: &str = "layout";

const fn readers(topic: Topic) -> &'static [User] {
    match topic {
        // The tracker replays orders to compare policies.
        Topic::Orders | Topic::OrderStates => &[User::Router, User::Tracker],
        Topic::WalletTasks => &[User::WalletWorker],
        Topic::FiscTasks => &[User::FiscWorker],
        // The tracker looks there for older builds before the protocol version is raised.
        Topic::Replies | Topic::Callers => &[User::Ingress, User::Tracker],
        Topic::DeadLetters => &[User::DeadLetters],
    }
}

const fn writers(topic: Topic) -> &'static [User] {
    match topic {
        // Every service compares its clock with the brokers' by records on `replies`.
        Topic::Orders | Topic::Replies | Topic::DeadLetters => &SERVICES,
        Topic::OrderStates => &[User::Router],
        // Owners of tasks write their claims among them.
        Topic::WalletTasks => &[User::Router, User::WalletWorker],
        Topic::FiscTasks => &[User::Router, User::FiscWorker],
        Topic::Callers => &[User::Tracker],
    }
}

impl User {
    /// Every user, in the order of the enum.
    pub const ALL: [Self; 8] = [
        Self::Ingress,
        Self::Router,
        Self::WalletWorker,
        Self::FiscWorker,
        Self::Tracker,
        Self::Up,
        Self::Topics,
        Self::DeadLetters,
    ];

    /// The subcommand of `twqr` that logs in as this user.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Router => "router",
            Self::WalletWorker => "wallet-worker",
            Self::FiscWorker => "fisc-worker",
            Self::Tracker => "tracker",
            Self::Up => "up",
            Self::Topics => "topics",
            Self::DeadLetters => "dead-letters",
        }
    }

    /// Whether this user may read the records of a topic.
    pub fn may_read(self, topic: Topic) -> bool {
        self.is_among(readers(topic))
    }

    /// Whether this user may append records to a topic.
    pub fn may_write(self, topic: Topic) -> bool {
        self.is_among(writers(topic))
    }

    fn is_among(self, users: &[Self]) -> bool {
        users.contains(&self) || self == Self::Up && users.iter().any(|user| SERVICES.contains(user))
    }

    /// The topics whose partitions this user claims.
    fn owned(self) -> impl Iterator<Item = Topic> {
        let owners = [
            (Topic::Orders, Self::Router),
            (Topic::WalletTasks, Self::WalletWorker),
            (Topic::FiscTasks, Self::FiscWorker),
        ];
        owners.into_iter().filter(move |(_, owner)| self.is_among(&[*owner])).map(|(topic, _)| topic)
    }

    /// The rights of this user.
    pub fn rights(self) -> Vec<Right> {
        let right = |operations, topics, groups| Right { operations, topics, groups, is_prefix: false };
        let named = |may: fn(Self, Topic) -> bool| Topic::ALL.into_iter().filter(move |topic| may(self, *topic));
        let mut rights = vec![
            // Each program compares all topics with the layout when it starts.
            Right { is_prefix: true, ..right(&["Describe", "DescribeConfigs"], vec![""], Vec::new()) },
            right(&["Describe"], Vec::new(), vec![READERS.to_owned()]),
        ];
        // Whoever may read groups may describe them, too.
        if self == Self::Tracker {
            rights.push(right(&["Describe"], Vec::new(), OWNED.map(owners).into()));
        }
        let read = named(Self::may_read).map(Topic::name).chain([LAYOUT]).collect();
        let positions = self.owned().any(|topic| topic != Topic::Orders).then(|| Group::Workers.name().to_owned());
        rights.push(right(&["Read"], read, self.owned().map(owners).chain(positions).collect()));
        let layout = (self == Self::Topics).then_some(LAYOUT);
        let written: Vec<_> = named(Self::may_write).map(Topic::name).chain(layout).collect();
        if !written.is_empty() {
            rights.push(right(&["Write"], written, Vec::new()));
        }
        if self == Self::Topics {
            rights.push(Right { is_prefix: true, ..right(&["Create", "AlterConfigs"], vec![""], Vec::new()) });
        }
        rights
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_service_may_change_topics_or_write_what_another_service_decides() {
        for user in SERVICES {
            let changes = |right: &Right| right.operations.iter().any(|operation| !READ_WRITE.contains(operation));
            assert!(!user.rights().iter().any(changes), "{user:?}");
            assert!(!user.may_read(Topic::DeadLetters), "{user:?}");
            assert_eq!(user.may_write(Topic::OrderStates), user == User::Router);
            assert_eq!(user.may_write(Topic::Callers), user == User::Tracker);
            assert_eq!(user.may_read(Topic::Replies), [User::Ingress, User::Tracker].contains(&user));
        }
    }

    const READ_WRITE: [&str; 4] = ["Describe", "DescribeConfigs", "Read", "Write"];

    #[test]
    fn a_process_of_all_services_may_do_what_each_of_them_may_and_no_more() {
        for topic in Topic::ALL {
            assert_eq!(User::Up.may_read(topic), SERVICES.iter().any(|user| user.may_read(topic)));
            assert_eq!(User::Up.may_write(topic), SERVICES.iter().any(|user| user.may_write(topic)));
        }
        let groups = |user: User| user.rights().into_iter().flat_map(|right| right.groups).collect::<Vec<_>>();
        assert_eq!(
            groups(User::Up),
            ["readers", "owners-orders", "owners-wallet-tasks", "owners-fisc-tasks", "workers"]
        );
        assert_eq!(groups(User::FiscWorker), ["readers", "owners-fisc-tasks", "workers"]);
        assert_eq!(groups(User::Tracker), ["readers", "owners-orders", "owners-wallet-tasks", "owners-fisc-tasks"]);
        let joins = |right: &Right| right.operations.contains(&"Read") && !right.groups.is_empty();
        assert!(!User::Tracker.rights().iter().any(joins), "the tracker only looks at groups");
    }
}
