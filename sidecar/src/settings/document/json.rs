//! JSON with comments, as a tree that keeps every byte.

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstInputValue, CstObject, CstObjectProp, CstRootNode};
use jsonc_parser::errors::ParseErrorKind;
use serde_json::{Map, Value};

use super::{Document, DocumentError, dotted};

pub(super) struct Json {
    root: CstRootNode,
}

/// What opencode, gemini-cli and qwen-code take. Whatever else parsers of JSON5 allow is a mistake here.
fn options() -> ParseOptions {
    ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    }
}

impl Json {
    pub(super) fn parse(text: &str) -> Result<Self, DocumentError> {
        let root = CstRootNode::parse(text, &options()).map_err(|error| {
            // The other kinds are words of the parser's own; these may repeat what stands in the file.
            let why = match error.kind() {
                ParseErrorKind::String(_) => "a text with a wrong escape, or without an end".to_owned(),
                kind => kind.to_string().to_lowercase(),
            };
            DocumentError::Malformed { line: error.line_display(), why }
        })?;
        if root.value().is_some() && root.object_value().is_none() {
            return Err(DocumentError::NotATable { key: "the whole file".to_owned() });
        }
        Ok(Self { root })
    }

    /// The table that a key stands in.
    fn around(&self, key: &[String]) -> Result<Option<CstObject>, DocumentError> {
        let Some(mut table) = self.root.object_value() else { return Ok(None) };
        for depth in 1..key.len() {
            let Some(property) = only(&table, &key[..depth])? else { return Ok(None) };
            let inner = property.object_value();
            table = inner.ok_or_else(|| DocumentError::NotATable { key: dotted(&key[..depth]) })?;
        }
        Ok(Some(table))
    }

    fn property(&self, key: &[String]) -> Result<Option<CstObjectProp>, DocumentError> {
        self.around(key)?.map_or(Ok(None), |table| only(&table, key))
    }
}

/// The one property with the key's last name.
fn only(table: &CstObject, key: &[String]) -> Result<Option<CstObjectProp>, DocumentError> {
    let name = key.last();
    let mut found = table.properties().into_iter().filter(|property| property.decoded_name().as_ref() == name);
    let first = found.next();
    if found.next().is_some() {
        return Err(DocumentError::Twice { key: dotted(key) });
    }
    Ok(first)
}

impl Document for Json {
    fn get(&self, key: &[String]) -> Result<Option<Value>, DocumentError> {
        Ok(self.property(key)?.and_then(|property| property.value()?.to_serde_value()))
    }

    fn set(&mut self, key: &[String], value: &Value) -> Result<(), DocumentError> {
        let Some((last, outer)) = key.split_last() else { return Ok(()) };
        let mut table = self.root.object_value_or_set();
        for (depth, name) in outer.iter().enumerate() {
            let path = &key[..=depth];
            table = match only(&table, path)? {
                Some(property) => {
                    property.object_value().ok_or_else(|| DocumentError::NotATable { key: dotted(path) })?
                }
                None => table.object_value_or_set(name),
            };
        }
        match only(&table, key)? {
            Some(property) => property.set_value(input(value)),
            None => drop(table.append(last, input(value))),
        }
        Ok(())
    }

    fn remove(&mut self, key: &[String]) -> Result<(), DocumentError> {
        let Some(property) = self.property(key)? else { return Ok(()) };
        let table = property.object_value();
        let holds_words = table.is_some_and(|table| table.properties().is_empty() && has_comment(&table));
        if !holds_words {
            property.remove();
        }
        Ok(())
    }

    fn value(&self) -> Value {
        self.root.to_serde_value().unwrap_or_else(|| Value::Object(Map::new()))
    }

    fn text(&self) -> String {
        self.root.to_string()
    }

    fn is_bare(&self) -> bool {
        let is_empty =
            self.root.object_value().is_none_or(|table| table.properties().is_empty() && !has_comment(&table));
        is_empty && !self.root.children().iter().any(jsonc_parser::cst::CstNode::is_comment)
    }
}

fn has_comment(table: &CstObject) -> bool {
    table.children().iter().any(jsonc_parser::cst::CstNode::is_comment)
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(on) => CstInputValue::Bool(*on),
        Value::Number(number) => CstInputValue::Number(number.to_string()),
        Value::String(text) => CstInputValue::String(text.clone()),
        Value::Array(items) => CstInputValue::Array(items.iter().map(input).collect()),
        Value::Object(table) => {
            CstInputValue::Object(table.iter().map(|(name, value)| (name.clone(), input(value))).collect())
        }
    }
}
