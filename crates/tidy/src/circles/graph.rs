//! Which file uses which, and the circles among them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    modules::{Module, Modules},
    references::Reference,
    resolve::Target,
};

/// One file's use of another, and where it first occurs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) line: usize,
    /// The path as it is written.
    pub(super) name: String,
}

/// The uses among the files of one crate, by the using and the used file.
#[derive(Default)]
pub(super) struct Graph(BTreeMap<String, BTreeMap<String, Use>>);

impl Graph {
    pub(super) fn of(modules: &Modules) -> Self {
        let paths: BTreeMap<&str, &[String]> =
            modules.0.iter().filter(|module| module.is_file).map(|module| (&*module.file, &*module.path)).collect();
        let mut graph = Self::default();
        for (index, module) in modules.0.iter().enumerate() {
            for reference in mentioned(module) {
                let Some(Target::Item(used)) = modules.resolve(index, reference) else { continue };
                let (from, to) = (&module.file, &modules.0[used].file);
                let is_family = |a: &String, b: &String| paths[&**b].starts_with(paths[&**a]);
                if from != to && !is_family(from, to) && !is_family(to, from) {
                    graph.add(from, to, reference);
                }
            }
        }
        graph
    }

    fn add(&mut self, from: &str, to: &str, reference: &Reference) {
        let used =
            Use { from: from.to_owned(), to: to.to_owned(), line: reference.line, name: reference.segments.join("::") };
        let kept = self.0.entry(from.to_owned()).or_default().entry(to.to_owned()).or_insert_with(|| used.clone());
        if reference.line < kept.line {
            *kept = used;
        }
    }

    /// One circle, as short as possible, for each set of files that can all reach each other.
    pub(super) fn circles(&self) -> Vec<Vec<Use>> {
        let mut done: BTreeSet<&str> = BTreeSet::new();
        let mut circles = Vec::new();
        for file in self.0.keys() {
            if done.contains(&**file) {
                continue;
            }
            let reached = self.reached_from(file);
            let together: Vec<&str> =
                reached.iter().copied().filter(|other| self.reached_from(other).contains(&**file)).collect();
            if together.is_empty() {
                continue;
            }
            let shortest = together.iter().filter_map(|file| self.shortest_circle(file)).min_by_key(Vec::len);
            circles.extend(shortest);
            done.extend(together);
        }
        circles
    }

    fn used_by(&self, file: &str) -> impl Iterator<Item = &Use> {
        self.0.get(file).into_iter().flat_map(BTreeMap::values)
    }

    fn reached_from<'a>(&'a self, file: &str) -> BTreeSet<&'a str> {
        let mut reached = BTreeSet::new();
        let mut open: Vec<&Use> = self.used_by(file).collect();
        while let Some(used) = open.pop() {
            if reached.insert(&*used.to) {
                open.extend(self.used_by(&used.to));
            }
        }
        reached
    }

    /// Searches breadth first for a way from `file` back to itself.
    fn shortest_circle(&self, file: &str) -> Option<Vec<Use>> {
        let mut ways: VecDeque<Vec<&Use>> = self.used_by(file).map(|used| vec![used]).collect();
        let mut seen = BTreeSet::new();
        while let Some(way) = ways.pop_front() {
            let last = way.last()?;
            if last.to == file {
                return Some(way.into_iter().cloned().collect());
            }
            if seen.insert(&*last.to) {
                let longer = |used| way.iter().copied().chain([used]).collect();
                ways.extend(self.used_by(&last.to).map(longer));
            }
        }
        None
    }
}

fn mentioned(module: &Module) -> impl Iterator<Item = &Reference> {
    module.imports.iter().map(|import| &import.path).chain(&module.references)
}
