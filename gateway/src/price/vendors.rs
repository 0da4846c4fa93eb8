//! The prices of those to whom OpenRouter hands calls on. It reports what each answer cost, so no list has rows of it; before a call
//! all that is known is what the vendor of the model charges, which OpenRouter passes on.

use std::sync::Arc;

use super::{Found, PriceSource, Pricer, Wanted};

/// OpenRouter's names of vendors, and the price list's.
const VENDORS: [(&str, &str); 13] = [
    ("ai21", "ai21"),
    ("anthropic", "anthropic"),
    ("cohere", "cohere"),
    ("deepseek", "deepseek"),
    ("google", "gemini"),
    ("minimax", "minimax"),
    ("mistralai", "mistral"),
    ("moonshotai", "moonshot"),
    ("openai", "openai"),
    ("perplexity", "perplexity"),
    ("qwen", "dashscope"),
    ("x-ai", "xai"),
    ("z-ai", "zai"),
];

impl Pricer {
    /// What a model's own vendor charges for it. Only a bound follows from this, never a cost.
    pub(super) fn find_vendors(&self, wanted: Wanted<'_>) -> Option<Found> {
        if wanted.provider != "openrouter" {
            return None;
        }
        let (vendor, model) = wanted.asked.split_once('/')?;
        let (_, vendor) = VENDORS.iter().find(|(theirs, _)| *theirs == vendor)?;
        // `:online`, `:nitro` and the like say how it is served, `:free` that nobody pays.
        let (model, variant) = model.split_once(':').unwrap_or((model, ""));
        if variant == "free" {
            return None;
        }
        let catalogue = self.catalogue.load();
        // They write claude-sonnet-4.5, Anthropic writes claude-sonnet-4-5.
        let (name, row) = catalogue.find(vendor, model).or_else(|| catalogue.find(vendor, &model.replace('.', "-")))?;
        Some(Found {
            rates: Arc::clone(row.rates.as_ref()?),
            name: Arc::clone(name),
            source: PriceSource::Catalogue,
            limits: (row.max_input_tokens, row.max_output_tokens),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::price::Catalogue;

    #[test]
    fn a_model_is_found_by_its_vendors_name() {
        let pricer = Pricer::new(Catalogue::built_in().unwrap());
        let found = |provider, asked| {
            let wanted = Wanted { deployment: None, base_model: None, provider, asked, answered: None };
            pricer.find_vendors(wanted).map(|found| found.name.to_string())
        };
        for (asked, name) in [
            ("openai/gpt-4o", "gpt-4o"),
            ("openai/gpt-4o:online", "gpt-4o"),
            ("anthropic/claude-sonnet-4.5", "claude-sonnet-4-5"),
            ("google/gemini-2.5-pro", "gemini/gemini-2.5-pro"),
            ("z-ai/glm-4.6", "zai/glm-4.6"),
        ] {
            assert_eq!(found("openrouter", asked).as_deref(), Some(name), "{asked}");
            assert_eq!(found("openai", asked), None);
        }
        for unknown in ["auto", "openrouter/auto", "openai/gpt-4o:free", "nobody/gpt-4o", "openai/nothing"] {
            assert_eq!(found("openrouter", unknown), None, "{unknown}");
        }
    }
}
