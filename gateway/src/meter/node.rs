//! A small JSON value that borrows its texts from the answer: a usage object is read once and thrown away, and a tree that owns
//! each of its names would cost more than all that is done with it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// A value. What nobody counts by (lists, null) is [`Node::Other`].
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node<'a> {
    Other,
    Bool(bool),
    Whole(u64),
    Number(f64),
    Text(Cow<'a, str>),
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
}

impl<'a> Node<'a> {
    /// An object's member. Where a name stands twice the last one counts, as in most readers of JSON.
    pub(super) fn get(&self, name: &str) -> Option<&Node<'a>> {
        let Self::Object(members) = self else { return None };
        members.iter().rev().find(|(member, _)| member == name).map(|(_, value)| value)
    }

    /// What stands at a path such as `/details/cached`.
    pub(super) fn pointer(&self, path: &str) -> Option<&Node<'a>> {
        path.split('/').skip(1).try_fold(self, |node, name| node.get(name))
    }

    pub(super) fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    pub(super) fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    pub(super) fn as_u64(&self) -> Option<u64> {
        if let Self::Whole(value) = self { Some(*value) } else { None }
    }

    pub(super) fn as_f64(&self) -> Option<f64> {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "counts and prices are far below 2⁵³")]
            Self::Whole(value) => Some(*value as f64),
            Self::Number(value) => Some(*value),
            _ => None,
        }
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Node<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyNode)
    }
}

struct AnyNode;

impl<'de> Visitor<'de> for AnyNode {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node<'de>, E> {
        Ok(Node::Other)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node<'de>, E> {
        Ok(Node::Bool(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node<'de>, E> {
        Ok(Node::Whole(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node<'de>, E> {
        #[expect(clippy::cast_precision_loss, reason = "negative, and so no count")]
        Ok(Node::Number(value as f64))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node<'de>, E> {
        Ok(Node::Number(value))
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Node<'de>, E> {
        Ok(Node::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Node<'de>, E> {
        Ok(Node::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node<'de>, A::Error> {
        while list.next_element::<de::IgnoredAny>()?.is_some() {}
        Ok(Node::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node<'de>, A::Error> {
        let mut members = Vec::with_capacity(8);
        while let Some(Name(name)) = map.next_key()? {
            members.push((name, map.next_value()?));
        }
        Ok(Node::Object(members))
    }
}

/// A member's name, borrowed unless it holds an escape.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(transparent)]
        struct Text<'t>(#[serde(borrow)] Cow<'t, str>);
        Text::deserialize(deserializer).map(|Text(name)| Self(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(json: &str) -> Node<'_> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_value_is_read_as_it_is_and_borrows_its_texts() {
        let text = r#"{"a":12,"b":-1,"c":1.5,"d":"x","e":{"f":true,"a\n":null},"g":[1,{"a":2}],"a":13}"#;
        let read = node(text);
        assert_eq!(read.get("a").and_then(Node::as_u64), Some(13), "the last one counts");
        assert_eq!(read.get("b").and_then(Node::as_u64), None);
        assert_eq!(read.get("b").and_then(Node::as_f64), Some(-1.0));
        assert_eq!(read.get("c").and_then(Node::as_f64), Some(1.5));
        assert!(matches!(read.get("d"), Some(Node::Text(Cow::Borrowed("x")))));
        assert_eq!(read.pointer("/e/f").and_then(Node::as_bool), Some(true));
        assert_eq!(read.get("e").and_then(|inner| inner.get("a\n")), Some(&Node::Other));
        assert_eq!(read.get("g"), Some(&Node::Other), "nobody counts by lists");
        assert_eq!(read.get("h"), None);
    }

    #[test]
    fn what_is_no_json_is_no_node() {
        for bad in ["{", "{\"a\":}", "[1", "nul"] {
            assert!(serde_json::from_str::<Node<'_>>(bad).is_err(), "{bad}");
        }
    }
}
