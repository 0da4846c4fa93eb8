use super::*;

fn catalogue() -> Catalogue {
    Catalogue::built_in().unwrap()
}

fn nanos(model: &str, usage: Usage, tier: Option<&str>) -> Option<i64> {
    catalogue().get(model).unwrap().cost(&usage, tier).map(|amount| amount.0)
}

#[test]
fn the_catalogue_ships_whole() {
    assert_eq!(catalogue().len(), 4552);
}

#[test]
fn costs_equal_the_hand_calculation() {
    // gpt-4.1-mini: (100 − 40) × 400 + 40 × 100 + 20 × 1,600 nano-dollars
    let usage = Usage { input: 100, cache_read: 40, output: 20, reasoning: 5, ..Usage::default() };
    assert_eq!(nanos("gpt-4.1-mini", usage, None), Some(60 * 400 + 40 * 100 + 20 * 1600));
    // The priority tier: 700, 175 and 2,800.
    assert_eq!(nanos("gpt-4.1-mini", usage, Some("priority")), Some(60 * 700 + 40 * 175 + 20 * 2800));
    // claude-sonnet-4-5: 10 × 3,000 + 1,000 × 300 + 100 × 3,750 + 200 × 6,000 + 50 × 15,000
    let usage = Usage {
        input: 1310,
        cache_read: 1000,
        cache_write_5m: 100,
        cache_write_1h: 200,
        output: 50,
        ..Usage::default()
    };
    assert_eq!(nanos("claude-sonnet-4-5", usage, None), Some(30_000 + 300_000 + 375_000 + 1_200_000 + 750_000));
}

#[test]
fn a_large_prompt_changes_the_price_of_the_whole_request() {
    let fields = [
        ("input_cost_per_token", 1e-6),
        ("output_cost_per_token", 2e-6),
        ("input_cost_per_token_above_200k_tokens", 3e-6),
    ];
    let rates = Rates::from_fields(fields.into_iter()).unwrap();
    let cost = |input| rates.cost(&Usage { input, output: 1, ..Usage::default() }, None).unwrap().0;
    assert_eq!(cost(200_000), 200_000 * 1000 + 2000);
    assert_eq!(cost(200_001), 200_001 * 3000 + 2000);
}

#[test]
fn what_has_no_price_is_unpriced_and_never_zero() {
    let only_input = Rates::from_fields([("input_cost_per_token", 1e-6)].into_iter()).unwrap();
    assert_eq!(only_input.cost(&Usage { input: 5, ..Usage::default() }, None).map(|amount| amount.0), Some(5000));
    assert_eq!(only_input.cost(&Usage { input: 5, output: 1, ..Usage::default() }, None), None);
    assert!(Rates::from_fields([("max_tokens", 5.0)].into_iter()).is_none());
    assert!(catalogue().get("azure_ai/deepseek-v31").is_none());
}

#[test]
fn a_bare_name_counts_only_for_its_own_provider() {
    let catalogue = catalogue();
    assert!(catalogue.get_of("openai", "gpt-4.1-mini").is_some());
    assert!(catalogue.get_of("hosted_vllm", "gpt-4.1-mini").is_none());
    assert!(catalogue.get_of("anthropic", "claude-sonnet-4-5").is_some());
}
