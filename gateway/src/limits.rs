//! Who may spend and call how much: what the file, the keys and the entities say, put in force in the engines.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fleetgate_wire::money::NanoDollars;
use fleetgate_wire::scope::{Scope, ScopeKind};
use fleetgate_wire::virtual_key::KeyHash;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::admit::budget::{self, Budgets, Rule, Status};
use crate::admit::rate::{self, Limits, Rates};
use crate::auth::{Directory, EntityKind, KeyRecord, Keyring};
use crate::config::BudgetEntry;
use crate::ledger::{BucketSpend, Ledger};
use crate::metrics::{BudgetLevel, Cap};

/// The entities that carry limits of their own.
const LIMITED: [EntityKind; 4] = [EntityKind::Team, EntityKind::User, EntityKind::Tag, EntityKind::Customer];

/// All limits, from wherever they come.
pub(crate) struct LimitBook {
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) configured: Vec<BudgetEntry>,
    pub(crate) budgets: Budgets,
    pub(crate) rates: Rates,
    /// Whether several gateways share them.
    pub(crate) leased: bool,
    /// The scopes that state rates of their own.
    pub(crate) rated: Mutex<HashSet<Scope>>,
}

impl LimitBook {
    /// Puts what is said now in force. What was spent and used stays counted.
    pub(crate) fn refresh(&self) {
        self.put_in_force(&self.keyring.all());
    }

    /// The same for keys that are about to be known: no call may be made with one whose limits are not in force yet.
    pub(crate) fn put_in_force(&self, keys: &[Arc<KeyRecord>]) {
        let mut rules = budget::configured(&self.configured);
        let mut rated = HashSet::new();
        for (scope, fields) in self.stated(keys) {
            match budget::rules(&scope, &fields) {
                Ok(stated) => rules.extend(stated),
                // Checked when it was stored, so this is a database that somebody else wrote into.
                Err(error) => tracing::error!(%scope, %error, "this budget is not in force; set it again"),
            }
            match rate::limits(&scope, &fields) {
                Ok(limits) if !limits.is_empty() => {
                    self.rates.set(&scope, &limits);
                    rated.insert(scope);
                }
                Ok(_) => {}
                Err(error) => tracing::error!(%scope, %error, "this rate is not in force; set it again"),
            }
        }
        let mut known = self.rated.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in known.difference(&rated) {
            self.rates.set(gone, &Limits::default());
        }
        *known = rated;
        rules.iter_mut().for_each(|rule: &mut Rule| rule.leased = self.leased);
        self.budgets.replace(rules, Timestamp::now());
    }

    /// Every scope with the fields that limit it. A budget that is referred to stands behind the fields of its own.
    fn stated(&self, keys: &[Arc<KeyRecord>]) -> Vec<(Scope, Map<String, Value>)> {
        let mut stated = Vec::new();
        for key in each_account(keys) {
            let scope = Scope::new(ScopeKind::Key, key.account().to_string());
            stated.push((scope, self.with_budget(&key.other, &key.metadata)));
        }
        for kind in LIMITED {
            for record in self.directory.all(kind) {
                if let Some(scope) = kind.scope(&record.id) {
                    stated.push((scope, self.with_budget(&record.fields, &Map::new())));
                }
            }
        }
        stated
    }

    /// What people call a key or a team; empty for what has no other name.
    fn alias(&self, scope: &Scope) -> String {
        match scope.kind() {
            ScopeKind::Key => {
                KeyHash::parse(scope.id()).ok().and_then(|hash| self.keyring.of_account(&hash)?.key_alias.clone())
            }
            ScopeKind::Team => {
                self.directory.team(scope.id()).and_then(|team| team.text("team_alias").map(str::to_owned))
            }
            _ => None,
        }
        .unwrap_or_default()
    }

    fn with_budget(&self, fields: &Map<String, Value>, metadata: &Map<String, Value>) -> Map<String, Value> {
        let named = fields.get("budget_id").and_then(Value::as_str).and_then(|id| self.directory.budget(id));
        let mut all = named.map(|budget| budget.fields.clone()).unwrap_or_default();
        all.extend(
            fields.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.clone(), value.clone())),
        );
        if !metadata.is_empty() {
            all.entry("metadata").or_insert_with(|| metadata.clone().into());
        }
        all
    }
}

/// One key for each account: of a key and the one that replaces it, the one that bears the name.
fn each_account(keys: &[Arc<KeyRecord>]) -> impl Iterator<Item = &Arc<KeyRecord>> {
    let mut seen = HashSet::new();
    let (named, between): (Vec<_>, Vec<_>) = keys.iter().partition(|key| !key.is_changing());
    named.into_iter().chain(between).filter(move |key| seen.insert(key.account()))
}

/// Tells the budgets what deployments charged before this start, measured against what was provable. Without it, calls on little
/// money go one by one until each deployment has answered once.
pub(crate) async fn remember_bills(budgets: &Budgets, ledger: &Ledger) {
    match ledger.reserved_and_spent().await {
        Ok(bills) => {
            for bill in bills {
                budgets.remember(&bill.deployment, bill.reserved, bill.cost, bill.started_at);
            }
        }
        Err(error) => {
            tracing::warn!(%error, "what deployments charged before is not known; the next answers will tell");
        }
    }
}

/// What `/metrics` shows of the budgets.
pub(crate) fn levels(book: &LimitBook) -> Vec<BudgetLevel> {
    let now = Timestamp::now();
    let level = |status: Status| {
        let left = |max: NanoDollars| max.0.saturating_sub(status.spent_by_all.0).saturating_sub(status.reserved.0);
        let resets_in = status.resets_at.and_then(|at| Duration::try_from(at.duration_since(now)).ok());
        BudgetLevel {
            scope: status.id.scope.kind().word(),
            id: status.id.scope.id().to_owned(),
            alias: book.alias(&status.id.scope),
            window: status.id.term.to_string(),
            cap: status.cap.map(|max| Cap { max, remaining: NanoDollars(left(max)) }),
            soft_reached: status.soft.map(|_| status.is_over_soft),
            resets_in,
        }
    };
    book.budgets.status(now).into_iter().map(level).collect()
}

/// Gives every new budget what the ledger knows of its scope, as long as the gateway runs. Calls that such a budget concerns wait
/// for this.
pub(crate) async fn load_budgets(budgets: Budgets, ledger: Ledger, counts_unknown: bool) {
    loop {
        let mut failed = false;
        for missing in budgets.missing() {
            match ledger.spent(&missing.id.scope, missing.from, missing.until).await {
                Ok((buckets, as_of)) => {
                    let spent: Vec<_> = buckets.iter().map(|one| (one.bucket, one.counted(counts_unknown))).collect();
                    budgets.load(&missing.id, missing.from, &spent, as_of);
                }
                Err(error) => {
                    tracing::error!(scope = %missing.id.scope, %error, "what a budget has spent cannot be read; its calls wait");
                    failed = true;
                }
            }
        }
        if failed {
            tokio::time::sleep(Duration::from_millis(500)).await;
        } else {
            budgets.loads_wanted().await;
        }
    }
}

/// How often a gateway looks at what the others have spent, at most.
const LOOK: Duration = Duration::from_secs(5);
/// And so many times what a look takes.
const SELDOM: u32 = 20;

/// Tells budgets that several gateways share what all of them have spent, as long as the gateway runs: gauges show it, and soft limits
/// are judged by it.
pub(crate) async fn watch_fleet(budgets: Budgets, ledger: Ledger, counts_unknown: bool) {
    let mut is_first_look = true;
    loop {
        let began = Instant::now();
        let mut failed = false;
        for status in budgets.status(Timestamp::now()).into_iter().filter(|status| status.granted.is_some()) {
            match ledger.spent(&status.id.scope, status.window.start, status.window.end).await {
                Ok((buckets, _)) => {
                    let spent = BucketSpend::total(&buckets, counts_unknown);
                    budgets.note_fleet(&status.id, status.window.start, spent, is_first_look);
                }
                Err(error) => {
                    tracing::debug!(%error, "what the other gateways have spent is not known now");
                    failed = true;
                    break;
                }
            }
        }
        is_first_look &= failed;
        tokio::time::sleep(LOOK.max(began.elapsed() * SELDOM)).await;
    }
}

/// Says what days have seen before this process began, as long as the gateway runs. Calls that such a limit concerns wait for this.
pub(crate) async fn load_rates(rates: Rates, ledger: Ledger) {
    loop {
        let mut failed = false;
        for (scope, day) in rates.missing() {
            match ledger.used(&scope, day).await {
                Ok(used) => rates.load(&scope, day, Some(used)),
                Err(error) => {
                    tracing::error!(%scope, %error, "what a limit has seen today cannot be read; its calls wait");
                    rates.load(&scope, day, None);
                    failed = true;
                }
            }
        }
        if failed {
            tokio::time::sleep(Duration::from_millis(500)).await;
        } else {
            rates.loads_wanted().await;
        }
    }
}
