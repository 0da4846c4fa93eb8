//! The few parts of a request that are not simply text: where images and documents stand, and what refers to something that is not
//! in the body. Everything is borrowed from the body.

use std::borrow::Cow;
use std::fmt;

use fleetgate_wire::endpoint::Endpoint;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use serde_json::value::RawValue;

type Raw<'a> = Option<&'a RawValue>;

/// A request of any dialect.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) messages: Items<'a>,
    pub(super) input: Items<'a>,
    pub(super) system: Items<'a>,
    pub(super) tools: Vec<Tool<'a>>,
    pub(super) cache_control: Raw<'a>,
    pub(super) service_tier: Raw<'a>,
    /// It goes on from an earlier response, or is a stored template. (For others than responses a `prompt` is a text.)
    pub(super) refers_elsewhere: bool,
    /// It asks the provider to search or run something, beside what its tools say.
    pub(super) server_tools: bool,
}

impl<'a> Request<'a> {
    /// Reads the members that matter, of which `member` gives the text; `None` when one of them cannot be understood.
    pub(super) fn read(endpoint: Endpoint, member: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        let given = |name: &str| member(name).filter(|raw| *raw != "null");
        let items = |name| given(name).map_or_else(|| Some(Items::default()), |raw| serde_json::from_str(raw).ok());
        let raw = |name| given(name).and_then(|raw| serde_json::from_str(raw).ok());
        let has = |names: &[&str]| names.iter().any(|name| given(name).is_some());
        Some(Self {
            messages: items("messages")?,
            input: items("input")?,
            system: items("system")?,
            tools: given("tools").map_or_else(|| Some(Vec::new()), |raw| serde_json::from_str(raw).ok())?,
            cache_control: raw("cache_control"),
            service_tier: raw("service_tier"),
            refers_elsewhere: has(&["previous_response_id", "conversation"])
                || (endpoint == Endpoint::Responses && has(&["prompt"])),
            server_tools: has(&["mcp_servers", "web_search_options", "plugins", "container"]),
        })
    }
}

/// A tool that the model may use.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Tool<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Raw<'a>,
    #[serde(borrow)]
    pub(super) cache_control: Raw<'a>,
}

/// A message, an item of a response, or a block of content: they nest, and have these members in common.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct Item<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Raw<'a>,
    #[serde(borrow)]
    pub(super) content: Items<'a>,
    #[serde(borrow)]
    pub(super) output: Items<'a>,
    #[serde(borrow)]
    pub(super) source: Source<'a>,
    #[serde(borrow)]
    pub(super) image_url: Raw<'a>,
    #[serde(borrow)]
    pub(super) cache_control: Raw<'a>,
    #[serde(
        alias = "video_url",
        alias = "inline_data",
        alias = "inlineData",
        alias = "fileData",
        alias = "video",
        alias = "audio"
    )]
    #[serde(
        alias = "image",
        alias = "document",
        alias = "url",
        alias = "file_url",
        alias = "file_id",
        alias = "file_data"
    )]
    pub(super) elsewhere: Present,
}

/// Anthropic's place of an image or a document; search results have a text there.
#[derive(Debug, Default)]
pub(super) enum Source<'a> {
    #[default]
    None,
    Text,
    Map(Box<SourceFields<'a>>),
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default)]
pub(super) struct SourceFields<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Raw<'a>,
    #[serde(borrow)]
    pub(super) data: Raw<'a>,
    #[serde(borrow)]
    pub(super) content: Items<'a>,
}

/// A text, one item, or a list of them.
#[derive(Debug, Default)]
pub(super) struct Items<'a>(pub(super) Vec<Item<'a>>);

/// Whether one of several members is there. An item with two of them is one that cannot be understood.
#[derive(Debug, Default)]
pub(super) struct Present(pub(super) bool);

impl<'de> serde::Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self(true))
    }
}

/// The text of a member, if it is one.
pub(super) fn text(raw: Raw<'_>) -> Option<Cow<'_, str>> {
    let raw = raw?.get();
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str(raw).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

impl<'de: 'a, 'a> serde::Deserialize<'de> for Items<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ItemsVisitor).map(Items)
    }
}

struct ItemsVisitor;

impl<'de> Visitor<'de> for ItemsVisitor {
    type Value = Vec<Item<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a list or an object")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        // Texts, and the token numbers that embeddings take, make no items.
        while let Some(Items(inner)) = list.next_element()? {
            items.extend(inner);
        }
        Ok(items)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let item = serde::Deserialize::deserialize(MapAccessDeserializer::new(map))?;
        Ok(vec![item])
    }
}

impl<'de: 'a, 'a> serde::Deserialize<'de> for Source<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SourceVisitor)
    }
}

struct SourceVisitor;

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = Source<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or an object")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Source::None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Source::Text)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let fields = serde::Deserialize::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Source::Map(Box::new(fields)))
    }
}
