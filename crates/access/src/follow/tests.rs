//! What the follower reports of changes that it cannot read, and that later ones count.

use std::collections::BTreeSet;

use twqr_callers::{CallerLimits, MerchantScope};
use twqr_journal::Entry;
use twqr_journal_sim::{Faults, Layout, Sim, SimSession};
use twqr_service::PartState;
use twqr_types::UnixMs;
use twqr_wire::convert::encode_caller_change;

use super::*;

struct Followed {
    sim: Sim,
    session: Arc<SimSession>,
    health: Health,
    view: CallersView,
}

fn shop() -> CallerName {
    CallerName::parse("shop".to_owned()).unwrap()
}

fn caller() -> Caller {
    Caller {
        name: shop(),
        certificates: vec!["pos.example".into()],
        keys: Vec::new(),
        merchants: MerchantScope::All,
        operations: BTreeSet::new(),
        roles: BTreeSet::new(),
        limits: CallerLimits::default(),
    }
}

/// A follower that starts after these records.
async fn follow(records: Vec<Vec<u8>>, trimmed_to: Offset) -> Followed {
    let sim = Sim::new(Layout { shards: 1, task_partitions: 1 }, Faults::default(), 7);
    for record in records {
        sim.session("tracker-0").append(CALLERS, vec![Entry::plain(record)]).await.unwrap();
    }
    sim.trim(CALLERS, trimmed_to);
    let (health, session) = (Health::default(), sim.session("ingress-0"));
    let (follower, mut view) = CallersFollower::new(session.clone(), &health, vec![caller()]);
    tokio::spawn(follower.run());
    view.read().await;
    Followed { sim, session, health, view }
}

/// A record that changes the caller `shop`, or takes it out.
fn change(version: u64, caller: Option<Caller>) -> Vec<u8> {
    let caller = caller.map(Arc::new);
    let change =
        CallerChange { name: shop(), version, caller, is_whole: true, who: "w".into(), why: "y".into(), at: UnixMs(1) };
    encode_caller_change(&change).into()
}

impl Followed {
    async fn append(&self, record: Vec<u8>) {
        self.sim.session("tracker-0").append(CALLERS, vec![Entry::plain(record)]).await.unwrap();
    }

    /// The reason why the part is degraded; absent if it is ready.
    fn fault(&self) -> Option<String> {
        match &self.health.report()["callers"] {
            PartState::Ready => None,
            PartState::Degraded(why) | PartState::NotReady(why) => Some(why.clone()),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_revocation_counts_after_a_record_that_cannot_be_read() {
    let mut stage = follow(vec![change(1, Some(caller()))], 0).await;
    assert_eq!(stage.fault(), None);
    // The second version, in a form that this build does not know.
    stage.append(vec![0xff]).await;
    stage.append(change(3, None)).await;
    let taken_out = tokio::time::timeout(Duration::from_secs(5), stage.view.wait_for(&shop(), 3)).await;
    assert_eq!(taken_out.unwrap().unwrap().caller, None);
    let fault = stage.fault().unwrap();
    assert!(fault.starts_with("the record 1 of callers cannot be read"), "{fault}");
}

#[tokio::test(start_paused = true)]
async fn a_part_is_degraded_if_the_oldest_changes_are_gone() {
    let stage = follow(vec![change(1, None), change(2, Some(caller()))], 1).await;
    let fault = stage.fault().unwrap();
    assert!(fault.starts_with("the records of callers below 1 are gone"), "{fault}");
    assert_eq!(stage.view.now().unwrap().version(&shop()), 2);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_gets_nothing_is_noticed_and_opened_anew() {
    let followed = follow(vec![change(1, Some(caller()))], 0).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(followed.fault(), None, "a quiet topic is no fault");
    followed.session.stall(CALLERS);
    followed.append(change(2, None)).await;
    let mut faults = Vec::new();
    for _ in 0..3 * CHECK_MS / 10 {
        faults.extend(followed.fault());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(faults.first().is_some_and(|fault| fault.contains("its reader gets no records")), "{faults:?}");
    assert_eq!(followed.view.now().unwrap().version(&shop()), 2);
    assert_eq!(followed.fault(), None, "it has caught up");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_cannot_ask_for_the_end_is_degraded_until_it_can() {
    let mut followed = follow(Vec::new(), 0).await;
    followed.session.pause();
    followed.append(change(1, None)).await;
    tokio::time::sleep(Duration::from_millis(2 * CHECK_MS + QUESTION_MS)).await;
    let fault = followed.fault().unwrap();
    assert!(fault.contains("no answer about its end"), "{fault}");
    followed.session.resume();
    assert_eq!(followed.view.wait_for(&shop(), 1).await.unwrap().caller, None);
    assert_eq!(followed.fault(), None);
}
