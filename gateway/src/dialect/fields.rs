//! A JSON object's own members, found without parsing what is inside them, and edits that leave every other byte alone.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// The members of a JSON object, in order, each a slice of the original text.
#[derive(Debug, Default)]
pub struct Fields<'a> {
    text: &'a str,
    members: Cow<'a, [Member]>,
}

/// Where a body's members stand: found once, used by every later stage without reading the body again.
#[derive(Debug, Clone, Default)]
pub struct Spans(Vec<Member>);

/// One member by its places in the text.
#[derive(Debug, Clone)]
struct Member {
    name: Name,
    value: Range<usize>,
}

/// A member's name: a place as well, where it holds no escapes.
#[derive(Debug, Clone)]
enum Name {
    At(Range<usize>),
    Unescaped(String),
}

/// Why a body is not one we can read.
#[derive(Debug, thiserror::Error)]
pub enum FieldsError {
    /// Not JSON, or not an object.
    #[error("the request body is no JSON object: {0}")]
    NotAnObject(serde_json::Error),
    /// Not UTF-8.
    #[error("the request body is not UTF-8 text")]
    NotText,
    /// One name twice: two programs would read two different requests.
    #[error("the request body names {0:?} twice")]
    Twice(String),
}

/// A change of one member.
#[derive(Debug, Clone, PartialEq)]
pub enum Edit {
    /// Gives the member this value, whether or not it is there.
    Set(String, Value),
    /// Takes the member out.
    Remove(String),
}

impl<'a> Fields<'a> {
    /// Finds the members.
    ///
    /// # Errors
    /// When the bytes are no JSON object, or name a member twice.
    pub fn parse(body: &'a [u8]) -> Result<Self, FieldsError> {
        Self::find::<IgnoredAny>(body, None).map(|(fields, _)| fields)
    }

    /// The same, but reads one member as a type on the way, instead of going through it twice; it is not among the others then.
    ///
    /// # Errors
    /// As [`Fields::parse`], and when that member cannot be read so.
    pub fn parse_with<T: Deserialize<'a>>(body: &'a [u8], name: &str) -> Result<(Self, Option<T>), FieldsError> {
        Self::find(body, Some(name))
    }

    fn find<T: Deserialize<'a>>(body: &'a [u8], taken: Option<&str>) -> Result<(Self, Option<T>), FieldsError> {
        let text = std::str::from_utf8(body).map_err(|_| FieldsError::NotText)?;
        let mut reader = serde_json::Deserializer::from_str(text);
        let members = Members { text, taken, of: PhantomData };
        let (members, read) = reader.deserialize_map(members).map_err(FieldsError::NotAnObject)?;
        reader.end().map_err(FieldsError::NotAnObject)?;
        let fields = Self { text, members: Cow::Owned(members) };
        match fields.repeated() {
            Some(name) => Err(FieldsError::Twice(name.to_owned())),
            None => Ok((fields, read)),
        }
    }

    /// Where the members stand.
    #[must_use]
    pub fn spans(self) -> Spans {
        Spans(self.members.into_owned())
    }

    /// The members of the body in which the spans were found.
    #[must_use]
    pub fn at(body: &'a [u8], spans: &'a Spans) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        let is_there = |place: &Range<usize>| text.get(place.clone()).is_some();
        let fits = |member: &Member| {
            is_there(&member.value) && if let Name::At(place) = &member.name { is_there(place) } else { true }
        };
        spans.0.iter().all(fits).then_some(Self { text, members: Cow::Borrowed(&spans.0) })
    }

    /// The whole text.
    #[must_use]
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// A member's raw text.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<&'a str> {
        let member = self.members.iter().find(|member| self.is_called(member, name))?;
        Some(&self.text[member.value.clone()])
    }

    /// Most names differ in their lengths: then there is nothing to compare.
    fn is_called(&self, member: &Member, name: &str) -> bool {
        match &member.name {
            Name::At(place) if place.len() != name.len() => false,
            _ => self.name(member) == name,
        }
    }

    fn name<'m>(&'m self, member: &'m Member) -> &'m str {
        match &member.name {
            Name::At(place) => &self.text[place.clone()],
            Name::Unescaped(name) => name,
        }
    }

    /// Whether a member is there with a value other than null.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.raw(name).is_some_and(|raw| raw != "null")
    }

    /// A member read as a type; `None` when it is missing or of another type.
    #[must_use]
    pub fn read<T: Deserialize<'a>>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.raw(name)?).ok()
    }

    /// The text with the edits applied. Bytes that no edit names stay as they are; new members go first.
    #[must_use]
    pub fn apply(&self, edits: &[Edit]) -> Bytes {
        let mut cuts: Vec<(usize, usize, Cow<'_, str>)> = Vec::new();
        let mut added = String::new();
        for edit in edits {
            match edit {
                Edit::Set(name, value) => match self.raw(name) {
                    Some(raw) => cuts.push((offset(self.text, raw), raw.len(), Cow::Owned(written(value)))),
                    None => {
                        added.push_str(&Value::from(name.as_str()).to_string());
                        added.push(':');
                        added.push_str(&written(value));
                        added.push(',');
                    }
                },
                Edit::Remove(name) => {
                    cuts.extend(self.member_span(name).map(|(at, length)| (at, length, Cow::Borrowed(""))));
                }
            }
        }
        cuts.sort_by_key(|(at, ..)| *at);
        let brace = self.text.find('{').map_or(0, |at| at + 1);
        let mut out = String::with_capacity(self.text.len() + added.len() + 64);
        out.push_str(&self.text[..brace]);
        out.push_str(&added);
        let mut done = brace;
        for (at, length, replacement) in cuts {
            // Removals of neighbours share a comma, and a removal swallows a change of the same member.
            if at + length <= done {
                continue;
            }
            out.push_str(&self.text[done..at.max(done)]);
            out.push_str(&replacement);
            done = at + length;
        }
        out.push_str(&self.text[done..]);
        close_comma(&mut out);
        Bytes::from(out)
    }

    /// From a member's name through the comma behind it; with no comma behind, from the comma in front.
    fn member_span(&self, name: &str) -> Option<(usize, usize)> {
        let index = self.members.iter().position(|member| self.is_called(member, name))?;
        let value_end = |index: usize| self.members[index].value.end;
        let begin = match index.checked_sub(1) {
            // Right behind the value before: its comma goes too.
            Some(before) => value_end(before),
            None => self.text.find('{')? + 1,
        };
        let mut end = value_end(index);
        if index == 0 {
            let rest = &self.text[end..];
            let blanks = rest.len() - rest.trim_start().len();
            end += blanks + usize::from(rest[blanks..].starts_with(','));
        }
        Some((begin, end - begin))
    }

    /// The first name that stands twice. Few members are compared with each other; many would make that quadratic.
    fn repeated(&self) -> Option<&str> {
        const FEW: usize = 24;
        let name = |index: usize| self.name(&self.members[index]);
        if self.members.len() <= FEW {
            let is_among =
                |before: usize, name| self.members[..before].iter().any(|member| self.is_called(member, name));
            return (1..self.members.len()).find(|at| is_among(*at, name(*at))).map(name);
        }
        let mut names = HashSet::with_capacity(self.members.len());
        (0..self.members.len()).map(name).find(|name| !names.insert(*name))
    }
}

/// A value as JSON; what `to_string` gives too, which is slower.
fn written(value: &Value) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| value.to_string())
}

/// Where a slice of the text begins.
fn offset(text: &str, slice: &str) -> usize {
    slice.as_ptr() as usize - text.as_ptr() as usize
}

/// `{"a":1,}` and `{,"a":1}` can come of adding to an emptied object or removing the first members.
fn close_comma(out: &mut String) {
    let Some(end) = out.rfind('}') else { return };
    let inside = out[..end].trim_end();
    if inside.ends_with(',') {
        let at = inside.len() - 1;
        out.replace_range(at..=at, "");
    }
    let Some(begin) = out.find('{') else { return };
    let rest = &out[begin + 1..];
    let blanks = rest.len() - rest.trim_start().len();
    if rest[blanks..].starts_with(',') {
        out.replace_range(begin + 1 + blanks..begin + 2 + blanks, "");
    }
}

/// Finds the members of the object that this text holds, and reads one of them.
struct Members<'t, T> {
    text: &'t str,
    taken: Option<&'t str>,
    of: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<'_, T> {
    type Value = (Vec<Member>, Option<T>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let place = |slice: &str| {
            let at = offset(self.text, slice);
            at..at + slice.len()
        };
        let (mut members, mut read) = (Vec::with_capacity(16), None);
        while let Some(Text(name)) = map.next_key()? {
            if self.taken == Some(&*name) {
                if read.replace(map.next_value()?).is_some() {
                    return Err(serde::de::Error::custom("it stands twice"));
                }
                continue;
            }
            let name = match name {
                Cow::Borrowed(name) => Name::At(place(name)),
                Cow::Owned(name) => Name::Unescaped(name),
            };
            members.push(Member { name, value: place(map.next_value::<&'de RawValue>()?.get()) });
        }
        Ok((members, read))
    }
}

/// A name as it is read: borrowed where it holds no escapes. (`Cow` alone would always copy.)
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyText;
        impl<'de> Visitor<'de> for AnyText {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(AnyText)
    }
}

#[cfg(test)]
mod tests;
