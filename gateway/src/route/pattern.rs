//! Wildcards in model names: `openrouter/*` and what its star caught.

/// A public name with at least one star.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    text: String,
}

impl Pattern {
    /// Takes a name that holds a star.
    pub(super) fn new(text: &str) -> Option<Self> {
        text.contains('*').then(|| Self { text: text.to_owned() })
    }

    /// The texts that the stars stand for. Each but the last is as short as possible; the whole name must be used up.
    pub(super) fn captures<'n>(&self, name: &'n str) -> Option<Vec<&'n str>> {
        let mut pieces = self.text.split('*');
        let mut rest = name.strip_prefix(pieces.next()?)?;
        let pieces: Vec<&str> = pieces.collect();
        let (last, middle) = pieces.split_last()?;
        let mut caught = Vec::with_capacity(pieces.len());
        for piece in middle {
            let at = rest.find(piece)?;
            caught.push(&rest[..at]);
            rest = &rest[at + piece.len()..];
        }
        caught.push(rest.strip_suffix(last)?);
        Some(caught)
    }

    /// Longest first, then the one with more stars: LiteLLM's order.
    pub(super) fn rank(&self) -> (usize, usize) {
        (self.text.len(), self.text.matches('*').count())
    }
}

/// Fills the stars of an upstream model with what was caught. Without stars it is used as it is; with more catches than stars
/// the raw name is used (both as LiteLLM does).
pub(super) fn fill(model: &str, captures: &[&str], name: &str) -> String {
    let stars = model.matches('*').count();
    if stars == 0 {
        return model.to_owned();
    }
    if captures.len() > stars {
        return name.to_owned();
    }
    let mut pieces = model.split('*');
    let mut filled = pieces.next().unwrap_or_default().to_owned();
    for (index, piece) in pieces.enumerate() {
        filled.push_str(captures.get(index).copied().unwrap_or_default());
        filled.push_str(piece);
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_star_catches_fills_the_upstream_name() {
        let pattern = Pattern::new("openrouter/*").unwrap();
        let caught = pattern.captures("openrouter/anthropic/claude-sonnet-4.5").unwrap();
        assert_eq!(caught, ["anthropic/claude-sonnet-4.5"]);
        assert_eq!(fill("openrouter/*", &caught, "x"), "openrouter/anthropic/claude-sonnet-4.5");
        assert_eq!(fill("openrouter/fixed", &caught, "x"), "openrouter/fixed");
        assert!(pattern.captures("openrouterX/y").is_none());
    }

    #[test]
    fn several_stars_are_filled_in_order() {
        let pattern = Pattern::new("*/v-*").unwrap();
        let caught = pattern.captures("vendor/v-9").unwrap();
        assert_eq!(caught, ["vendor", "9"]);
        assert_eq!(fill("a/*/b/*", &caught, "x"), "a/vendor/b/9");
        assert_eq!(fill("one/*", &caught, "vendor/v-9"), "vendor/v-9");
        assert!(Pattern::new("plain").is_none());
        assert!(Pattern::new("ab*ba").unwrap().captures("aba").is_none());
    }
}
