//! Resolves a path: to an item and the file that defines it, to a module, or out of the crate.

use super::{modules::Modules, references::Reference};

/// The target of a path within the crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// An item of this module.
    Item(usize),
    Module(usize),
}

/// The meaning of a name in a module.
enum Meaning {
    Here(Target),
    /// An import from another crate.
    Elsewhere,
    Unknown,
}

/// The largest number of steps along a path; it ends re-exports that lead back to themselves.
const STEPS_MAX: usize = 32;

impl Modules {
    /// Follows `path`, as written in the module `from`; `None` if it leads out of the crate.
    pub(super) fn resolve(&self, from: usize, path: &Reference) -> Option<Target> {
        self.follow(from, &path.segments, STEPS_MAX)
    }

    fn follow(&self, from: usize, path: &[String], steps: usize) -> Option<Target> {
        let steps = steps.checked_sub(1)?;
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => self.walk(Target::Module(0), rest, steps),
            "self" => self.walk(Target::Module(from), rest, steps),
            "super" => self.walk(Target::Module(self.0[from].parent?), rest, steps),
            name => match self.meaning(from, name, steps) {
                Meaning::Here(target) => self.walk(target, rest, steps),
                Meaning::Elsewhere | Meaning::Unknown => None,
            },
        }
    }

    fn walk(&self, target: Target, rest: &[String], steps: usize) -> Option<Target> {
        let (Target::Module(module), Some((name, rest))) = (target, rest.split_first()) else { return Some(target) };
        if name == "super" {
            return self.walk(Target::Module(self.0[module].parent?), rest, steps);
        }
        match self.meaning(module, name, steps) {
            Meaning::Here(target) => self.walk(target, rest, steps),
            Meaning::Elsewhere => None,
            // The name is not in the source, so a macro of the module defines it.
            Meaning::Unknown => Some(Target::Item(module)),
        }
    }

    fn meaning(&self, module: usize, name: &str, steps: usize) -> Meaning {
        let Some(steps) = steps.checked_sub(1) else { return Meaning::Unknown };
        let here = &self.0[module];
        if let Some(child) = here.children.get(name) {
            return Meaning::Here(Target::Module(*child));
        }
        if here.items.contains(name) {
            return Meaning::Here(Target::Item(module));
        }
        let mut imports = here.imports.iter().filter(|import| import.name == name).peekable();
        if imports.peek().is_some() {
            let mut targets = imports.filter_map(|import| self.follow(module, &import.path.segments, steps));
            return targets.next().map_or(Meaning::Elsewhere, Meaning::Here);
        }
        for glob in &here.globs {
            if let Some(Target::Module(other)) = self.follow(module, &glob.segments, steps)
                && other != module
                && let meaning @ Meaning::Here(_) = self.meaning(other, name, steps)
            {
                return meaning;
            }
        }
        Meaning::Unknown
    }
}
