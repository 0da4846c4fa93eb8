//! Sums of rows, as the gateway answers them and `fleetgate spend --json` prints them. The names are those of
//! [`Row`](crate::row::Row).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What many calls used and cost. What is not known is counted, and is no part of the known cost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sums {
    /// Attempts at a provider.
    pub calls: u64,
    /// Whole prompts.
    pub input_tokens: u64,
    /// Prompt tokens read from a cache.
    pub cache_read_tokens: u64,
    /// Prompt tokens written to a cache.
    pub cache_write_tokens: u64,
    /// Everything produced.
    pub output_tokens: u64,
    /// Produced tokens that were reasoning.
    pub reasoning_tokens: u64,
    /// The known cost in nano-dollars.
    pub cost_nanousd: i64,
    /// Calls whose tokens are known and whose price is not.
    pub unpriced_calls: u64,
    /// Calls whose tokens nobody counted, so that no price could help.
    pub uncounted_calls: u64,
    /// Calls whose cost is known from tokens that were estimated, at least in part.
    pub estimated_calls: u64,
    /// Calls that the gateway's death cut off: nobody knows what they cost.
    pub interrupted_calls: u64,
    /// What the budgets held for interrupted calls, in nano-dollars: what they cost at most.
    pub interrupted_reserved_nanousd: i64,
}

/// The sums of the rows that agree in some columns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Group {
    /// Their sums.
    #[serde(flatten)]
    pub sums: Sums,
    /// The columns that they agree in, with their texts; null where the rows have none.
    #[serde(flatten)]
    pub columns: Map<String, Value>,
}

impl Serialize for Group {
    /// Columns first, as people read them. (The other way round they could not be told apart when they are read.)
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a> {
            #[serde(flatten)]
            columns: &'a Map<String, Value>,
            #[serde(flatten)]
            sums: &'a Sums,
        }
        Shown { columns: &self.columns, sums: &self.sums }.serialize(serializer)
    }
}

/// Calls of one model at one entry that nobody can price.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UnpricedModel {
    /// Whose model.
    pub provider: String,
    /// The model that answered.
    pub model: String,
    /// The model the callers named.
    pub model_requested: String,
    /// `model_info.id` of the entry of `model_list`.
    pub deployment_id: String,
    /// Where that entry stands; `None` when it is gone.
    pub entry: Option<String>,
    /// How many calls.
    pub calls: u64,
    /// Their whole prompts.
    pub input_tokens: u64,
    /// Everything they produced.
    pub output_tokens: u64,
    /// When the newest began: RFC 3339 in UTC.
    pub newest: String,
    /// What to do.
    pub advice: String,
}

/// What pricing old rows anew changed, or would change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Repriced {
    /// Nothing was changed, only calculated.
    pub dry_run: bool,
    /// Rows that were looked at: those with tokens, whose price no provider reported.
    pub rows: u64,
    /// Rows whose cost changed.
    pub changed: u64,
    /// Of these, rows that had no price before.
    pub newly_priced: u64,
    /// The known cost of the changed rows before, in nano-dollars.
    pub before_nanousd: i64,
    /// Their cost now, in nano-dollars.
    pub after_nanousd: i64,
    /// Rows that have no price to this day.
    pub unpriced: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_reads_back_with_its_columns_before_its_sums() {
        let columns = Map::from_iter([("host".to_owned(), "mac".into()), ("team".to_owned(), Value::Null)]);
        let group = Group { columns, sums: Sums { calls: 3, cost_nanousd: -1, ..Sums::default() } };
        let text = serde_json::to_string(&group).unwrap();
        assert!(text.starts_with(r#"{"host":"mac","team":null,"calls":3,"#), "{text}");
        assert_eq!(serde_json::from_str::<Group>(&text).unwrap(), group);
    }
}
