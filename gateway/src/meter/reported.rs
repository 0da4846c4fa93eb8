//! A provider's own price of an answer, where it reports one.

use fleetgate_wire::money::NanoDollars;

use super::node::Node;

/// The reported price. Three are known:
///
/// - OpenRouter: `cost` in dollars (openrouter.ai/docs/use-cases/usage-accounting). What a key of one's own cost at the provider
///   comes on top.
/// - Perplexity: `cost.total_cost` in dollars (docs.perplexity.ai, chat completions).
/// - xAI: `cost_in_usd_ticks`, 10¹⁰ a dollar (docs.x.ai, cost tracking).
pub(super) fn cost(usage: &Node<'_>) -> Option<NanoDollars> {
    if let Some(ticks) = usage.get("cost_in_usd_ticks").and_then(Node::as_u64) {
        return NanoDollars::from_ticks(ticks);
    }
    let cost = usage.get("cost")?;
    if cost.is_object() {
        return amount(cost.get("total_cost")?.as_f64()?);
    }
    let own_key = usage.get("is_byok").and_then(Node::as_bool).unwrap_or(false);
    let upstream = usage.pointer("/cost_details/upstream_inference_cost").and_then(Node::as_f64);
    amount(cost.as_f64()? + upstream.filter(|_| own_key).unwrap_or(0.0))
}

/// What would be negative is no price.
fn amount(dollars: f64) -> Option<NanoDollars> {
    NanoDollars::from_dollars(dollars).filter(|amount| *amount >= NanoDollars::ZERO)
}
