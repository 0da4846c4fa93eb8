//! From a file's text to its tree: anchors and merge keys applied, duplicate keys named, one document only.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use granit_parser::{Event, Parser, ScalarStyle, Span};

use super::node::{Entry, Node, Place, Value};
use super::report::{Cost, Report};
use super::scalar;

/// More nodes than this come from aliases of aliases, not from a configuration.
const MAX_NODES: usize = 1_000_000;

/// Why a text is no configuration. The message never quotes the text: a broken line may hold a key.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct YamlError {
    pub(super) line: usize,
    pub(super) message: String,
}

/// Reads the only document of a text; `None` for one without content.
pub(super) fn parse(text: &str, file: &Arc<Path>, report: &mut Report) -> Result<Option<Node>, YamlError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut tree = Tree { file, report, stack: Vec::new(), anchors: HashMap::new(), nodes: 0, root: None };
    let mut documents = 0;
    for next in Parser::new_from_str(text) {
        let (event, span) = next.map_err(|error| {
            let (line, column) = (error.marker().line(), error.marker().col() + 1);
            let hint = if text.contains("{{") { "; {{ }} looks like a template: give the rendered file" } else { "" };
            YamlError { line, message: format!("column {column}: {}{hint}", error.info()) }
        })?;
        if matches!(event, Event::DocumentStart(..)) {
            documents += 1;
            if documents > 1 {
                let message = "a second YAML document begins here; a configuration is one document. Is this a Kubernetes \
                               manifest or another bundle? Then give the part that holds model_list";
                return Err(YamlError { line: span.start.line(), message: message.to_owned() });
            }
        }
        tree.take(event, span)?;
    }
    Ok(tree.root.filter(|root| !root.is_null()))
}

struct Tree<'a> {
    file: &'a Arc<Path>,
    report: &'a mut Report,
    stack: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    root: Option<Node>,
}

/// A list or a map whose end has not come yet.
struct Open {
    place: Place,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, merged: Vec<Entry>, key: Option<(String, bool, Place)> },
}

impl Tree<'_> {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), YamlError> {
        let place = Place { file: Arc::clone(self.file), line: span.start.line() };
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && tag.is_none();
                let value = if plain && scalar::is_null(&text) {
                    Value::Null
                } else {
                    Value::Scalar { text: text.into_owned(), plain }
                };
                self.finish(Node::new(value, place), anchor)
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(YamlError { line: place.line, message: "an anchor holds itself".to_owned() });
                };
                self.finish(node, 0)
            }
            Event::SequenceStart(_, anchor, _) => {
                self.stack.push(Open { place, anchor, content: Content::List(Vec::new()) });
                Ok(())
            }
            Event::MappingStart(_, anchor, _) => {
                let content = Content::Map { entries: Vec::new(), merged: Vec::new(), key: None };
                self.stack.push(Open { place, anchor, content });
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            _ => Ok(()),
        }
    }

    fn close(&mut self) -> Result<(), YamlError> {
        let Some(open) = self.stack.pop() else { return Ok(()) };
        let value = match open.content {
            Content::List(items) => Value::List(items),
            Content::Map { mut entries, merged, .. } => {
                // What the map says itself wins over what it merges.
                for entry in merged {
                    if !entries.iter().any(|own| own.key == entry.key) {
                        entries.push(entry);
                    }
                }
                Value::Map(entries)
            }
        };
        self.finish(Node::new(value, open.place), open.anchor)
    }

    /// Puts a complete node where it belongs.
    fn finish(&mut self, node: Node, anchor: usize) -> Result<(), YamlError> {
        self.nodes += node.size();
        if self.nodes > MAX_NODES {
            let message = format!("more than {MAX_NODES} values; do aliases repeat each other?");
            return Err(YamlError { line: node.place.line, message });
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.content {
            Content::List(items) => items.push(node),
            Content::Map { entries, merged, key } => match key.take() {
                None => *key = Some(key_of(&node)?),
                Some((key, true, place)) if key == "<<" => merge(merged, node, &place)?,
                Some((key, _, place)) => insert(entries, Entry { key, place, node }, self.report),
            },
        }
        Ok(())
    }
}

/// A key's text and whether it stands without quotes.
fn key_of(node: &Node) -> Result<(String, bool, Place), YamlError> {
    match &node.value {
        Value::Scalar { text, plain } => Ok((text.clone(), *plain, node.place.clone())),
        Value::Null => Ok(("null".to_owned(), false, node.place.clone())),
        Value::List(_) | Value::Map(_) => Err(YamlError {
            line: node.place.line,
            message: "a key must be a text; is a {{ }} template left?".to_owned(),
        }),
    }
}

fn merge(merged: &mut Vec<Entry>, node: Node, place: &Place) -> Result<(), YamlError> {
    let sources = match node.value {
        Value::Map(entries) => vec![entries],
        Value::List(items) => items
            .into_iter()
            .filter_map(|item| match item.value {
                Value::Map(entries) => Some(entries),
                _ => None,
            })
            .collect(),
        _ => return Err(YamlError { line: place.line, message: "<< takes a map or a list of maps".to_owned() }),
    };
    // The first source that has a key wins.
    for entry in sources.into_iter().flatten() {
        if !merged.iter().any(|earlier| earlier.key == entry.key) {
            merged.push(entry);
        }
    }
    Ok(())
}

fn insert(entries: &mut Vec<Entry>, entry: Entry, report: &mut Report) {
    let Some(earlier) = entries.iter_mut().find(|earlier| earlier.key == entry.key) else {
        entries.push(entry);
        return;
    };
    report.warn(
        Cost::Serving,
        entry.place.origin(),
        format!("{} is given twice; this one wins over the one in line {}", entry.key, earlier.place.line),
    );
    *earlier = entry;
}
