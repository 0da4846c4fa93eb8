//! How many tokens a prompt can have at most.
//!
//! Every tokeniser in use makes at least one byte of text into a token, so a prompt has at most as many tokens as its texts have bytes.
//! The body is taken for text, names and syntax of the JSON included, less what certainly is none (see [`super::lean`]): what is left
//! of the syntax outweighs what providers put around each message. Images have a bound of their own. What is not in the body, or is
//! compressed there, has none but the model's context window.

use fleetgate_wire::endpoint::{Dialect, Endpoint};
use serde_json::value::RawValue;

use super::lean::not_prompt;
use super::request::{Item, Items, Request, Source, SourceFields, text};
use super::text::decoded_len;

/// What a provider adds to any request. (A template with a system prompt of its own adds more; the first answer tells, see
/// [`caution`](super::super::caution).)
const FIXED: u64 = 16;
/// What a provider adds when there are tools: Anthropic's own instructions have up to 530 tokens, its computer's 1,300.
const WITH_TOOLS: u64 = 2_048;

/// Anthropic's tools that run at the client, whose results come back as text in a later request.
const CLIENT_TOOLS: [&str; 4] = ["bash_", "text_editor_", "computer_", "memory_"];
/// The same of the others.
const OTHER_CLIENT_TOOLS: [&str; 9] = [
    "function",
    "custom",
    "namespace",
    "local_shell",
    "shell",
    "apply_patch",
    "computer",
    "computer_use_preview",
    "tool_search",
];

/// What is known of a prompt before it is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PromptBound {
    /// At most so many tokens, images included, unless [`PromptBound::is_open`].
    pub tokens: u64,
    /// There are images.
    pub has_images: bool,
    /// How many.
    pub images: u64,
    /// There is sound; its tokens are fewer than the bytes of its base64, which are counted.
    pub has_audio: bool,
    /// There are documents: what pages hold cannot be told from their bytes.
    pub has_documents: bool,
    /// Some part is to be cached for an hour, which costs more.
    pub cache_1h: bool,
    /// The provider may search, fetch or run something in between, and each round is paid for anew.
    pub server_tools: bool,
    /// The prompt goes on elsewhere: an earlier response, a stored prompt, a file, an address.
    pub refers_elsewhere: bool,
    /// The service tier that is asked for.
    pub tier: Option<String>,
}

impl PromptBound {
    /// Only the model's context window bounds it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.has_documents || self.server_tools || self.refers_elsewhere
    }
}

/// A bound that needs no reading, from the body's length alone. It holds for text only; requests with anything else, which are
/// the ones that mention it, need [`exact`].
#[must_use]
pub fn rough(body_len: usize) -> u64 {
    FIXED + WITH_TOOLS + count(body_len)
}

/// The most tokens that one image has. Anthropic shrinks images to 4,784 tokens (its older models to 1,600); OpenAI's dearest
/// counting (gpt-4o-mini: 2,833 and 5,667 for each of eight tiles) makes 48,169, and others who speak its dialect stay below.
#[must_use]
pub fn image_bound(endpoint: Endpoint) -> u64 {
    match endpoint.dialect() {
        Dialect::Anthropic => 4_784,
        Dialect::OpenAi | Dialect::Responses => 48_169,
    }
}

/// The bound of a body that has been read: `member` gives the text of its members by name. What cannot be understood is open.
#[must_use]
pub fn exact<'a>(endpoint: Endpoint, json: &'a str, member: impl Fn(&str) -> Option<&'a str>) -> PromptBound {
    let mut bound = PromptBound { tokens: rough(json.len()), ..PromptBound::default() };
    let Some(request) = Request::read(endpoint, &member) else {
        bound.refers_elsewhere = true;
        return bound;
    };
    let mut pictures = 0;
    for items in [&request.messages, &request.input, &request.system] {
        look(items, &mut bound, &mut pictures);
    }
    let tools = request.tools;
    bound.server_tools = request.server_tools
        || tools.iter().any(|tool| tool.kind.is_some() && !is_client_tool(&text(tool.kind).unwrap_or_default()));
    bound.refers_elsewhere |= request.refers_elsewhere;
    bound.cache_1h |=
        lasts_an_hour(request.cache_control) || tools.iter().any(|tool| lasts_an_hour(tool.cache_control));
    bound.tier = text(request.service_tier).map(std::borrow::Cow::into_owned);
    bound.has_images = bound.images > 0;
    let with_tools = if tools.is_empty() { 0 } else { WITH_TOOLS };
    let text = decoded_len(json).saturating_sub(pictures + not_prompt(json, &member));
    bound.tokens =
        (FIXED + with_tools + count(text)).saturating_add(bound.images.saturating_mul(image_bound(endpoint)));
    bound
}

/// Looks where images, documents and references may stand. Anything else, such as the arguments of a tool, is text whatever it looks
/// like.
fn look(items: &Items<'_>, bound: &mut PromptBound, pictures: &mut usize) {
    for item in &items.0 {
        bound.cache_1h |= lasts_an_hour(item.cache_control);
        look(&item.content, bound, pictures);
        look(&item.output, bound, pictures);
        let kind = text(item.kind);
        match kind.as_deref().unwrap_or_default() {
            "image" | "image_url" | "input_image" | "computer_screenshot" => {
                bound.images += 1;
                *pictures += picture(item);
            }
            "document" => look_at_document(item, bound, pictures),
            "input_audio" => bound.has_audio = true,
            "file" | "input_file" | "container_upload" => bound.has_documents = true,
            // A picture that was drawn before is named by its id.
            "item_reference" | "image_generation_call" => bound.refers_elsewhere = true,
            // A text that has an address beside it is a citation, not something to fetch.
            "text" | "input_text" | "output_text" | "search_result" | "web_search_result" | "web_search_call" => {}
            _ if item.elsewhere.0 || item.image_url.is_some() || matches!(item.source, Source::Map(_)) => {
                bound.refers_elsewhere = true;
            }
            _ => {}
        }
    }
}

/// The bytes of an image that stand in the body.
fn picture(item: &Item<'_>) -> usize {
    let is_inline = |raw: &str| raw.trim_start_matches(['"', '{', ' ']).starts_with("data:");
    match (&item.source, item.image_url) {
        (Source::Map(source), _) if text(source.kind).as_deref() == Some("base64") => inner(source.data),
        (Source::None | Source::Text, Some(url)) => {
            #[derive(serde::Deserialize)]
            struct Url<'a> {
                #[serde(borrow)]
                url: Option<&'a RawValue>,
            }
            let url = match url.get().starts_with('{') {
                true => serde_json::from_str::<Url<'_>>(url.get()).ok().and_then(|fields| fields.url),
                false => Some(url),
            };
            url.filter(|url| is_inline(url.get())).map_or(0, |url| inner(Some(url)))
        }
        _ => 0,
    }
}

fn look_at_document(item: &Item<'_>, bound: &mut PromptBound, pictures: &mut usize) {
    let Source::Map(source) = &item.source else {
        bound.has_documents = true;
        return;
    };
    let SourceFields { kind, content, .. } = &**source;
    match text(*kind).as_deref() {
        Some("text") => {}
        Some("content") => look(content, bound, pictures),
        _ => bound.has_documents = true,
    }
}

fn inner(raw: Option<&RawValue>) -> usize {
    raw.map_or(0, |raw| decoded_len(raw.get()).saturating_sub(2))
}

fn lasts_an_hour(cache_control: Option<&RawValue>) -> bool {
    #[derive(serde::Deserialize)]
    struct CacheControl {
        ttl: Option<String>,
    }
    let read = cache_control.and_then(|raw| serde_json::from_str::<CacheControl>(raw.get()).ok());
    read.and_then(|cache_control| cache_control.ttl).is_some_and(|ttl| ttl == "1h")
}

fn is_client_tool(kind: &str) -> bool {
    CLIENT_TOOLS.iter().any(|start| kind.starts_with(start)) || OTHER_CLIENT_TOOLS.contains(&kind)
}

fn count(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests;
