//! What a budget allows, read from LiteLLM's limit fields. They have the same names on keys, teams, users, tags and customers.

use std::fmt;

use fleetgate_wire::money::NanoDollars;
use fleetgate_wire::period::{Period, PeriodError};
use jiff::{Timestamp, civil, tz::TimeZone};
use serde_json::{Map, Value};

use super::calendar::{BUCKET_SECONDS, Term};
use crate::admit::scope::{Scope, ScopeKind};
use crate::config::BudgetEntry;

/// Which counter: whose money, and for how long it counts. In a rule the scope's id may hold `*`, which makes one counter for each
/// scope that fits; in a counter it never does.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId {
    /// Whose money.
    pub scope: Scope,
    /// For how long it counts.
    pub term: Term,
}

/// One budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What it counts.
    pub id: RuleId,
    /// What may be spent; `None` when it only warns.
    pub max: Option<NanoDollars>,
    /// From where on it warns. It never blocks.
    pub soft: Option<NanoDollars>,
    /// What may be spent beyond `max` for a while.
    pub increase: Option<Increase>,
    /// The money is granted in slices out of a budget that several gateways share (see [`Budgets::grant`](super::Budgets::grant)).
    pub leased: bool,
}

/// A temporary increase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Increase {
    /// On top of the cap.
    pub by: NanoDollars,
    /// Up to this moment.
    pub until: Timestamp,
}

/// Why limit fields make no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Not an amount. NaN or a negative budget would allow everything or nothing.
    #[error("{field} must be a number of dollars, 0 or more")]
    Money {
        /// The field's name.
        field: String,
    },
    /// Not a duration.
    #[error("{field}: {source}")]
    Period {
        /// The field's name.
        field: String,
        /// What is wrong with it.
        source: PeriodError,
    },
    /// Not the kind of value that the field takes.
    #[error("{field} must be {wanted}")]
    Shape {
        /// The field's name.
        field: String,
        /// What it takes.
        wanted: &'static str,
    },
    /// An increase that would last for ever, or none at all.
    #[error("temp_budget_increase needs temp_budget_expiry, a time such as 2026-12-01T00:00:00Z")]
    NoExpiry,
    /// A window below the ledger's grain.
    #[error("{field}: a rolling window needs at least 15m")]
    RollingTooShort {
        /// The field's name.
        field: String,
    },
    /// Budgets per model are counted per key.
    #[error(
        "model_max_budget works on keys, not on {scope}; give the model a budget of its own instead (scope model:NAME)"
    )]
    ModelsOfOther {
        /// Where it stands.
        scope: Scope,
    },
}

impl Rule {
    /// What may be spent at a moment, a temporary increase included.
    #[must_use]
    pub fn cap(&self, at: Timestamp) -> Option<NanoDollars> {
        let more =
            self.increase.filter(|increase| at < increase.until).map_or(NanoDollars::ZERO, |increase| increase.by);
        self.max.map(|max| max + more)
    }

    /// One rule that holds both to the letter: two on the same counter are the stricter one.
    fn tighten(&mut self, other: &Self) {
        let stricter = |one: Option<NanoDollars>, other: Option<NanoDollars>| match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        if other.max.is_some_and(|max| self.max.is_none_or(|own| max < own)) {
            self.increase = other.increase;
        }
        self.max = stricter(self.max, other.max);
        self.soft = stricter(self.soft, other.soft);
        self.leased |= other.leased;
    }
}

/// Adds a rule to a list in which each counter stands once.
pub(super) fn add(rules: &mut Vec<Rule>, rule: Rule) {
    match rules.iter_mut().find(|known| known.id == rule.id) {
        Some(known) => known.tighten(&rule),
        None => rules.push(rule),
    }
}

/// The rules of the configuration's budgets.
#[must_use]
pub fn configured(budgets: &[BudgetEntry]) -> Vec<Rule> {
    let mut rules = Vec::with_capacity(budgets.len());
    for BudgetEntry { scope, max, soft, duration, rolling, .. } in budgets {
        let term = match duration {
            Some(period) if *rolling => Term::Rolling(*period),
            Some(period) => Term::Snapped(*period),
            None => Term::Lifetime,
        };
        let id = RuleId { scope: scope.clone(), term };
        add(&mut rules, Rule { id, max: *max, soft: *soft, increase: None, leased: false });
    }
    rules
}

/// Reads the rules of a scope from its limit fields. What is missing or null limits nothing.
///
/// # Errors
/// When a field cannot be taken at its word.
pub fn rules(scope: &Scope, fields: &Map<String, Value>) -> Result<Vec<Rule>, RuleError> {
    let mut rules = Vec::new();
    let max = money(fields, "max_budget", "max_budget")?;
    let soft = money(fields, "soft_budget", "soft_budget")?;
    if max.is_some() || soft.is_some() {
        let term = term(fields, "budget_duration", "budget_duration")?;
        let id = RuleId { scope: scope.clone(), term };
        add(&mut rules, Rule { id, max, soft, increase: increase(fields)?, leased: false });
    }
    for (number, limit) in list(fields, "budget_limits")?.iter().enumerate() {
        let at = |name: &str| format!("budget_limits[{number}].{name}");
        let limit = limit.as_object().ok_or_else(|| shape(&at(""), "a map with budget_duration and max_budget"))?;
        let max = money(limit, "max_budget", &at("max_budget"))?;
        let id = RuleId { scope: scope.clone(), term: term(limit, "budget_duration", &at("budget_duration"))? };
        if max.is_some() {
            add(&mut rules, Rule { id, max, soft: None, increase: None, leased: false });
        }
    }
    for (model, limit) in map(fields, "model_max_budget")? {
        add(&mut rules, of_model(scope, model, limit)?);
    }
    Ok(rules)
}

/// `{"budget_limit": 5, "time_period": "1d"}`, or with the names that the other fields have; a bare number has no end.
fn of_model(scope: &Scope, model: &str, limit: &Value) -> Result<Rule, RuleError> {
    if scope.kind() != ScopeKind::Key {
        return Err(RuleError::ModelsOfOther { scope: scope.clone() });
    }
    let at = |name: &str| format!("model_max_budget.{model}.{name}");
    let (max, term) = match limit {
        Value::Object(limit) => {
            let names = |one: &'static str, other| if limit.contains_key(one) { one } else { other };
            let (max, every) = (names("budget_limit", "max_budget"), names("time_period", "budget_duration"));
            (money(limit, max, &at(max))?, term(limit, every, &at(every))?)
        }
        amount => (Some(dollars(amount, &at("budget_limit"))?), Term::Lifetime),
    };
    let max = Some(max.ok_or_else(|| RuleError::Money { field: at("budget_limit") })?);
    let id = RuleId { scope: Scope::key_model(scope.id(), model), term };
    Ok(Rule { id, max, soft: None, increase: None, leased: false })
}

fn increase(fields: &Map<String, Value>) -> Result<Option<Increase>, RuleError> {
    let Some(by) = money(fields, "temp_budget_increase", "temp_budget_increase")? else { return Ok(None) };
    let expiry = fields.get("temp_budget_expiry").and_then(Value::as_str).ok_or(RuleError::NoExpiry)?;
    let until = moment(expiry).ok_or(RuleError::NoExpiry)?;
    Ok(Some(Increase { by, until }))
}

/// With an offset, or without one for UTC; a date alone is its midnight.
fn moment(text: &str) -> Option<Timestamp> {
    let in_utc = |text: &str| Some(text.parse::<civil::DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp());
    text.parse().ok().or_else(|| in_utc(text))
}

/// How long the money counts: LiteLLM's duration, or for ever; with our own `rolling: true`, that long after it was spent.
fn term(fields: &Map<String, Value>, name: &str, field: &str) -> Result<Term, RuleError> {
    let rolling = match fields.get("rolling") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(rolling)) => *rolling,
        Some(_) => return Err(shape("rolling", "true or false")),
    };
    let text = match fields.get(name) {
        None | Some(Value::Null) => return Ok(Term::Lifetime),
        Some(value) => value.as_str().ok_or_else(|| shape(field, "a duration such as 30d"))?,
    };
    let period = Period::parse(text).map_err(|source| RuleError::Period { field: field.to_owned(), source })?;
    match rolling {
        false => Ok(Term::Snapped(period)),
        true if period.seconds() < BUCKET_SECONDS.unsigned_abs() => {
            Err(RuleError::RollingTooShort { field: field.to_owned() })
        }
        true => Ok(Term::Rolling(period)),
    }
}

fn money(fields: &Map<String, Value>, name: &str, field: &str) -> Result<Option<NanoDollars>, RuleError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => dollars(value, field).map(Some),
    }
}

fn dollars(value: &Value, field: &str) -> Result<NanoDollars, RuleError> {
    let dollars = value.as_f64().filter(|dollars| *dollars >= 0.0);
    dollars.and_then(NanoDollars::from_dollars).ok_or_else(|| RuleError::Money { field: field.to_owned() })
}

fn list<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<&'a [Value], RuleError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(shape(name, "a list")),
    }
}

fn map<'a>(
    fields: &'a Map<String, Value>,
    name: &str,
) -> Result<impl Iterator<Item = (&'a String, &'a Value)> + use<'a>, RuleError> {
    let entries = match fields.get(name) {
        None | Some(Value::Null) => None,
        Some(Value::Object(entries)) => Some(entries),
        Some(_) => return Err(shape(name, "a map of models")),
    };
    Ok(entries.into_iter().flatten())
}

fn shape(field: &str, wanted: &'static str) -> RuleError {
    RuleError::Shape { field: field.trim_end_matches('.').to_owned(), wanted }
}

/// `host:mac 1d`.
impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.scope, self.term)
    }
}

#[cfg(test)]
mod tests;
