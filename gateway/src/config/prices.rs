//! The prices of one `model_list` entry.

use std::collections::BTreeMap;

use super::node::Node;
use super::params;
use super::report::Report;
use super::scalar;
use super::section::Section;

/// Reads the entry's prices, `litellm_params` over `model_info`, each by a name of its own.
pub(super) fn read(params: &Section<'_>, info: &Section<'_>, report: &mut Report) -> BTreeMap<String, f64> {
    let mut prices = BTreeMap::new();
    for section in [info, params] {
        for entry in section.node().and_then(Node::map).unwrap_or_default() {
            if !params::is_price(&entry.key) || entry.node.is_null() {
                continue;
            }
            match listed(&entry.key, &entry.node) {
                Some(listed) => prices.extend(listed),
                None => {
                    let message = format!("{}.{} must be a price in dollars", section.path, entry.key);
                    report.error(entry.place.origin(), message);
                }
            }
        }
    }
    prices
}

/// One price; those by size of search context; or those by size of prompt, which are thresholds by another name.
fn listed(key: &str, node: &Node) -> Option<Vec<(String, f64)>> {
    match key {
        "search_context_cost_per_query" => {
            node.map()?.iter().map(|entry| Some((entry.key.clone(), price(&entry.node)?))).collect()
        }
        "tiered_pricing" => {
            let tiers: Option<Vec<_>> = node.list()?.iter().map(tier).collect();
            Some(tiers?.concat())
        }
        _ => Some(vec![(key.to_owned(), price(node)?)]),
    }
}

fn tier(tier: &Node) -> Option<Vec<(String, f64)>> {
    let begin = tier.get("range")?.list()?.first()?.text().and_then(scalar::whole)?;
    let suffix = match begin {
        0 => String::new(),
        _ if begin % 1000 == 0 => format!("_above_{}k_tokens", begin / 1000),
        _ => return None,
    };
    let prices = tier.map()?.iter().filter(|entry| params::is_price(&entry.key));
    prices.map(|entry| Some((format!("{}{suffix}", entry.key), price(&entry.node)?))).collect()
}

fn price(node: &Node) -> Option<f64> {
    node.text().and_then(scalar::number).filter(|price| *price >= 0.0)
}

#[cfg(test)]
mod tests {
    use crate::config::{Overrides, load};

    fn prices(lines: &str) -> Result<Vec<(String, f64)>, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.yaml");
        let file = format!("model_list:\n- model_name: m\n  litellm_params:\n    model: openai/m\n{lines}");
        std::fs::write(&path, file).unwrap();
        let overrides = Overrides { config: Some(path), database: Some("/tmp/ledger.db".into()), ..Default::default() };
        let environment = [("LITELLM_MASTER_KEY".into(), "sk-0123456789abcdef0123456789".into())];
        let mut config = load(&overrides, environment).map_err(|error| error.to_string())?.config;
        Ok(config.deployments.remove(0).prices.into_iter().collect())
    }

    #[test]
    fn lists_and_maps_of_prices_become_prices_with_names() {
        let searches =
            "    search_context_cost_per_query: {search_context_size_low: 0.01, search_context_size_high: 0.03}\n";
        let by_size = [("search_context_size_high".to_owned(), 0.03), ("search_context_size_low".to_owned(), 0.01)];
        assert_eq!(prices(searches).unwrap(), by_size);
        let tiers = "    tiered_pricing:\n    - {range: [0, 32000], input_cost_per_token: 1e-6}\n    - {range: [32000, 64000], \
                     input_cost_per_token: 2e-6}\n";
        let by_prompt =
            [("input_cost_per_token".to_owned(), 1e-6), ("input_cost_per_token_above_32k_tokens".to_owned(), 2e-6)];
        assert_eq!(prices(tiers).unwrap(), by_prompt);
    }

    #[test]
    fn what_is_no_price_is_an_error_that_names_it() {
        for line in [
            "input_cost_per_token: dear",
            "output_cost_per_token: -1",
            "tiered_pricing: 3",
            "search_context_cost_per_query: {low: x}",
        ] {
            let error = prices(&format!("    {line}\n")).unwrap_err();
            assert!(error.contains(line.split(':').next().unwrap()), "{error}");
        }
    }
}
