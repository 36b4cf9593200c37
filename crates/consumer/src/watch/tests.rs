//! Tables of what one watch reads, and what it decides.

use twqr_journal::Topic;

use super::*;

const SHARD: Partition = Partition { topic: Topic::Orders, index: 3 };

fn process(name: &str) -> Process {
    Process { name: name.into(), nonce: name.bytes().map(u64::from).sum() }
}

/// A watch in virtual time: it is asked every 50 ms, as the seat does.
struct TimedWatch {
    watch: Watch,
    began: Instant,
    now_ms: u64,
}

impl TimedWatch {
    fn begin(me: &str, partition: Partition, known: Known) -> Self {
        let began = Instant::now();
        Self { watch: Watch::begin(began, process(me), partition, known), began, now_ms: 0 }
    }

    /// A watch of a shard whose holder has the claim at 7 and has just shown life.
    fn of_living_holder(me: &str) -> Self {
        let mut stage = Self::begin(me, SHARD, Known::default());
        stage.alive(7, 8);
        stage
    }

    fn now(&self) -> Instant {
        self.began + Duration::from_millis(self.now_ms)
    }

    fn read(&mut self, offset: Offset, hold: &HoldRecord) -> bool {
        let now = self.now();
        self.watch.read(now, offset, hold)
    }

    fn alive(&mut self, claim: Offset, position: Offset) {
        let alive = Alive { claim, position, by: process("holder"), is_leaving: false, protocol_known: 3 };
        self.read(position, &HoldRecord::Alive(alive));
    }

    fn claim(&mut self, offset: Offset, replaces: Option<Offset>) -> bool {
        self.read(offset, &HoldRecord::Claim { owner: "other".into(), nonce: 99, replaces })
    }

    fn doubt(&mut self, by: &str) {
        self.read(50, &HoldRecord::Doubt(process(by)));
    }

    /// The first action within that time, with its time.
    fn next_action(&mut self, within_ms: u64) -> Option<(u64, Action)> {
        let until = self.now_ms + within_ms;
        while self.now_ms < until {
            self.now_ms += 50;
            let now = self.now();
            let action = self.watch.decide(now);
            if action != Action::Wait {
                return Some((self.now_ms, action));
            }
        }
        None
    }
}

#[test]
fn a_silent_holder_is_doubted_and_then_replaced() {
    let mut stage = TimedWatch::of_living_holder("a");
    let (doubted_ms, action) = stage.next_action(5_000).unwrap();
    assert_eq!(action, Action::Doubt);
    assert!((500..=650).contains(&doubted_ms), "{doubted_ms}");
    stage.doubt("a");
    let (claimed_ms, action) = stage.next_action(5_000).unwrap();
    assert_eq!(action, Action::Claim { replaces: Some(7) });
    assert!((300..=350).contains(&(claimed_ms - doubted_ms)), "{claimed_ms}");
}

/// A process that yields asks no living holder, and takes a partition only once others had the time
/// to.
#[test]
fn a_process_that_yields_leaves_a_partition_to_every_other_process() {
    let claimed = |begin: fn() -> TimedWatch, yields| {
        let mut stage = begin();
        stage.watch.set_yields(yields);
        loop {
            match stage.next_action(10_000) {
                Some((_, Action::Doubt)) => stage.doubt("a"),
                Some((at_ms, Action::Claim { .. })) => return at_ms,
                other => panic!("{other:?}"),
            }
        }
    };
    let silent = || TimedWatch::of_living_holder("a");
    let released = || {
        let mut stage = TimedWatch::of_living_holder("a");
        stage.read(9, &HoldRecord::Release { claim: 7 });
        stage
    };
    let vacant = || {
        let mut stage = TimedWatch::begin("a", SHARD, Known { is_vacant: true, ..Known::default() });
        stage.watch.want(stage.now(), true);
        stage
    };
    let never_held = || {
        let mut stage = TimedWatch::begin("a", SHARD, Known::default());
        stage.watch.want(stage.now(), true);
        stage
    };
    for begin in [silent, released, vacant, never_held] as [fn() -> TimedWatch; 4] {
        let (soon_ms, late_ms) = (claimed(begin, false), claimed(begin, true));
        assert!(soon_ms + 1_900 <= late_ms && late_ms <= soon_ms + 2_100, "{soon_ms} {late_ms}");
    }
    let mut asking = TimedWatch::of_living_holder("a");
    asking.watch.set_yields(true);
    asking.watch.want(asking.now(), true);
    asking.read(
        9,
        &HoldRecord::Alive(Alive { claim: 7, position: 9, by: process("holder"), is_leaving: true, protocol_known: 3 }),
    );
    assert_eq!(asking.next_action(500), None);
    asking.watch.set_yields(false);
    asking.alive(7, 60);
    assert_eq!(asking.next_action(100).map(|(_, action)| action), Some(Action::Intend));
}

#[test]
fn a_sign_of_life_at_any_time_stops_the_claim() {
    let mut stage = TimedWatch::of_living_holder("a");
    for round in 0..20 {
        assert_eq!(stage.next_action(5_000).unwrap().1, Action::Doubt, "{round}");
        stage.doubt("a");
        assert_eq!(stage.next_action(250), None, "{round}: the holder still has time to answer");
        stage.alive(7, 60 + round);
    }
}

#[test]
fn only_life_after_a_doubt_answers_it() {
    let mut stage = TimedWatch::of_living_holder("a");
    assert!(!stage.watch.take_answered());
    assert_eq!(stage.next_action(1_000).unwrap().1, Action::Doubt);
    assert!(!stage.watch.take_answered());
    stage.alive(7, 9);
    assert_eq!([stage.watch.take_answered(), stage.watch.take_answered()], [true, false]);
    stage.alive(7, 10);
    assert!(!stage.watch.take_answered());
}

#[test]
fn without_its_doubt_read_back_a_process_never_claims() {
    let mut stage = TimedWatch::of_living_holder("a");
    for _ in 0..20 {
        let (_, action) = stage.next_action(5_000).unwrap();
        assert_eq!(action, Action::Doubt, "the broker may be silent, and not the holder");
    }
}

#[test]
fn a_process_that_was_paused_itself_begins_to_count_anew() {
    for stopped_at in ["before the doubt", "after the doubt"] {
        let mut stage = TimedWatch::of_living_holder("a");
        if stopped_at == "after the doubt" {
            stage.next_action(5_000).unwrap();
            stage.doubt("a");
        }
        stage.now_ms += 8_000;
        let resumed_ms = stage.now_ms;
        let (at_ms, action) = stage.next_action(5_000).unwrap();
        assert_eq!(action, Action::Doubt, "{stopped_at}");
        assert!(at_ms >= resumed_ms + 500, "{stopped_at}: {at_ms}");
    }
}

#[test]
fn of_several_candidates_the_one_whose_doubt_stands_first_claims_first() {
    let mut claimed = Vec::new();
    for first in ["a", "b"] {
        let mut stage = TimedWatch::of_living_holder("a");
        stage.next_action(5_000).unwrap();
        let doubted_ms = stage.now_ms;
        for by in if first == "a" { ["a", "b"] } else { ["b", "a"] } {
            stage.doubt(by);
        }
        let (at_ms, action) = stage.next_action(5_000).unwrap();
        assert_eq!(action, Action::Claim { replaces: Some(7) });
        claimed.push(at_ms - doubted_ms);
    }
    assert_eq!(claimed, [300, 450]);
}

#[test]
fn a_process_that_reads_the_doubt_of_another_leaves_the_claim_to_it() {
    let mut stage = TimedWatch::of_living_holder("a");
    stage.now_ms = 400;
    stage.watch.decide(stage.now());
    stage.doubt("b");
    assert_eq!(stage.next_action(400), None, "b claims by now");
    assert!(stage.claim(51, Some(7)));
    assert_eq!(stage.next_action(450), None, "a claim is a sign of life");
    assert_eq!(stage.next_action(1_000).unwrap().1, Action::Doubt, "b has claimed and shows no life");
}

#[test]
fn a_late_claim_takes_nothing_away() {
    let mut stage = TimedWatch::of_living_holder("a");
    assert!(stage.claim(20, Some(7)));
    assert!(!stage.claim(30, Some(7)), "the claim at 20 is the newest that counts");
    stage.alive(20, 31);
    assert_eq!(stage.watch.known.newest, Some(20));
    assert!(stage.claim(40, None), "a claim that replaces none always counts");
    stage.alive(20, 40);
    assert_eq!(stage.watch.known.newest, Some(40), "the holder had not read the newer claim yet");
}

#[test]
fn signs_of_life_for_a_claim_that_does_not_count_matter_only_once_their_author_has_judged_it() {
    let mut stage = TimedWatch::of_living_holder("a");
    assert!(!stage.claim(20, Some(6)));
    stage.alive(20, 20);
    assert_eq!(stage.watch.known.newest, Some(7), "its author has not read up to its claim");
    stage.alive(20, 21);
    assert_eq!(stage.watch.known.newest, Some(20), "it knows more than a watch that began later");
    let mut stage = TimedWatch::begin("a", SHARD, Known { newest: Some(7), ..Known::default() });
    let unproven = Alive { claim: 20, position: 20, by: process("holder"), is_leaving: false, protocol_known: 3 };
    stage.read(21, &HoldRecord::Alive(unproven));
    assert_eq!(stage.watch.known.newest, Some(20), "this watch has not read the claim");
}

#[test]
fn a_process_does_not_take_its_own_earlier_signs_for_another_holder() {
    let known = Known { newest: Some(7), shows_signs: true, ..Known::default() };
    let mut stage = TimedWatch::begin("a", SHARD, known);
    assert!(!stage.claim(20, Some(6)), "our claim, which does not count");
    let own = Alive { claim: 20, position: 20, by: process("a"), is_leaving: false, protocol_known: 3 };
    stage.read(21, &HoldRecord::Alive(own));
    assert_eq!(stage.next_action(5_000).unwrap().1, Action::Doubt);
    stage.doubt("a");
    assert_eq!(stage.next_action(5_000).unwrap().1, Action::Claim { replaces: Some(7) });
}

#[test]
fn a_living_holder_is_asked_and_never_replaced() {
    let mut stage = TimedWatch::of_living_holder("a");
    let now = stage.now();
    stage.watch.want(now, true);
    let mut asked = 0;
    for round in 0..40 {
        if let Some((_, action)) = stage.next_action(250) {
            assert_eq!(action, Action::Intend);
            asked += 1;
        }
        stage.alive(7, 100 + round);
    }
    assert!((5..=11).contains(&asked), "{asked}");
    stage.read(200, &HoldRecord::Intent(process("a")));
    stage.read(201, &HoldRecord::Release { claim: 7 });
    assert_eq!(stage.next_action(50).unwrap().1, Action::Claim { replaces: Some(7) });
}

#[test]
fn a_released_partition_is_claimed_at_once_and_first_by_the_process_that_asked() {
    let mut waited = Vec::new();
    for intent in [Some("a"), None, Some("b")] {
        let mut stage = TimedWatch::of_living_holder("a");
        if let Some(by) = intent {
            stage.read(10, &HoldRecord::Intent(process(by)));
        }
        stage.read(11, &HoldRecord::Release { claim: 6 });
        assert_eq!(stage.next_action(200), None, "it is not the newest claim that was released");
        stage.read(12, &HoldRecord::Release { claim: 7 });
        let released_ms = stage.now_ms;
        let (at_ms, action) = stage.next_action(1_000).unwrap();
        assert_eq!(action, Action::Claim { replaces: Some(7) });
        waited.push(at_ms - released_ms);
    }
    assert!(waited[0] == 50 && waited[1] <= 150 && (150..=300).contains(&waited[2]), "{waited:?}");
}

#[test]
fn a_holder_that_leaves_is_asked_by_one_process() {
    for other_asks in [false, true] {
        let mut stage = TimedWatch::of_living_holder("a");
        let leaving = Alive { claim: 7, position: 9, by: process("holder"), is_leaving: true, protocol_known: 3 };
        stage.read(9, &HoldRecord::Alive(leaving));
        if other_asks {
            stage.read(10, &HoldRecord::Intent(process("b")));
        }
        let expected = (!other_asks).then_some(Action::Intend);
        assert_eq!(stage.next_action(250).map(|(_, action)| action), expected, "{other_asks}");
    }
}

#[test]
fn without_signs_of_life_only_an_assigned_process_claims() {
    for (topic, expected) in [
        (Topic::Orders, vec![Action::Claim { replaces: None }]),
        (Topic::WalletTasks, vec![Action::Intend, Action::Claim { replaces: None }]),
    ] {
        let mut stage = TimedWatch::begin("a", Partition { topic, index: 0 }, Known::default());
        stage.claim(5, None);
        assert_eq!(stage.next_action(60_000), None, "{topic:?}");
        let now = stage.now();
        stage.watch.want(now, true);
        let actions: Vec<_> = (0..expected.len()).map(|_| stage.next_action(5_000).unwrap().1).collect();
        assert_eq!(actions, expected, "{topic:?}: no kind of record that earlier builds do not know");
    }
}
