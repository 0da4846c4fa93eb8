//! OpenAI's usage object, and what its imitators made of it.
//!
//! Sources: platform.openai.com (chat, responses, embeddings, transcription, image objects), api-docs.deepseek.com
//! (`prompt_cache_hit_tokens`), platform.moonshot.ai (`cached_tokens`), docs.perplexity.ai (`citation_tokens`,
//! `num_search_queries`), docs.mistral.ai (`prompt_audio_seconds`).

use fleetgate_wire::usage::{SearchContext, Usage};

use super::node::Node;

const INPUT_DETAILS: [&str; 3] = ["prompt_tokens_details", "input_tokens_details", "input_token_details"];
const OUTPUT_DETAILS: [&str; 3] = ["completion_tokens_details", "output_tokens_details", "output_token_details"];

/// What was used; `None` when the object counts nothing. `model`: the one that answered, if it is known by now.
pub(super) fn usage(usage: &Node<'_>, model: Option<&str>) -> Option<Usage> {
    let count = |names: &[&str]| names.iter().find_map(|name| number(usage.get(name)));
    let side = |names: [&str; 3]| names.iter().find_map(|name| usage.get(name).filter(|side| side.is_object()));
    let (read, written) = (side(INPUT_DETAILS), side(OUTPUT_DETAILS));
    let cached = INPUT_DETAILS.iter().find_map(|name| usage.get(name)?.get("cached_tokens_details"));
    let detail = |side: Option<&Node<'_>>, name: &str| number(side?.get(name));
    let input = count(&["prompt_tokens", "input_tokens"]);
    let output = count(&["completion_tokens", "output_tokens"]);
    let audio_input_ms = milliseconds(usage.get("prompt_audio_seconds").or_else(|| usage.get("seconds")));
    // A provider that reads only, such as one for embeddings, may give nothing but the total.
    let total = count(&["total_tokens"]);
    if input.or(output).or(total).is_none() && audio_input_ms == 0 {
        return None;
    }
    let input = input.or(total.filter(|_| output.is_none())).unwrap_or(0);
    let reasoning = detail(written, "reasoning_tokens");
    // Some count reasoning beside the output instead of inside it:
    // - xAI ("counted separately from completion_tokens, but … in the total_tokens", docs.x.ai, consumption and rate limits). Its
    //   Responses API counts inside; the total tells which.
    // - Gemini's OpenAI endpoint, which counts thoughts in the total only.
    // - Perplexity's deep research, with a `reasoning_tokens` of its own, outside even of the total.
    // Mistral's total holds the audio, whose seconds are priced.
    let hidden = match total {
        Some(total) if audio_input_ms == 0 => total.saturating_sub(input + output.unwrap_or(0)),
        _ => 0,
    };
    let thinks_in_total = model.is_some_and(|model| model.contains("gemini"));
    let output = output.unwrap_or(0);
    let (output, reasoning) = match (reasoning, count(&["reasoning_tokens"])) {
        (None, Some(beside)) => (output + beside, beside),
        (Some(reasoning), _) if reasoning > 0 && (hidden == reasoning || reasoning > output) => {
            (output + reasoning, reasoning)
        }
        (None | Some(0), _) if thinks_in_total => (output + hidden, hidden),
        (reasoning, _) => (output, reasoning.unwrap_or(0)),
    };
    let cache_write = detail(read, "cache_write_tokens")
        .or_else(|| detail(read, "cache_creation_input_tokens"))
        .or_else(|| detail(read, "cache_creation_tokens"));
    let cache_read = detail(read, "cached_tokens").filter(|count| *count > 0);
    let search_context = usage.get("search_context_size").and_then(Node::as_str).and_then(SearchContext::parse);
    Some(Usage {
        input,
        cache_read: cache_read.or_else(|| count(&["prompt_cache_hit_tokens", "cached_tokens"])).unwrap_or(0),
        cache_read_audio: detail(cached, "audio_tokens").unwrap_or(0),
        cache_read_image: detail(cached, "image_tokens").unwrap_or(0),
        cache_write_5m: cache_write.unwrap_or(0),
        audio_input: detail(read, "audio_tokens").unwrap_or(0),
        image_input: detail(read, "image_tokens").unwrap_or(0),
        output,
        reasoning,
        audio_output: detail(written, "audio_tokens").unwrap_or(0),
        image_output: detail(written, "image_tokens").unwrap_or(0),
        citations: count(&["citation_tokens"]).unwrap_or(0),
        // Perplexity's ordinary models say how they searched, but not how often: once.
        searches: count(&["num_search_queries"]).unwrap_or_else(|| search_context.map_or(0, |_| 1)),
        search_context,
        audio_input_ms,
        ..Usage::default()
    })
}

/// More tokens than this are nonsense, and would overflow sums of money.
const MOST_TOKENS: f64 = 1e12;

/// A count, also from servers that write `12.0`.
pub(super) fn number(value: Option<&Node<'_>>) -> Option<u64> {
    let value = value?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked in the same line"
    )]
    let count = || value.as_f64().filter(|count| (0.0..MOST_TOKENS).contains(count)).map(|count| count as u64);
    count()
}

/// Seconds as milliseconds.
fn milliseconds(seconds: Option<&Node<'_>>) -> u64 {
    let milliseconds = seconds.and_then(Node::as_f64).map_or(0.0, |seconds| (seconds * 1000.0).round());
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked in the same line"
    )]
    let whole = || if (0.0..MOST_TOKENS).contains(&milliseconds) { milliseconds as u64 } else { 0 };
    whole()
}
