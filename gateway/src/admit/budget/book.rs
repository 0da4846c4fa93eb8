//! Which counters a call's scopes have.

use foldhash::HashMap;

use jiff::Timestamp;

use super::calendar::Calendar;
use super::counter::Counter;
use super::rule::{Rule, RuleId};
use crate::admit::admits;
use crate::admit::scope::{Scope, ScopeKind};

/// From here on, counters of globs that nobody uses are looked for and dropped: who calls may choose names for tags and customers.
const MANY: usize = 4_096;

/// The rules and their counters.
#[derive(Debug, Default)]
pub(super) struct Book {
    rules: HashMap<RuleId, Rule>,
    kinds: [Kind; ScopeKind::ALL.len()],
    counters: HashMap<u64, Counter>,
    next: u64,
    sweep_at: usize,
}

/// The scopes of one kind. A kind without rules costs a call nothing.
#[derive(Debug, Default)]
struct Kind {
    globs: Vec<Rule>,
    entries: HashMap<Scope, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    counters: Vec<u64>,
    /// The globs that fit have made their counters.
    is_complete: bool,
}

/// What a counter needs to begin.
#[derive(Clone, Copy)]
pub(super) struct Moment<'a> {
    pub(super) calendar: &'a Calendar,
    pub(super) at: Timestamp,
    /// The number of the last settlement.
    pub(super) last_seq: u64,
}

impl Book {
    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    pub(super) fn get(&self, counter: u64) -> Option<&Counter> {
        self.counters.get(&counter)
    }

    pub(super) fn get_mut(&mut self, counter: u64) -> Option<&mut Counter> {
        self.counters.get_mut(&counter)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Counter> {
        self.counters.values()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Counter> {
        self.counters.values_mut()
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.counters.keys().copied()
    }

    /// The counter with this id.
    pub(super) fn find(&self, id: &RuleId) -> Option<u64> {
        let entry = self.kinds[place(&id.scope)].entries.get(&id.scope)?;
        entry
            .counters
            .iter()
            .copied()
            .find(|counter| self.counters.get(counter).is_some_and(|known| known.rule.id == *id))
    }

    /// The counters of these scopes that exist.
    pub(super) fn existing(&self, scopes: &[Scope], found: &mut Vec<u64>) {
        for scope in scopes {
            let kind = &self.kinds[place(scope)];
            if !kind.entries.is_empty()
                && let Some(entry) = kind.entries.get(scope)
            {
                found.extend(&entry.counters);
            }
        }
        count_once(found);
    }

    /// The counters of these scopes. Those that globs ask for are made on first use; tells whether any was.
    pub(super) fn matching(&mut self, scopes: &[Scope], moment: Moment<'_>, found: &mut Vec<u64>) -> bool {
        // Before anything is found, so that nothing of it is dropped again.
        self.sweep(moment.at);
        let mut was_made = false;
        for scope in scopes {
            let kind = &self.kinds[place(scope)];
            if kind.entries.is_empty() && kind.globs.is_empty() {
                continue;
            }
            let known = kind.entries.get(scope);
            if !kind.globs.is_empty() && !known.is_some_and(|entry| entry.is_complete) {
                was_made |= self.apply_globs(scope, moment);
            }
            found.extend(self.kinds[place(scope)].entries.get(scope).into_iter().flat_map(|entry| &entry.counters));
        }
        count_once(found);
        was_made
    }

    /// Makes the counters of the globs that fit. A rule for this very scope takes the place of a glob's with the same term, and of
    /// two globs the more particular one counts: `host:*` says what holds for hosts of which nothing else is said.
    fn apply_globs(&mut self, scope: &Scope, moment: Moment<'_>) -> bool {
        let globs = &self.kinds[place(scope)].globs;
        let mut fitting: Vec<Rule> =
            globs.iter().filter(|rule| admits(rule.id.scope.id(), scope.id())).cloned().collect();
        if fitting.is_empty() {
            return false;
        }
        fitting.sort_by_key(|rule| std::cmp::Reverse(rule.id.scope.id().replace('*', "").len()));
        for mut rule in fitting {
            rule.id.scope = scope.clone();
            if self.find(&rule.id).is_none() {
                self.insert(Counter::new(rule, true, moment.calendar, moment.at, moment.last_seq));
            }
        }
        self.kinds[place(scope)].entries.entry(scope.clone()).or_default().is_complete = true;
        true
    }

    fn insert(&mut self, counter: Counter) {
        let scope = counter.rule.id.scope.clone();
        self.next += 1;
        self.counters.insert(self.next, counter);
        self.kinds[place(&scope)].entries.entry(scope).or_default().counters.push(self.next);
    }

    /// Each sweep may let the number double before the next, so that a call pays for a few counters at most.
    fn sweep(&mut self, at: Timestamp) {
        if self.counters.len() < self.sweep_at.max(MANY) {
            return;
        }
        self.counters.retain(|_, counter| !counter.is_idle(at));
        let counters = &self.counters;
        for kind in &mut self.kinds {
            kind.entries.retain(|_, entry| {
                let before = entry.counters.len();
                entry.counters.retain(|counter| counters.contains_key(counter));
                entry.is_complete &= before == entry.counters.len();
                !entry.counters.is_empty()
            });
        }
        self.sweep_at = 2 * self.counters.len();
    }

    /// Puts these rules in the place of those that were. Counters whose rule is still there go on, with its new figures.
    pub(super) fn replace(&mut self, rules: Vec<Rule>, moment: Moment<'_>) {
        self.rules.clear();
        let mut kinds: [Kind; ScopeKind::ALL.len()] = Default::default();
        for rule in rules {
            if rule.id.scope.id().contains('*') {
                kinds[place(&rule.id.scope)].globs.push(rule.clone());
            }
            self.rules.insert(rule.id.clone(), rule);
        }
        self.kinds = kinds;
        for (number, mut counter) in std::mem::take(&mut self.counters) {
            let Some((rule, from_glob)) = self.rule_of(&counter.rule.id) else { continue };
            if rule.leased == counter.rule.leased {
                (counter.rule, counter.from_glob) = (rule, from_glob);
                let entries = &mut self.kinds[place(&counter.rule.id.scope)].entries;
                entries.entry(counter.rule.id.scope.clone()).or_default().counters.push(number);
                self.counters.insert(number, counter);
            }
        }
        let missing: Vec<Rule> = self
            .rules
            .values()
            .filter(|rule| !rule.id.scope.id().contains('*') && self.find(&rule.id).is_none())
            .cloned()
            .collect();
        for rule in missing {
            self.insert(Counter::new(rule, false, moment.calendar, moment.at, moment.last_seq));
        }
    }

    /// The rule that holds for a counter now.
    fn rule_of(&self, id: &RuleId) -> Option<(Rule, bool)> {
        if let Some(rule) = self.rules.get(id) {
            return Some((rule.clone(), false));
        }
        let globs = self.kinds[place(&id.scope)].globs.iter();
        let fitting = globs.filter(|rule| rule.id.term == id.term && admits(rule.id.scope.id(), id.scope.id()));
        let mut rule = fitting.max_by_key(|rule| rule.id.scope.id().replace('*', "").len())?.clone();
        rule.id.scope = id.scope.clone();
        Some((rule, true))
    }
}

/// A caller may give one tag twice, and its call still costs what it costs.
fn count_once(found: &mut Vec<u64>) {
    found.sort_unstable();
    found.dedup();
}

fn place(scope: &Scope) -> usize {
    scope.kind() as usize
}
