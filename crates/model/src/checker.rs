//! An explicit-state model checker. It visits every state that a model can reach, breadth first, so
//! that the trace to a violation is a shortest one. It checks two things:
//!
//! - safety: no state is a violation;
//! - liveness: from every state, a settled state can be reached by steps that are no faults.
//!
//! Visited states are remembered by their fingerprints only.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    time::{Duration, Instant},
};

use crate::fingerprint::{FingerprintBuilder, fingerprint};

/// A protocol with its faults.
pub(crate) trait Model {
    /// A state of everything: processes, logs, backends, and the faults that may still happen.
    type State: Clone + Hash;

    /// The state from which everything begins.
    fn initial(&self) -> Self::State;

    /// Adds every step that is possible in a state, in a fixed order.
    fn add_steps(&self, from: &Self::State, steps: &mut Steps<Self::State>);

    /// Returns the property that the state violates.
    fn violation(&self, state: &Self::State) -> Option<&'static str>;

    /// Whether nothing is left to be done.
    fn is_settled(&self, state: &Self::State) -> bool;

    /// Describes a state in one line.
    fn describe(&self, state: &Self::State) -> String;
}

/// A possible step of a model.
pub(crate) struct Step<S> {
    /// Empty unless labels were asked for.
    pub(crate) label: String,
    /// Whether progress must not depend on this step.
    pub(crate) is_fault: bool,
    pub(crate) to: S,
}

/// Collects the steps that are possible in a state.
pub(crate) struct Steps<S> {
    list: Vec<Step<S>>,
    has_labels: bool,
}

impl<S> Steps<S> {
    fn new(has_labels: bool) -> Self {
        Self { list: Vec::new(), has_labels }
    }

    /// Adds a step; its label is made only for a trace.
    pub(crate) fn add(&mut self, is_fault: bool, label: impl FnOnce() -> String, to: S) {
        let label = if self.has_labels { label() } else { String::new() };
        self.list.push(Step { label, is_fault, to });
    }
}

/// The result of the check of a scope.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) states: usize,
    pub(crate) verdict: Verdict,
    /// The steps to the violation, or nothing.
    pub(crate) trace: Vec<String>,
    pub(crate) took: Duration,
}

/// Whether the properties hold in a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// In every reachable state.
    Holds,
    /// The scope has more states than allowed, so nothing is known.
    TooLarge,
    /// The property that is violated.
    Violated(String),
}

/// Checks a model, visiting at most `states_max` states.
pub(crate) fn check<M: Model>(model: &M, states_max: usize) -> Report {
    let begun = Instant::now();
    let mut search = Search::new(model);
    let (verdict, at) = match search.run(states_max) {
        Outcome::Violated(id, property) => (Verdict::Violated(property.to_owned()), Some(id)),
        Outcome::TooLarge => (Verdict::TooLarge, None),
        Outcome::Exhausted => match search.find_stuck() {
            Some((id, count)) => (Verdict::Violated(format!("stuck: {count} states settle never")), Some(id)),
            None => (Verdict::Holds, None),
        },
    };
    let trace = at.map(|id| search.trace_to(id)).unwrap_or_default();
    Report { states: search.parents.len(), verdict, trace, took: begun.elapsed() }
}

/// How the search ended.
enum Outcome {
    Exhausted,
    TooLarge,
    Violated(u32, &'static str),
}

/// How many states a block of the queue holds.
const BLOCK_STATES: usize = 4096;

/// A queue in blocks of a fixed size. The queue holds whole states, so it needs most of the memory;
/// one that doubles when it grows would need twice as much.
struct StateQueue<T> {
    blocks: VecDeque<VecDeque<T>>,
}

impl<T> StateQueue<T> {
    fn push(&mut self, state: T) {
        if self.blocks.back().is_none_or(|block| block.len() == BLOCK_STATES) {
            self.blocks.push_back(VecDeque::with_capacity(BLOCK_STATES));
        }
        if let Some(block) = self.blocks.back_mut() {
            block.push_back(state);
        }
    }

    fn pop(&mut self) -> Option<T> {
        let first = self.blocks.front_mut()?;
        let state = first.pop_front();
        if first.is_empty() {
            self.blocks.pop_front();
        }
        state
    }

    fn newest(&self) -> Option<&T> {
        self.blocks.back()?.back()
    }
}

/// The parent of the initial state.
const ROOT: u32 = u32::MAX;

/// States are numbered in the order in which they are found.
struct Search<'a, M: Model> {
    model: &'a M,
    numbers: HashMap<u64, u32, FingerprintBuilder>,
    parents: Vec<u32>,
    is_settled: Vec<bool>,
    /// The targets of all steps that are no faults; `first_target` tells where those of a state
    /// begin.
    targets: Vec<u32>,
    first_target: Vec<u32>,
    queue: StateQueue<(u32, M::State)>,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a M) -> Self {
        Self {
            model,
            numbers: HashMap::default(),
            parents: Vec::new(),
            is_settled: Vec::new(),
            targets: Vec::new(),
            first_target: Vec::new(),
            queue: StateQueue { blocks: VecDeque::new() },
        }
    }

    fn run(&mut self, states_max: usize) -> Outcome {
        let model = self.model;
        self.visit(ROOT, model.initial());
        let mut steps = Steps::new(false);
        while let Some((id, state)) = self.queue.pop() {
            if self.parents.len() > states_max {
                return Outcome::TooLarge;
            }
            self.first_target.push(self.targets.len() as u32);
            model.add_steps(&state, &mut steps);
            for step in steps.list.drain(..) {
                let (number, is_new) = self.visit(id, step.to);
                let newest = self.queue.newest().filter(|_| is_new);
                if let Some(property) = newest.and_then(|(_, state)| model.violation(state)) {
                    return Outcome::Violated(number, property);
                }
                if !step.is_fault && number != id {
                    self.targets.push(number);
                }
            }
        }
        self.first_target.push(self.targets.len() as u32);
        Outcome::Exhausted
    }

    /// Returns the number of a state and whether it is new; queues a new one.
    fn visit(&mut self, parent: u32, state: M::State) -> (u32, bool) {
        let next = self.parents.len() as u32;
        let number = *self.numbers.entry(fingerprint(&state)).or_insert(next);
        if number == next {
            self.parents.push(parent);
            self.is_settled.push(self.model.is_settled(&state));
            self.queue.push((number, state));
        }
        (number, number == next)
    }

    /// Returns a state from which no settled state can be reached without a fault, and how many
    /// such states there are.
    fn find_stuck(&mut self) -> Option<(u32, usize)> {
        loop {
            let mut has_changed = false;
            for id in (0..self.parents.len()).rev() {
                if !self.is_settled[id] && self.targets(id).iter().any(|to| self.is_settled[*to as usize]) {
                    self.is_settled[id] = true;
                    has_changed = true;
                }
            }
            if !has_changed {
                break;
            }
        }
        let stuck: Vec<usize> = (0..self.parents.len()).filter(|id| !self.is_settled[*id]).collect();
        // A state without any step is the clearest witness.
        let witness = stuck.iter().find(|id| self.targets(**id).is_empty()).or(stuck.first())?;
        Some((*witness as u32, stuck.len()))
    }

    fn targets(&self, id: usize) -> &[u32] {
        &self.targets[self.first_target[id] as usize..self.first_target[id + 1] as usize]
    }

    /// Walks from the initial state to a state again, this time with labels.
    fn trace_to(&self, id: u32) -> Vec<String> {
        let mut path = vec![id];
        let mut parent = self.parents[id as usize];
        while parent != ROOT {
            path.push(parent);
            parent = self.parents[parent as usize];
        }
        let mut state = self.model.initial();
        let mut trace = Vec::new();
        for (index, number) in path.iter().rev().enumerate().skip(1) {
            let mut steps = Steps::new(true);
            self.model.add_steps(&state, &mut steps);
            let taken = steps.list.into_iter().find(|step| self.numbers.get(&fingerprint(&step.to)) == Some(number));
            let Some(step) = taken else { break };
            let fault = if step.is_fault { "[fault] " } else { "" };
            trace.push(format!("{index}. {fault}{}", step.label));
            state = step.to;
        }
        trace.push(format!("end: {}", self.model.describe(&state)));
        trace
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A counter that goes up by one, or, as a fault, jumps by `jump`.
    struct Counter {
        end: u8,
        jump: u8,
        forbidden: u8,
    }

    impl Model for Counter {
        type State = u8;

        fn initial(&self) -> u8 {
            0
        }

        fn add_steps(&self, from: &u8, steps: &mut Steps<u8>) {
            if *from < self.end {
                steps.add(false, || format!("{from} + 1"), from + 1);
                steps.add(true, || format!("{from} + jump"), from + self.jump);
            }
        }

        fn violation(&self, state: &u8) -> Option<&'static str> {
            (*state == self.forbidden).then_some("forbidden")
        }

        fn is_settled(&self, state: &u8) -> bool {
            *state == self.end
        }

        fn describe(&self, state: &u8) -> String {
            state.to_string()
        }
    }

    #[test]
    fn a_check_finds_violations_stuck_states_and_scopes_that_are_too_large() {
        let run = |end, jump, forbidden, max| check(&Counter { end, jump, forbidden }, max);
        let holds = run(4, 2, 99, 100);
        assert_eq!(holds.verdict, Verdict::Violated("stuck: 1 states settle never".to_owned()), "3 + 2 passes the end");
        assert_eq!(holds.trace, ["1. 0 + 1", "2. [fault] 1 + jump", "3. [fault] 3 + jump", "end: 5"]);
        assert_eq!(run(4, 1, 99, 100).verdict, Verdict::Holds);
        assert_eq!(run(4, 1, 99, 100).states, 5);
        assert_eq!(run(4, 1, 99, 2).verdict, Verdict::TooLarge);
        let violated = run(4, 3, 3, 100);
        assert_eq!(violated.verdict, Verdict::Violated("forbidden".to_owned()));
        assert_eq!(violated.trace, ["1. [fault] 0 + jump", "end: 3"]);
    }
}
