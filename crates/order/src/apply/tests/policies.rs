//! Versions of the policy: each record is decided by the version at its own offset, on every shard.

use std::sync::Arc;

use twqr_types::{ShardId, UnixMs};

use super::fixtures;
use crate::{POLICY_SHARD, Policy, PolicyChange, PolicyVersions};

fn change(version: u64, name: &str) -> Arc<PolicyChange> {
    let policy = Policy { name: name.into(), ..fixtures::policy() };
    Arc::new(PolicyChange { version, policy, who: "test".into(), why: "".into(), at: UnixMs(0) })
}

fn name_at(versions: &PolicyVersions, offset: u64) -> &str {
    versions.at(offset).map_or("none", |policy| &policy.name)
}

#[test]
fn the_policys_shard_takes_the_next_version_only() {
    let mut versions = PolicyVersions::default();
    for (offset, version, name, taken) in
        [(0, 2, "skips", false), (1, 1, "a", true), (2, 1, "late", false), (3, 2, "b", true), (4, 2, "race", false)]
    {
        assert_eq!(versions.take(POLICY_SHARD, offset, change(version, name)), taken, "{name}");
    }
    let names: Vec<_> = (0..6).map(|offset| name_at(&versions, offset)).collect();
    assert_eq!(names, ["none", "none", "a", "a", "b", "b"], "a record is decided by the versions before it");
}

#[test]
fn other_shards_take_every_newer_version() {
    let mut versions = PolicyVersions::default();
    for (offset, version, taken) in [(5, 2, true), (6, 1, false), (7, 2, false), (8, 4, true), (9, 3, false)] {
        assert_eq!(versions.take(ShardId(1), offset, change(version, "")), taken, "{version} at {offset}");
    }
    assert_eq!(versions.newest().unwrap().version, 4);
}

#[test]
fn the_protocol_version_never_falls() {
    let mut versions = PolicyVersions::default();
    let take = |versions: &mut PolicyVersions, version: u64, protocol_version| {
        let policy = Policy { protocol_version, ..fixtures::policy() };
        let change = PolicyChange { version, policy, who: "test".into(), why: "".into(), at: UnixMs(0) };
        versions.take(ShardId(1), version, Arc::new(change));
        versions.newest().unwrap().policy.protocol_version
    };
    let replayed = [(1, 0, 0), (2, 1, 1), (3, 0, 1), (4, 7, 7), (5, 6, 7)];
    for (version, given, in_force) in replayed {
        assert_eq!(take(&mut versions, version, given), in_force, "version {version}");
    }
    let before = versions.clone();
    for (version, given, _) in replayed {
        take(&mut versions, version, given);
    }
    assert_eq!(versions, before, "a replay must change nothing");
}

#[test]
fn sixty_four_versions_are_kept_and_the_oldest_are_dropped() {
    let mut versions = PolicyVersions::default();
    for version in 1..=100 {
        assert!(versions.take(POLICY_SHARD, version, change(version, &version.to_string())));
    }
    assert_eq!((versions.iter().count(), versions.newest().unwrap().version), (64, 100));
    assert_eq!((name_at(&versions, 37), name_at(&versions, 38), name_at(&versions, 101)), ("none", "37", "100"));
}

#[test]
fn a_replay_from_a_checkpoint_that_has_later_versions_takes_the_same_ones() {
    let log = [(1, 1, "a"), (2, 1, "late"), (3, 2, "b"), (4, 2, "race"), (5, 3, "c")];
    for shard in [POLICY_SHARD, ShardId(1)] {
        let mut versions = PolicyVersions::default();
        let play = |versions: &mut PolicyVersions| {
            log.map(|(offset, version, name)| versions.take(shard, offset, change(version, name)))
        };
        let first = play(&mut versions);
        let kept = versions.clone();
        assert_eq!(play(&mut versions), first, "a replay must take the same versions, on {shard:?}");
        assert_eq!(versions, kept);
    }
}
