//! `/global/spend*`, `/spend/keys` and `/spend/users`: who spent how much, with LiteLLM's shapes.

use std::collections::BTreeMap;

use fleetgate_wire::money::NanoDollars;
use fleetgate_wire::scope::{Scope, ScopeKind};
use fleetgate_wire::virtual_key::KeyHash;
use jiff::{Timestamp, ToSpan};
use serde::Deserialize;
use serde_json::{Value, json};

use super::order::Question;
use super::{Admin, Handled, json as answer};
use crate::auth::EntityKind;
use crate::ledger::{DaySpend, LedgerError};

/// LiteLLM's period for the paths below `/global`.
const HOURS: i64 = 30 * 24;
const DEFAULT_LIMIT: usize = 100;

#[derive(Deserialize)]
pub(super) struct TopQuery {
    limit: Option<usize>,
}

impl TopQuery {
    fn limit(&self) -> usize {
        self.limit.unwrap_or(DEFAULT_LIMIT)
    }
}

/// Everything that was ever spent.
pub(super) async fn all(question: Question<TopQuery>) -> Handled {
    let (admin, _) = question.of_administrator()?;
    Ok(answer(&json!({ "spend": admin.ledger.totals().await?.of(&Scope::global()).dollars(), "max_budget": null })))
}

/// The keys that spent most, as rows.
pub(super) async fn keys(question: Question<TopQuery>) -> Handled {
    let (admin, query) = question.of_administrator()?;
    let totals = admin.ledger.totals().await?;
    let spent = |hash: String| totals.of(&Scope::new(ScopeKind::Key, hash));
    let mut keys: Vec<_> = admin.keyring.all().into_iter().map(|key| (spent(key.account().to_string()), key)).collect();
    keys.sort_by(|(one, a), (other, b)| other.cmp(one).then_with(|| a.token.cmp(&b.token)));
    let mut rows = Vec::new();
    for (_, key) in keys.into_iter().take(query.limit()) {
        rows.push(admin.show_with_spend(&key).await?);
    }
    Ok(answer(&json!(rows)))
}

/// The users that spent most, as rows.
pub(super) async fn users(question: Question<TopQuery>) -> Handled {
    let (admin, query) = question.of_administrator()?;
    let mut rows = admin.show_entities(admin.directory.all(EntityKind::User)).await?;
    let spend = |row: &serde_json::Map<String, Value>| row.get("spend").and_then(Value::as_f64).unwrap_or(0.0);
    rows.sort_by(|one, other| spend(other).total_cmp(&spend(one)));
    rows.truncate(query.limit());
    Ok(answer(&json!(rows)))
}

/// The keys that spent most in the last 30 days; those that are gone by now have no name.
pub(super) async fn recent_keys(question: Question<TopQuery>) -> Handled {
    let (admin, query) = question.of_administrator()?;
    let top = recent(&admin, &query, |row| row.key_hash).await?;
    let shown = top.into_iter().map(|(hash, spend)| {
        let known = KeyHash::parse(&hash).ok().and_then(|hash| admin.keyring.of_account(&hash));
        let (alias, name) = known.map(|key| (key.key_alias.clone(), key.key_name.clone())).unzip();
        json!({ "api_key": hash, "key_alias": alias.flatten(), "key_name": name, "total_spend": spend.dollars() })
    });
    Ok(answer(&shown.collect::<Value>()))
}

/// The models that cost most in the last 30 days.
pub(super) async fn recent_models(question: Question<TopQuery>) -> Handled {
    let (admin, query) = question.of_administrator()?;
    let top = recent(&admin, &query, |row| row.model).await?;
    let shown = top.into_iter().map(|(model, spend)| json!({ "model": model, "total_spend": spend.dollars() }));
    Ok(answer(&shown.collect::<Value>()))
}

/// The last 30 days summed by something, the dearest first.
async fn recent(
    admin: &Admin,
    query: &TopQuery,
    by: fn(DaySpend) -> String,
) -> Result<Vec<(String, NanoDollars)>, LedgerError> {
    let since = Timestamp::now().checked_sub(HOURS.hours()).ok();
    let mut sums: BTreeMap<String, NanoDollars> = BTreeMap::new();
    for row in admin.ledger.spend_by_day(since, None).await? {
        let cost = NanoDollars(row.cost_nanousd);
        *sums.entry(by(row)).or_default() += cost;
    }
    let mut top: Vec<_> = sums.into_iter().collect();
    top.sort_by_key(|(_, spend)| std::cmp::Reverse(*spend));
    top.truncate(query.limit());
    Ok(top)
}
