//! YAML by lines: a plain mapping whose keys begin their lines. Whatever is written otherwise is refused, for a line of it cannot be
//! changed without knowing all of it.

use serde_json::{Map, Value};

use super::{Document, DocumentError};

pub(super) struct Yaml {
    /// With their line ends. What belongs to a key stands with it.
    pieces: Vec<Piece>,
}

struct Piece {
    text: String,
    line: usize,
    key: Option<String>,
}

impl Yaml {
    pub(super) fn parse(text: &str) -> Result<Self, DocumentError> {
        let mut pieces: Vec<Piece> = Vec::new();
        for (at, line) in text.split_inclusive('\n').enumerate() {
            let bare = line.trim_end();
            let line_number = at + 1;
            let belongs_to_key =
                bare.starts_with([' ', '\t']) && !bare.trim().starts_with('#') || bare.starts_with("- ");
            let starts_document = bare == "---" && pieces.iter().all(|piece| piece.key.is_none());
            if bare.is_empty() || bare.trim_start().starts_with('#') || starts_document {
                pieces.push(Piece { text: line.to_owned(), line: line_number, key: None });
            } else if belongs_to_key {
                let why = "a line that belongs to no key at the beginning of a line";
                let last = pieces.iter().rposition(|piece| piece.key.is_some());
                let last = last.ok_or(DocumentError::Unsafe { line: line_number, why })?;
                // Comments between a key and its list belong to it too.
                let between: String = pieces.drain(last + 1..).map(|piece| piece.text).collect();
                pieces[last].text += &between;
                pieces[last].text += line;
            } else {
                let why = "not a plain `key: value`, which is all that is changed here";
                let key = key_of(bare).ok_or(DocumentError::Unsafe { line: line_number, why })?;
                pieces.push(Piece { text: line.to_owned(), line: line_number, key: Some(key.to_owned()) });
            }
        }
        Ok(Self { pieces })
    }

    fn place(&self, key: &[String]) -> Result<Option<usize>, DocumentError> {
        let [name] = key else { return Ok(None) };
        let mut places = (0..self.pieces.len()).filter(|at| self.pieces[*at].key.as_ref() == Some(name));
        let first = places.next();
        if places.next().is_some() {
            return Err(DocumentError::Twice { key: name.clone() });
        }
        Ok(first)
    }
}

/// The key that begins a line.
fn key_of(line: &str) -> Option<&str> {
    let (key, rest) = line.split_once(':')?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let is_key = !key.is_empty() && key.chars().all(is_plain) && !key.starts_with('-');
    (is_key && (rest.is_empty() || rest.starts_with([' ', '\t']))).then_some(key)
}

/// A value that stands on its key's line, and the comment behind it.
fn scalar(piece: &Piece) -> Result<(String, &str), DocumentError> {
    let refuse = |why| DocumentError::Unsafe { line: piece.line, why };
    let bare = piece.text.trim_end();
    if bare.contains('\n') {
        return Err(refuse("a value over several lines"));
    }
    let value = bare.split_once(':').map_or("", |(_, value)| value.trim_start());
    let (value, rest) = match value.chars().next() {
        Some('&' | '*' | '!' | '|' | '>' | '{' | '[' | '%' | '@' | '`') => {
            return Err(refuse("a value that is no plain text or number"));
        }
        Some(quote @ ('"' | '\'')) => {
            let inner = value.get(1..).unwrap_or_default();
            let end = inner.find(quote).ok_or(refuse("a quoted value over several lines"))?;
            if inner.contains('\\') || inner.get(end + 1..).is_some_and(|rest| rest.starts_with(quote)) {
                return Err(refuse("a quoted value with quotes inside"));
            }
            (inner.get(..end).unwrap_or_default(), inner.get(end + 1..).unwrap_or_default())
        }
        _ => {
            let end = value.find(" #").unwrap_or(value.len());
            let end = if value.starts_with('#') { 0 } else { end };
            value.split_at(end)
        }
    };
    let rest = rest.trim();
    if !rest.is_empty() && !rest.starts_with('#') {
        return Err(refuse("words behind a quoted value"));
    }
    Ok((value.trim().to_owned(), rest))
}

/// A value as it has to be written.
fn quoted(value: &Value) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./:-".contains(c);
    match value {
        Value::String(text)
            if text.starts_with(|c: char| c.is_ascii_alphabetic())
                && text.chars().all(is_plain)
                && !text.ends_with(':')
                && !["true", "false", "yes", "no", "on", "off", "null"]
                    .contains(&text.to_ascii_lowercase().as_str()) =>
        {
            text.clone()
        }
        // JSON's texts, numbers and words are YAML's too.
        other => other.to_string(),
    }
}

impl Document for Yaml {
    fn get(&self, key: &[String]) -> Result<Option<Value>, DocumentError> {
        let Some(at) = self.place(key)? else { return Ok(None) };
        let (value, _) = scalar(&self.pieces[at])?;
        let is_quoted = self.pieces[at].text.contains(['"', '\'']);
        Ok(Some(match value.as_str() {
            "true" if !is_quoted => Value::Bool(true),
            "false" if !is_quoted => Value::Bool(false),
            _ => Value::String(value),
        }))
    }

    fn set(&mut self, key: &[String], value: &Value) -> Result<(), DocumentError> {
        let [name] = key else { return Ok(()) };
        let has_carriage_returns = self.pieces.iter().any(|piece| piece.text.ends_with("\r\n"));
        let end = if has_carriage_returns { "\r\n" } else { "\n" };
        let line = format!("{name}: {}", quoted(value));
        if let Some(at) = self.place(key)? {
            let (_, comment) = scalar(&self.pieces[at])?;
            let comment = if comment.is_empty() { String::new() } else { format!("  {comment}") };
            let end = if self.pieces[at].text.ends_with('\n') { end } else { "" };
            self.pieces[at].text = format!("{line}{comment}{end}");
            return Ok(());
        }
        if let Some(last) = self.pieces.last_mut().filter(|last| !last.text.ends_with('\n')) {
            last.text += end;
        }
        self.pieces.push(Piece { text: line + end, line: 0, key: Some(name.clone()) });
        Ok(())
    }

    fn remove(&mut self, key: &[String]) -> Result<(), DocumentError> {
        if let Some(at) = self.place(key)? {
            scalar(&self.pieces[at])?;
            self.pieces.remove(at);
        }
        Ok(())
    }

    fn value(&self) -> Value {
        let pairs = self.pieces.iter().filter_map(|piece| {
            let key = piece.key.clone()?;
            let raw = || Value::String(piece.text.clone());
            let value = self.get(std::slice::from_ref(&key)).ok().flatten().unwrap_or_else(raw);
            Some((key, value))
        });
        Value::Object(pairs.collect::<Map<_, _>>())
    }

    fn text(&self) -> String {
        self.pieces.iter().map(|piece| piece.text.as_str()).collect()
    }

    fn is_bare(&self) -> bool {
        self.pieces.iter().all(|piece| piece.text.trim().is_empty())
    }
}
