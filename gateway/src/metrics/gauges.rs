//! Gauges of those who know what is left of budgets. Their names stand here; the values come from whoever is asked through [`Metrics::watch`](super::Metrics::watch).

use std::collections::BTreeMap;
use std::time::Duration;

use fleetgate_wire::money::NanoDollars;

use super::page::Page;

/// One window of one budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetLevel {
    /// The kind of scope: `key`, `team`, `host` …
    pub scope: &'static str,
    /// Whose budget it is: the key's hash, the team's identifier …
    pub id: String,
    /// Its name, where it has one.
    pub alias: String,
    /// The window, as it was configured: `1d`, `30d`; empty for one without an end.
    pub window: String,
    /// What may be spent in the window, and what of that is neither spent nor reserved: below zero after an overrun. `None` for a
    /// budget that only warns.
    pub cap: Option<Cap>,
    /// Whether what it warns at is spent; `None` for one that does not warn.
    pub soft_reached: Option<bool>,
    /// How long until the window ends.
    pub resets_in: Option<Duration>,
}

/// How far a budget is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cap {
    /// What may be spent.
    pub max: NanoDollars,
    /// What is left.
    pub remaining: NanoDollars,
}

impl BudgetLevel {
    fn named<'a>(&'a self, [id, alias]: [&'a str; 2]) -> [(&'a str, &'a str); 2] {
        [(id, &self.id), (alias, &self.alias)]
    }

    fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        let window = [("scope", self.scope), ("window", self.window.as_str())];
        window.into_iter().chain(self.named(["id", "alias"]))
    }
}

fn capped(levels: &[BudgetLevel]) -> impl Iterator<Item = (&BudgetLevel, Cap)> {
    levels.iter().filter_map(|level| Some((level, level.cap?)))
}

/// LiteLLM's families for one kind of scope: what is left, what there is, hours until there is more; then the labels' names.
type Names = (&'static str, [&'static str; 3], [&'static str; 2]);

const LITELLM: [Names; 2] = [
    (
        "key",
        [
            "litellm_remaining_api_key_budget_metric",
            "litellm_api_key_max_budget_metric",
            "litellm_api_key_budget_remaining_hours_metric",
        ],
        ["hashed_api_key", "api_key_alias"],
    ),
    (
        "team",
        [
            "litellm_remaining_team_budget_metric",
            "litellm_team_max_budget_metric",
            "litellm_team_budget_remaining_hours_metric",
        ],
        ["team", "team_alias"],
    ),
];

impl Page {
    /// Writes what is left of budgets. LiteLLM's gauges know one window of each key and team: the one that has least left.
    pub fn budgets(&mut self, levels: &[BudgetLevel]) {
        for (scope, [remaining, max, hours], names) in LITELLM {
            let mut scarcest: BTreeMap<&str, (&BudgetLevel, Cap)> = BTreeMap::new();
            for (level, cap) in capped(levels).filter(|(level, _)| level.scope == scope) {
                let known = scarcest.entry(&level.id).or_insert((level, cap));
                if cap.remaining < known.1.remaining {
                    *known = (level, cap);
                }
            }
            let mut samples = self.gauge(remaining, "Dollars that are left.");
            for (level, cap) in scarcest.values() {
                samples.dollars(level.named(names), cap.remaining);
            }
            let mut samples = self.gauge(max, "Dollars that may be spent in a window.");
            for (level, cap) in scarcest.values() {
                samples.dollars(level.named(names), cap.max);
            }
            let mut samples = self.gauge(hours, "Hours until the window ends.");
            for (level, _) in scarcest.values() {
                if let Some(resets_in) = level.resets_in {
                    samples.add(level.named(names), resets_in.as_secs_f64() / 3600.0);
                }
            }
        }
        let help = "Dollars that are neither spent nor reserved.";
        let mut samples = self.gauge("fleetgate_budget_remaining_dollars", help);
        for (level, cap) in capped(levels) {
            samples.dollars(level.labels(), cap.remaining);
        }
        let mut samples = self.gauge("fleetgate_budget_soft_reached", "1 while a soft budget is spent.");
        for level in levels {
            if let Some(reached) = level.soft_reached {
                samples.count(level.labels(), u64::from(reached));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(scope: &'static str, id: &str, window: &str, remaining: i64) -> BudgetLevel {
        BudgetLevel {
            scope,
            id: id.into(),
            alias: format!("{id}-name"),
            window: window.into(),
            cap: Some(Cap { max: NanoDollars(5_000_000_000), remaining: NanoDollars(remaining) }),
            soft_reached: (window == "1d").then_some(remaining == 2),
            resets_in: (window == "1d").then(|| Duration::from_secs(5400)),
        }
    }

    #[test]
    fn litellms_gauges_show_the_scarcest_window_and_ours_show_all() {
        let mut page = Page::default();
        page.budgets(&[
            level("key", "h", "30d", 3_000_000_000),
            level("key", "h", "1d", 500_000_000),
            level("team", "t", "", 1),
            level("host", "mac", "1d", 2),
        ]);
        let text = page.finish();
        for line in [
            "litellm_remaining_api_key_budget_metric{hashed_api_key=\"h\",api_key_alias=\"h-name\"} 0.500000000",
            "litellm_api_key_max_budget_metric{hashed_api_key=\"h\",api_key_alias=\"h-name\"} 5.000000000",
            "litellm_api_key_budget_remaining_hours_metric{hashed_api_key=\"h\",api_key_alias=\"h-name\"} 1.5",
            "litellm_remaining_team_budget_metric{team=\"t\",team_alias=\"t-name\"} 0.000000001",
            "fleetgate_budget_remaining_dollars{scope=\"key\",window=\"30d\",id=\"h\",alias=\"h-name\"} 3.000000000",
            "fleetgate_budget_remaining_dollars{scope=\"host\",window=\"1d\",id=\"mac\",alias=\"mac-name\"} 0.000000002",
            "fleetgate_budget_soft_reached{scope=\"key\",window=\"1d\",id=\"h\",alias=\"h-name\"} 0",
            "fleetgate_budget_soft_reached{scope=\"host\",window=\"1d\",id=\"mac\",alias=\"mac-name\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        let remaining = text.lines().filter(|line| line.starts_with("litellm_remaining_api_key_budget_metric{"));
        assert_eq!(remaining.count(), 1, "a series twice would make the page unreadable");
    }
}
