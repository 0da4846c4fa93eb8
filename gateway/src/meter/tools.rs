//! What a provider's own tools did for an answer, and is charged apart from tokens.

use fleetgate_wire::usage::{SearchContext, Usage};
use serde::Deserialize;

use crate::dialect::Fields;

/// One item of a response's output. Only calls that are charged matter.
#[derive(Deserialize)]
struct Item<'a> {
    #[serde(rename = "type", default, borrow)]
    kind: Option<std::borrow::Cow<'a, str>>,
    #[serde(default)]
    action: Option<Action>,
}

#[derive(Deserialize)]
struct Action {
    #[serde(rename = "type", default)]
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Tool {
    #[serde(default)]
    search_context_size: Option<String>,
}

/// Web searches of a response, and how much each of them read. Opening a page and looking for a word in it are no searches
/// (platform.openai.com/docs/guides/tools-web-search).
pub(super) fn searches(response: &Fields<'_>) -> (u64, Option<SearchContext>) {
    let items: Vec<Item<'_>> = response.read("output").unwrap_or_default();
    let searches = items.iter().filter(|item| is_search(item)).count() as u64;
    if searches == 0 {
        return (0, None);
    }
    let tools: Vec<Tool> = response.read("tools").unwrap_or_default();
    let context = tools.iter().find_map(|tool| SearchContext::parse(tool.search_context_size.as_deref()?));
    (searches, context)
}

fn is_search(item: &Item<'_>) -> bool {
    let action = item.action.as_ref().and_then(|action| action.kind.as_deref());
    item.kind.as_deref() == Some("web_search_call") && action.is_none_or(|action| action == "search")
}

/// OpenAI's search models search once for each answer and do not count it
/// (platform.openai.com/docs/guides/tools-web-search, chat completions).
pub(super) fn count_implied(usage: &mut Usage, model: Option<&str>) {
    let searches = model.is_some_and(|model| model.starts_with("gpt-") && model.contains("-search-"));
    if searches && usage.searches == 0 && usage.output > 0 {
        usage.searches = 1;
    }
}
