//! What rows can be grouped by.

/// What rows are grouped by. Its word is the name of the column in an answer, but for a key, which has two, and a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dimension {
    /// The machine.
    Host,
    /// The program.
    Workload,
    /// The key that paid, by name and hash.
    Key,
    /// The key's user.
    User,
    /// The key's team.
    Team,
    /// The end user that the caller named.
    Customer,
    /// Each of the caller's tags: a call with two of them stands in two groups.
    Tag,
    /// The model that answered.
    Model,
    /// The model that the caller named.
    ModelRequested,
    /// Who answered.
    Provider,
    /// The entry of `model_list`.
    Deployment,
    /// The API.
    Endpoint,
    /// How the call ended.
    Status,
    /// Where the price came from.
    PriceSource,
    /// The hour in which the call began, in UTC.
    Hour,
    /// The day, in UTC.
    Day,
    /// The month, in UTC.
    Month,
}

const WORDS: [(&str, Dimension); 17] = [
    ("host", Dimension::Host),
    ("workload", Dimension::Workload),
    ("key", Dimension::Key),
    ("user", Dimension::User),
    ("team", Dimension::Team),
    ("customer", Dimension::Customer),
    ("tag", Dimension::Tag),
    ("model", Dimension::Model),
    ("model_requested", Dimension::ModelRequested),
    ("provider", Dimension::Provider),
    ("deployment", Dimension::Deployment),
    ("endpoint", Dimension::Endpoint),
    ("status", Dimension::Status),
    ("price_source", Dimension::PriceSource),
    ("hour", Dimension::Hour),
    ("day", Dimension::Day),
    ("month", Dimension::Month),
];

/// A word that names none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("spend cannot be grouped by {0:?}; there are {words}", words = WORDS.map(|(word, _)| word).join(", "))]
pub struct DimensionError(String);

impl Dimension {
    /// Reads its word.
    ///
    /// # Errors
    /// When it names none.
    pub fn parse(word: &str) -> Result<Self, DimensionError> {
        let found = WORDS.iter().find(|(known, _)| *known == word);
        found.map(|(_, dimension)| *dimension).ok_or_else(|| DimensionError(word.to_owned()))
    }

    /// The names of its columns in an answer.
    pub(super) fn columns(self) -> Vec<&'static str> {
        match self {
            Self::Key => vec!["key_alias", "key_hash"],
            Self::Deployment => vec!["deployment_id"],
            _ => WORDS.iter().filter(|(_, known)| *known == self).map(|(word, _)| *word).collect(),
        }
    }

    /// Whether it is a part of time.
    pub(super) fn is_time(self) -> bool {
        matches!(self, Self::Hour | Self::Day | Self::Month)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dimension_has_a_word_and_a_column() {
        for (word, dimension) in WORDS {
            assert_eq!(Dimension::parse(word), Ok(dimension));
            assert!(!dimension.columns().is_empty(), "{word}");
        }
        let error = Dimension::parse("colour").unwrap_err().to_string();
        assert!(error.contains("\"colour\"") && error.contains("workload"), "{error}");
    }
}
