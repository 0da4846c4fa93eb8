//! Which limits hold for a scope: the configuration's, whose ids may be globs, and those of keys, teams and the like.

use foldhash::HashMap;

use super::limits::Limits;
use crate::admit::admits;
use crate::admit::scope::{Scope, ScopeKind};
use crate::config::RateCaps;

/// All limits there are.
#[derive(Debug, Default)]
pub(super) struct Rules {
    configured: HashMap<Scope, RateCaps>,
    /// An id with a `*` gives each scope that fits a counter of its own.
    globs: Vec<(Scope, RateCaps)>,
    /// What keys, teams and the like say of themselves, without globs: a model may well have a star in its name.
    stated: HashMap<Scope, RateCaps>,
    /// The models that a key has limits for, so that they can be taken back.
    models: HashMap<Scope, Vec<Scope>>,
    /// The kinds of all scopes that any limit was ever for.
    kinds: u32,
}

/// Whether a kind of scope is among these.
pub(super) fn are_limited(kinds: u32, kind: ScopeKind) -> bool {
    kinds & bit(kind) != 0
}

fn bit(kind: ScopeKind) -> u32 {
    1 << kind as u32
}

impl Rules {
    /// Whether nothing is limited.
    fn is_empty(&self) -> bool {
        self.configured.is_empty() && self.globs.is_empty() && self.stated.is_empty()
    }

    /// The kinds of scopes that may have limits, a bit each; none when nothing is limited.
    pub(super) fn kinds(&self) -> u32 {
        if self.is_empty() { 0 } else { self.kinds }
    }

    pub(super) fn new(configured: impl IntoIterator<Item = (Scope, RateCaps)>) -> Self {
        let mut rules = Self::default();
        rules.configure(configured);
        rules
    }

    /// Puts the configuration's limits in place of those it had.
    pub(super) fn configure(&mut self, configured: impl IntoIterator<Item = (Scope, RateCaps)>) {
        self.configured.clear();
        self.globs.clear();
        for (scope, caps) in configured {
            self.kinds |= bit(scope.kind());
            if scope.id().contains('*') {
                self.globs.push((scope, caps));
            } else {
                let known = self.configured.entry(scope).or_default();
                *known = known.tightened_by(caps);
            }
        }
    }

    /// Puts a scope's own limits in place of those it had.
    pub(super) fn state(&mut self, scope: &Scope, limits: &Limits) {
        self.stated.remove(scope);
        for model in self.models.remove(scope).unwrap_or_default() {
            self.stated.remove(&model);
        }
        if !limits.caps.is_empty() {
            self.kinds |= bit(scope.kind());
            self.stated.insert(scope.clone(), limits.caps);
        }
        if scope.kind() == ScopeKind::Key && !limits.models.is_empty() {
            let of_model = |(model, caps): (&String, &RateCaps)| (Scope::key_model(scope.id(), model), *caps);
            self.kinds |= bit(ScopeKind::KeyModel);
            let models: Vec<_> = limits.models.iter().map(of_model).collect();
            self.models.insert(scope.clone(), models.iter().map(|(scope, _)| scope.clone()).collect());
            self.stated.extend(models);
        }
    }

    /// What holds for a scope. Of several limits, the lowest.
    pub(super) fn caps(&self, scope: &Scope) -> RateCaps {
        if !are_limited(self.kinds, scope.kind()) {
            return RateCaps::default();
        }
        let exact = [&self.configured, &self.stated].into_iter().filter_map(|rules| rules.get(scope));
        let fits = |(glob, _): &&(Scope, RateCaps)| glob.kind() == scope.kind() && admits(glob.id(), scope.id());
        let globs = self.globs.iter().filter(fits).map(|(_, caps)| caps);
        exact.chain(globs).fold(RateCaps::default(), |caps, other| caps.tightened_by(*other))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn rpm(rpm: u64) -> RateCaps {
        RateCaps { rpm: Some(rpm), ..RateCaps::default() }
    }

    #[test]
    fn of_all_limits_that_fit_the_lowest_holds() {
        let scope = |text: &str| Scope::parse(text).unwrap();
        let tpm = RateCaps { tpm: Some(7), ..RateCaps::default() };
        let mut rules =
            Rules::new([(scope("host:*"), rpm(10)), (scope("host:mac*"), tpm), (scope("host:pi"), rpm(20))]);
        rules.state(&scope("host:pi"), &Limits { caps: rpm(5), ..Limits::default() });
        assert_eq!(rules.caps(&scope("host:mac-2")), RateCaps { rpm: Some(10), ..tpm });
        assert_eq!(rules.caps(&scope("host:pi")), rpm(5));
        assert!(rules.caps(&scope("workload:mac")).is_empty());
    }

    #[test]
    fn new_limits_of_a_key_replace_all_of_the_old_ones() {
        let key = Scope::new(ScopeKind::Key, "abc");
        let models = BTreeMap::from([("o3".to_owned(), rpm(1))]);
        let mut rules = Rules::default();
        rules.state(&key, &Limits { caps: rpm(9), models, ..Limits::default() });
        assert_eq!((rules.caps(&key), rules.caps(&Scope::key_model("abc", "o3"))), (rpm(9), rpm(1)));
        rules.state(&key, &Limits::default());
        assert!(rules.stated.is_empty() && rules.models.is_empty());
    }
}
