//! A price file from elsewhere.

use fleetgate_gateway::price::Catalogue;
use fleetgate_wire::usage::Usage;

const NAMES: [&str; 3] = ["gpt-x", "openai/gpt-x", "sonnet"];

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    crate::texts(&[
        r#"{"gpt-x":{"litellm_provider":"openai","input_cost_per_token":4e-7,"output_cost_per_token":1.6e-6,
            "input_cost_per_token_above_200k_tokens":8e-7,"max_input_tokens":1000,"supports_vision":true}}"#,
        r#"{"sample_spec":{},"sonnet":{"input_cost_per_token":"3e-6","cache_read_input_token_cost":3e-7,"tiered_pricing":[{"range":[0,1]}]}}"#,
        r#"{"openai/gpt-x":{"input_cost_per_token":-1,"output_cost_per_token":1e300,"search_context_cost_per_query":{"low":0.01}}}"#,
    ])
}

/// A price is never negative, whatever the file says.
pub(crate) fn read(bytes: &[u8]) {
    let Ok(catalogue) = Catalogue::from_json(bytes) else { return };
    let much = Usage { input: 300_000, cache_read: 7, output: 50, searches: 2, ..Usage::default() };
    let absurd = Usage { input: u64::MAX, output: u64::MAX, reasoning: u64::MAX, ..Usage::default() };
    for rates in NAMES.iter().filter_map(|name| catalogue.get(name)) {
        for (usage, tier) in [(much, None), (much, Some("priority")), (absurd, Some("flex")), (Usage::default(), None)]
        {
            let cost = rates.cost(&usage, tier);
            assert!(cost.is_none_or(|cost| cost.0 >= 0), "{usage:?} costs {cost:?}");
        }
    }
}
