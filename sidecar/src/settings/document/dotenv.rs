//! `NAME=value` lines, as dotenv reads them. A value in quotes may go over several lines.

use serde_json::{Map, Value};

use super::{Document, DocumentError};

pub(super) struct Dotenv {
    /// With their line ends; a value over several lines is one piece.
    pieces: Vec<Piece>,
}

struct Piece {
    text: String,
    pair: Option<(String, String)>,
}

impl Dotenv {
    pub(super) fn parse(text: &str) -> Result<Self, DocumentError> {
        let mut pieces = Vec::new();
        let mut lines = text.split_inclusive('\n').enumerate();
        while let Some((at, line)) = lines.next() {
            let mut text = line.to_owned();
            let Some((name, rest)) = split(line) else {
                pieces.push(Piece { text, pair: None });
                continue;
            };
            let name = name.to_owned();
            let mut value = rest.to_owned();
            if let Some(quote) = rest.chars().next().filter(|first| ['"', '\'', '`'].contains(first)) {
                while closing(&value, quote).is_none() {
                    let why = "a quoted value without an end".to_owned();
                    let (_, more) = lines.next().ok_or(DocumentError::Malformed { line: at + 1, why })?;
                    text += more;
                    value += more;
                }
            }
            pieces.push(Piece { pair: Some((name, plain(&value))), text });
        }
        Ok(Self { pieces })
    }

    fn place(&self, key: &[String]) -> Result<Option<usize>, DocumentError> {
        let [name] = key else { return Ok(None) };
        let has_name = |piece: &Piece| piece.pair.as_ref().is_some_and(|pair| pair.0 == *name);
        let mut places = (0..self.pieces.len()).filter(|at| has_name(&self.pieces[*at]));
        let first = places.next();
        if places.next().is_some() {
            return Err(DocumentError::Twice { key: name.clone() });
        }
        Ok(first)
    }
}

/// Name and raw value of a line, with its end.
fn split(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start();
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    let (name, value) = line.split_once('=')?;
    let name = name.trim_end();
    let is_name = |c: char| c.is_ascii_alphanumeric() || ['_', '.', '-'].contains(&c);
    (!name.is_empty() && name.chars().all(is_name)).then_some((name, value.trim_start()))
}

/// Where a quoted value ends.
fn closing(value: &str, quote: char) -> Option<usize> {
    let mut is_escaped = false;
    value.char_indices().skip(1).find_map(|(at, character)| {
        let ends = character == quote && !is_escaped;
        is_escaped = character == '\\' && !is_escaped;
        ends.then_some(at)
    })
}

/// A value without quotes or comment.
fn plain(value: &str) -> String {
    let quote = value.chars().next().filter(|first| ['"', '\'', '`'].contains(first));
    match quote.and_then(|quote| Some((quote, closing(value, quote)?))) {
        Some((quote, end)) => {
            let inner = value.get(1..end).unwrap_or_default();
            if quote == '"' { inner.replace("\\n", "\n").replace("\\r", "\r") } else { inner.to_owned() }
        }
        None => value.split('#').next().unwrap_or_default().trim().to_owned(),
    }
}

/// A value as it has to be written.
fn quoted(value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./:-".contains(c);
    match value {
        _ if value.chars().all(is_plain) => value.to_owned(),
        _ if value.contains('"') => format!("'{value}'"),
        _ => format!("\"{}\"", value.replace('\n', "\\n")),
    }
}

impl Document for Dotenv {
    fn get(&self, key: &[String]) -> Result<Option<Value>, DocumentError> {
        let pair = self.place(key)?.and_then(|at| self.pieces[at].pair.as_ref());
        Ok(pair.map(|(_, value)| Value::String(value.clone())))
    }

    fn set(&mut self, key: &[String], value: &Value) -> Result<(), DocumentError> {
        let [name] = key else { return Ok(()) };
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let has_carriage_returns = self.pieces.iter().any(|piece| piece.text.ends_with("\r\n"));
        let end = if has_carriage_returns { "\r\n" } else { "\n" };
        let text = format!("{name}={}{end}", quoted(&value));
        let pair = Some((name.clone(), value));
        if let Some(at) = self.place(key)? {
            let had_end = self.pieces[at].text.ends_with('\n');
            let text = if had_end { text } else { text.trim_end().to_owned() };
            self.pieces[at] = Piece { text, pair };
            return Ok(());
        }
        if let Some(last) = self.pieces.last_mut().filter(|last| !last.text.ends_with('\n')) {
            last.text += end;
        }
        self.pieces.push(Piece { text, pair });
        Ok(())
    }

    fn remove(&mut self, key: &[String]) -> Result<(), DocumentError> {
        if let Some(at) = self.place(key)? {
            self.pieces.remove(at);
        }
        Ok(())
    }

    fn value(&self) -> Value {
        let pairs = self.pieces.iter().filter_map(|piece| piece.pair.clone());
        Value::Object(pairs.map(|(name, value)| (name, Value::String(value))).collect::<Map<_, _>>())
    }

    fn text(&self) -> String {
        self.pieces.iter().map(|piece| piece.text.as_str()).collect()
    }

    fn is_bare(&self) -> bool {
        self.pieces.iter().all(|piece| piece.text.trim().is_empty())
    }
}
