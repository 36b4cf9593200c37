//! Versions of the policy: each record is decided by the version at its own offset, on every shard.

use std::sync::Arc;

use twqr_types::{ShardId, UnixMs};

use super::fixtures;
use crate::{CLOSINGS_SINCE, POLICY_SHARD, Policy, PolicyChange, PolicyVersions};

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
    versions.drop_surplus(&[], |_| true);
    assert_eq!((versions.iter().count(), versions.newest().unwrap().version), (64, 100));
    assert_eq!((name_at(&versions, 37), name_at(&versions, 38), name_at(&versions, 101)), ("none", "37", "100"));
    versions.drop_surplus(&[], |_| false);
    assert_eq!((versions.iter().count(), name_at(&versions, 101)), (1, "100"), "the newest stays, even if it is large");
}

/// Fails if the version in force where a replay begins is dropped, because it is the oldest one or
/// because the versions are large. Then payments that were sent would be refused for want of a
/// policy.
#[test]
fn a_replay_takes_the_versions_that_were_dropped_from_the_log_again() {
    const NEWEST: u64 = 200;
    for shard in [POLICY_SHARD, ShardId(1)] {
        for (starts, most) in [(vec![10], 64), (vec![10], 3), (vec![10, 120], 64), (vec![10, 120], 3)] {
            let mut versions = PolicyVersions::default();
            for version in 1..=NEWEST {
                assert!(versions.take(shard, version, change(version, &version.to_string())));
                versions.drop_surplus(&starts, |versions| versions.iter().count() <= most);
            }
            assert_eq!(versions.iter().count(), most, "{starts:?}");
            for start in &starts {
                let mut replayed = versions.clone();
                for offset in *start..=NEWEST {
                    let before = (offset - 1).to_string();
                    assert_eq!(name_at(&replayed, offset), before, "from {start}, {most} kept, on {shard:?}");
                    assert!(replayed.take(shard, offset, change(offset, &offset.to_string())));
                }
            }
        }
    }
}

/// Fails if the closing in force where a replay begins is dropped: a movement would count in a day
/// that is closed.
#[test]
fn a_replay_takes_the_closings_that_were_dropped_from_the_log_again() {
    const NEWEST: u64 = 200;
    let until = |offset: u64| UnixMs(offset.cast_signed());
    let mut versions = PolicyVersions::default();
    let policy = Policy { protocol_version: CLOSINGS_SINCE, ..fixtures::policy() };
    let first = PolicyChange { version: 1, policy, who: "test".into(), why: "".into(), at: UnixMs(0) };
    assert!(versions.take(POLICY_SHARD, 0, Arc::new(first)));
    for offset in 1..=NEWEST {
        assert!(versions.close_books(offset, until(NEWEST), until(offset)));
        versions.drop_surplus(&[10], |_| true);
    }
    assert_eq!(versions.closings.iter().count(), 64);
    for offset in 10..=NEWEST {
        assert_eq!(versions.closings.closed_until(offset), Some(until(offset - 1)));
        versions.close_books(offset, until(NEWEST), until(offset));
    }
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
