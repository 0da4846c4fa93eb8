use std::sync::LazyLock;

use super::*;

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(catalogue);

fn catalogue() -> Catalogue {
    Catalogue::built_in().unwrap()
}

fn nanos(model: &str, usage: Usage, tier: Option<&str>) -> Option<i64> {
    CATALOGUE.get(model).unwrap().cost(&usage, tier).map(|amount| amount.0)
}

#[test]
fn the_catalogue_ships_whole() {
    assert_eq!(catalogue().len(), 4551);
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

fn deployment(prices: &[(&str, f64)]) -> Deployment {
    let entry =
        "model_list:\n- model_name: m\n  litellm_params:\n    model: hosted_vllm/m\n    api_base: http://127.0.0.1:1\n";
    let prices: String = prices.iter().map(|(name, price)| format!("    {name}: {price}\n")).collect();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.yaml");
    std::fs::write(&path, format!("{entry}{prices}")).unwrap();
    let overrides = crate::config::Overrides { config: Some(path), ..Default::default() };
    let environment = [("LITELLM_MASTER_KEY", "sk-0123456789abcdef0123456789"), ("HOME", "/tmp")];
    let environment = environment.map(|(name, value)| (name.into(), value.into()));
    crate::config::load(&overrides, environment).unwrap().config.deployments.remove(0)
}

fn used(input: u64, output: u64) -> Reading {
    Reading { usage: Some(Usage { input, output, ..Usage::default() }), ..Reading::default() }
}

#[test]
fn a_changed_entry_is_priced_by_what_it_says_now() {
    let pricer = Pricer::new(catalogue());
    let mut entry = deployment(&[("input_cost_per_token", 1e-6)]);
    let price = |entry: &Deployment| pricer.price(entry, "hosted_vllm", "m", &used(2, 0));
    assert_eq!(price(&entry).amount.map(|amount| amount.0), Some(2000));
    assert_eq!(price(&entry).price_name.as_deref(), Some(entry.id.as_str()));
    entry.prices.insert("input_cost_per_token".to_owned(), 3e-6);
    assert_eq!(price(&entry).amount.map(|amount| amount.0), Some(6000));
    entry.prices.clear();
    assert_eq!(price(&entry), Cost::UNPRICED);
}

#[test]
fn discounts_come_before_margins_and_fees_last() {
    let margin = crate::config::Margin { millionths: 100_000, fee: fleetgate_wire::money::NanoDollars(7) };
    let adjustments = PriceAdjustments {
        discounts: [("hosted_vllm".to_owned(), 50_000)].into(),
        margins: [("global".to_owned(), margin)].into(),
    };
    let pricer = Pricer::new(catalogue()).with_adjustments(adjustments);
    let entry = deployment(&[("input_cost_per_token", 1e-6), ("output_cost_per_token", 2e-6)]);
    let amount = |provider| pricer.price(&entry, provider, "m", &used(1000, 0)).amount.map(|amount| amount.0);
    // 1,000,000 × 0.95 × 1.1 + 7, and without the discount.
    assert_eq!(amount("hosted_vllm"), Some(1_045_007));
    assert_eq!(amount("openai"), Some(1_100_007));
    let ceiling = pricer.ceiling(&entry, "hosted_vllm", "m", &Bound::widest(1000)).unwrap();
    assert_eq!(ceiling.amount(500).0, 2 * 1_045_000 + 7);
}

#[test]
fn a_ceiling_takes_the_dearest_that_can_apply() {
    let pricer = Pricer::new(catalogue());
    let none = deployment(&[]);
    let ceiling = |model, bound: Bound<'_>| pricer.ceiling(&none, "anthropic", model, &bound).unwrap();
    let plain = Bound { prompt_tokens: 1000, ..Bound::default() };
    assert_eq!(ceiling("claude-sonnet-4-5", plain).prompt.0, 1000 * 3000);
    assert_eq!(ceiling("claude-sonnet-4-5", Bound { cache_write: true, ..plain }).prompt.0, 1000 * 3750);
    assert_eq!(ceiling("claude-sonnet-4-5", Bound { cache_write_1h: true, ..plain }).prompt.0, 1000 * 6000);
    let searching = ceiling("claude-sonnet-4-5", Bound { searches: 5, ..plain });
    assert_eq!((searching.fixed.0, searching.max_output_tokens), (5 * 10_000_000, Some(64_000)));
    // Above 100,000 tokens everything is five times as dear; the prompt may turn out to be that long.
    assert_eq!(ceiling("claude-haiku-5-5", Bound { prompt_tokens: 100_000, ..plain }).amount(1).0, 100_000 * 100 + 500);
    assert_eq!(
        ceiling("claude-haiku-5-5", Bound { prompt_tokens: 100_001, ..plain }).amount(1).0,
        100_001 * 500 + 2500
    );
    assert!(pricer.ceiling(&none, "anthropic", "claude-unheard-of", &plain).is_none());
}

#[test]
fn a_tier_can_be_refused_and_so_the_dearer_price_is_reserved() {
    let pricer = Pricer::new(catalogue());
    let none = deployment(&[]);
    let amount = |tier| {
        let bound = Bound { prompt_tokens: 1000, tier, ..Bound::default() };
        pricer.ceiling(&none, "openai", "gpt-5", &bound).unwrap().amount(0).0
    };
    assert_eq!((amount(None), amount(Some("flex")), amount(Some("priority"))), (1_250_000, 1_250_000, 2_500_000));
}

#[test]
fn funds_pay_for_as_much_output_as_a_ceiling_allows_and_no_more() {
    let pricer = Pricer::new(catalogue());
    let bound = Bound { prompt_tokens: 10, ..Bound::default() };
    let ceiling = pricer.ceiling(&deployment(&[]), "openai", "gpt-4.1-mini", &bound).unwrap();
    let funds = fleetgate_wire::money::NanoDollars;
    assert_eq!(ceiling.output_tokens_for(funds(3_999)), None);
    assert_eq!(ceiling.output_tokens_for(funds(4_000)), Some(0));
    assert_eq!(ceiling.output_tokens_for(funds(4_000 + 3_199)), Some(1));
    assert_eq!(ceiling.output_tokens_for(funds(4_000 + 3_200)), Some(2));
}

#[test]
fn only_what_is_expressly_free_is_free() {
    let pricer = Pricer::new(catalogue());
    let free = |prices: &[(&str, f64)]| {
        let ceiling = pricer.ceiling(&deployment(prices), "hosted_vllm", "m", &Bound::widest(9))?;
        Some(ceiling.is_free())
    };
    let (input, output) = (("input_cost_per_token", 0.0), ("output_cost_per_token", 0.0));
    assert_eq!(free(&[input, output]), Some(true));
    assert_eq!(free(&[input]), Some(false));
    assert_eq!(free(&[input, output, ("input_cost_per_request", 0.001)]), Some(false));
    assert_eq!(free(&[]), None);
}

#[test]
fn a_row_keeps_its_figure_where_nobody_knows_better() {
    let pricer = Pricer::new(catalogue());
    let usage = Usage { input: 1000, ..Usage::default() };
    let row = PricedRow {
        provider: "openai",
        asked: "gpt-5",
        answered: None,
        usage: Some(&usage),
        service_tier: None,
        source: PriceSource::Unpriced,
        price_name: None,
        amount: None,
    };
    let amount = |row: &PricedRow<'_>| pricer.reprice(row, None, None).amount.map(|amount| amount.0);
    assert_eq!(amount(&row), Some(1_250_000));
    assert_eq!(pricer.reprice(&row, None, Some("gpt-5-mini")).amount.map(|amount| amount.0), Some(250_000));
    let old = Some(fleetgate_wire::money::NanoDollars(5));
    for source in [PriceSource::Provider, PriceSource::Free, PriceSource::Override] {
        assert_eq!(amount(&PricedRow { source, amount: old, ..row }), Some(5));
    }
    assert_eq!(amount(&PricedRow { asked: "gone", amount: old, source: PriceSource::Catalogue, ..row }), Some(5));
    assert_eq!(amount(&PricedRow { usage: None, ..row }), None);
}

#[test]
fn prices_are_exchanged_while_calls_go_on() {
    let pricer = Pricer::new(catalogue());
    let price = || pricer.price(&deployment(&[]), "openai", "gpt-5", &used(1, 0)).amount.map(|amount| amount.0);
    assert_eq!(price(), Some(1250));
    let json = br#"{"gpt-5":{"litellm_provider":"openai","input_cost_per_token":1e-9}}"#;
    pricer.replace(Catalogue::from_json(json).unwrap());
    assert_eq!(price(), Some(1));
}

proptest::proptest! {
    #[test]
    fn no_usage_costs_more_than_its_ceiling(
        model in proptest::sample::select(vec!["gpt-5.4", "gpt-6-luna", "gpt-realtime", "gpt-audio", "o3", "gpt-4.1-mini"]),
        input in 0u64..600_000, output in 0u64..200_000, parts in proptest::array::uniform6(0u64..300_000),
        tier in proptest::option::of(proptest::sample::select(vec!["priority", "flex", "default", "batch"])),
    ) {
        let rates = CATALOGUE.get(model).unwrap();
        let [cache_read, cache_write_5m, audio_input, reasoning, audio_output, image_input] = parts;
        // Parts of a prompt are at most the prompt.
        let cache_read = cache_read.min(input);
        let usage = Usage {
            input, cache_read, cache_write_5m: cache_write_5m.min(input - cache_read), audio_input, image_input,
            output, reasoning, audio_output, ..Usage::default()
        };
        let ceiling = rates.ceiling(&Bound { tier, ..Bound::widest(input) }).unwrap();
        let cost = rates.cost(&usage, tier).unwrap();
        proptest::prop_assert!(ceiling.amount(output) >= cost, "{cost} {ceiling:?}");
    }
}
