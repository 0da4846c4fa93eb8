//! TOML as a document that keeps what it does not change.

use serde_json::{Map, Value};
use toml_edit::{DocumentMut, InlineTable, Item, Table, TableLike};

use super::{Document, DocumentError, dotted, line_at};

/// Tables deeper than this stand on one line: `http_headers = { … }`.
const DEEPEST_HEADING: usize = 2;

pub(super) struct Toml {
    document: DocumentMut,
    /// The editor knows one line end only; every line of the file has this one.
    has_carriage_returns: bool,
    /// The editor ends every line.
    has_open_end: bool,
}

impl Toml {
    pub(super) fn parse(text: &str) -> Result<Self, DocumentError> {
        let has_carriage_returns = text.contains("\r\n");
        let mut lines = if has_carriage_returns { text.replace("\r\n", "\n") } else { text.to_owned() };
        let has_open_end = !lines.is_empty() && !lines.ends_with('\n');
        if has_open_end {
            lines.push('\n');
        }
        let document: DocumentMut = lines.parse().map_err(|error: toml_edit::TomlError| {
            let line = error.span().map_or(1, |span| line_at(&lines, span.start));
            // Its own words may quote the file.
            DocumentError::Malformed { line, why: "no valid TOML".to_owned() }
        })?;
        Ok(Self { document, has_carriage_returns, has_open_end })
    }

    /// The table that a key stands in.
    fn around(&self, key: &[String]) -> Result<Option<&dyn TableLike>, DocumentError> {
        let mut table: &dyn TableLike = self.document.as_table();
        for depth in 1..key.len() {
            let Some(item) = table.get(&key[depth - 1]) else { return Ok(None) };
            let inner = item.as_table_like();
            table = inner.ok_or_else(|| DocumentError::NotATable { key: dotted(&key[..depth]) })?;
        }
        Ok(Some(table))
    }

    fn around_mut(&mut self, key: &[String], make: bool) -> Result<Option<&mut dyn TableLike>, DocumentError> {
        let mut table: &mut dyn TableLike = self.document.as_table_mut();
        for depth in 1..key.len() {
            let name = &key[depth - 1];
            if !table.contains_key(name) {
                if !make {
                    return Ok(None);
                }
                let heading = || {
                    let mut heading = Table::new();
                    heading.set_implicit(true);
                    Item::Table(heading)
                };
                let is_deep = depth > DEEPEST_HEADING;
                table.insert(name, if is_deep { Item::Value(InlineTable::new().into()) } else { heading() });
            }
            let inner = table.get_mut(name).and_then(Item::as_table_like_mut);
            table = inner.ok_or_else(|| DocumentError::NotATable { key: dotted(&key[..depth]) })?;
        }
        Ok(Some(table))
    }
}

impl Document for Toml {
    fn get(&self, key: &[String]) -> Result<Option<Value>, DocumentError> {
        let Some(last) = key.last() else { return Ok(None) };
        Ok(self.around(key)?.and_then(|table| table.get(last)).and_then(read))
    }

    fn set(&mut self, key: &[String], value: &Value) -> Result<(), DocumentError> {
        let Some(last) = key.last() else { return Ok(()) };
        let Some(table) = self.around_mut(key, true)? else { return Ok(()) };
        let mut new = written(value);
        match table.get_mut(last) {
            // In its place: the blanks and comments around the old value stay.
            Some(old) => {
                if let (Item::Value(old), Item::Value(new)) = (&*old, &mut new) {
                    *new.decor_mut() = old.decor().clone();
                }
                *old = new;
            }
            None => drop(table.insert(last, new)),
        }
        Ok(())
    }

    fn remove(&mut self, key: &[String]) -> Result<(), DocumentError> {
        let Some(last) = key.last() else { return Ok(()) };
        let Some(table) = self.around_mut(key, false)? else { return Ok(()) };
        let holds_words = table.get(last).and_then(Item::as_table).is_some_and(|inner| {
            let before = inner.decor().prefix().and_then(|prefix| prefix.as_str());
            inner.is_empty() && before.is_some_and(|words| !words.trim().is_empty())
        });
        if !holds_words {
            table.remove(last);
        }
        Ok(())
    }

    fn value(&self) -> Value {
        read(self.document.as_item()).unwrap_or_else(|| Value::Object(Map::new()))
    }

    fn text(&self) -> String {
        let mut text = self.document.to_string();
        if self.has_open_end && text.ends_with('\n') {
            text.pop();
        }
        if self.has_carriage_returns { text.replace('\n', "\r\n") } else { text }
    }

    fn is_bare(&self) -> bool {
        self.document.to_string().trim().is_empty()
    }
}

/// An item as JSON has it; a time becomes its text.
fn read(item: &Item) -> Option<Value> {
    match item {
        Item::None => None,
        Item::Value(value) => Some(read_value(value)),
        Item::Table(table) => Some(read_table(table)),
        Item::ArrayOfTables(tables) => Some(tables.iter().map(|table| read_table(table)).collect()),
    }
}

fn read_table(table: &dyn TableLike) -> Value {
    let pairs = table.iter().filter_map(|(name, item)| Some((name.to_owned(), read(item)?)));
    Value::Object(pairs.collect())
}

fn read_value(value: &toml_edit::Value) -> Value {
    match value {
        toml_edit::Value::String(text) => Value::String(text.value().clone()),
        toml_edit::Value::Integer(number) => Value::from(*number.value()),
        toml_edit::Value::Float(number) => Value::from(*number.value()),
        toml_edit::Value::Boolean(on) => Value::Bool(*on.value()),
        toml_edit::Value::Datetime(time) => Value::String(time.value().to_string()),
        toml_edit::Value::Array(items) => items.iter().map(read_value).collect(),
        toml_edit::Value::InlineTable(table) => read_table(table),
    }
}

fn written(value: &Value) -> Item {
    written_value(value).map_or(Item::None, Item::Value)
}

fn written_value(value: &Value) -> Option<toml_edit::Value> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(on) => (*on).into(),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => whole.into(),
            None => number.as_f64()?.into(),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => items.iter().filter_map(written_value).collect::<toml_edit::Array>().into(),
        Value::Object(table) => {
            let pairs = table.iter().filter_map(|(name, value)| Some((name.as_str(), written_value(value)?)));
            pairs.collect::<InlineTable>().into()
        }
    })
}
