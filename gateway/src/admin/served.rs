//! Which entry of `model_list` served a call, and what the call would cost by its prices of today.

use std::sync::Arc;

use super::Admin;
use crate::config::Deployment;
use crate::price::{Cost, PricedRow};
use crate::route::Choice;

/// What a row says of who served it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Served<'a> {
    pub(super) deployment_id: &'a str,
    pub(super) model_requested: &'a str,
    pub(super) provider: &'a str,
    /// The model that answered.
    pub(super) model: &'a str,
}

impl Admin {
    /// The entry that served a call. One without an `id` of its own gets another when somebody puts a price into it; then it is the
    /// entry that serves the same model of the same provider under the same name now, if there is exactly one.
    pub(super) fn entry_of(&self, served: Served<'_>) -> Option<Arc<Deployment>> {
        let mut all = self.models.deployments().iter();
        if let Some(same) = all.find(|deployment| deployment.id == served.deployment_id) {
            return Some(Arc::clone(same));
        }
        let group = self.models.find(served.model_requested).ok()?;
        let mut heirs = group.choices.into_iter().filter(|choice| serves(choice, served));
        heirs.next().filter(|_| heirs.next().is_none()).map(|choice| choice.deployment)
    }

    /// A row's cost by the prices of today. A row names one model, the one that answered; the one that was asked for stands in the
    /// entry, unless that has stars.
    pub(super) fn price_anew(&self, row: &PricedRow<'_>, entry: Option<&Deployment>) -> Cost {
        let named = entry.map(|entry| entry.model.as_str()).filter(|model| !model.contains('*'));
        let asked = named.map_or(row.asked, |model| without_prefix(model, row.provider).unwrap_or(model));
        self.pricer.reprice(&PricedRow { asked, ..*row }, entry, None)
    }
}

fn serves(choice: &Choice, served: Served<'_>) -> bool {
    let own_provider = choice.deployment.custom_provider.as_deref();
    let model = without_prefix(&choice.model, served.provider);
    let model = model.or_else(|| (own_provider == Some(served.provider)).then_some(&*choice.model));
    model.and_then(|model| served.model.strip_prefix(model)).is_some_and(is_date)
}

/// `gpt-5` of `openai/gpt-5`. `None` for another provider's model.
fn without_prefix<'m>(model: &'m str, provider: &str) -> Option<&'m str> {
    match model.split_once('/') {
        Some((prefix, rest)) => (prefix == provider).then_some(rest),
        None => Some(model),
    }
}

/// Providers answer `gpt-5` with `gpt-5-2025-08-07`: what is behind the name must be nothing or a date.
fn is_date(rest: &str) -> bool {
    rest.is_empty()
        || (rest.starts_with(['-', '@']) && rest[1..].bytes().all(|byte| byte.is_ascii_digit() || byte == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_answers_by_its_name_or_with_a_date_behind_it() {
        assert!(is_date("") && is_date("-2025-08-07") && is_date("@20251001"));
        assert!(!is_date("-mini") && !is_date("5") && !is_date("-1b"));
    }

    #[test]
    fn a_prefix_names_the_provider() {
        assert_eq!(without_prefix("openrouter/z-ai/glm", "openrouter"), Some("z-ai/glm"));
        assert_eq!(without_prefix("openrouter/z-ai/glm", "openai"), None);
        assert_eq!(without_prefix("gpt-5", "openai"), Some("gpt-5"));
    }
}
