//! A row of the table as both databases have it, whatever wrote it.

use crate::ledger::query::tags;
use crate::ledger::record::{Provenance, Record};

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ledger) enum Kind {
    Text,
    Number,
}

/// A column's value; unknown where it is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ledger) enum Cell {
    Text(Option<String>),
    Number(Option<i64>),
}

impl Cell {
    pub(in crate::ledger) fn text(&self) -> Option<String> {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(_) => None,
        }
    }

    pub(in crate::ledger) fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => *number,
            Self::Text(_) => None,
        }
    }
}

/// One row, its cells in the order of [`COLUMNS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ledger) struct Line(pub(in crate::ledger) Vec<Cell>);

use Kind::{Number, Text};

/// Every column of the table.
pub(in crate::ledger) const COLUMNS: [(&str, Kind); 49] = [
    ("id", Text),
    ("kind", Text),
    ("host", Text),
    ("host_source", Text),
    ("workload", Text),
    ("key_alias", Text),
    ("key_hash", Text),
    ("user_id", Text),
    ("team_id", Text),
    ("customer", Text),
    ("tags", Text),
    ("endpoint", Text),
    ("model_requested", Text),
    ("model", Text),
    ("provider", Text),
    ("deployment_id", Text),
    ("status", Text),
    ("http_status", Number),
    ("error", Text),
    ("usage", Text),
    ("input_tokens", Number),
    ("cache_read_tokens", Number),
    ("cache_write_tokens", Number),
    ("output_tokens", Number),
    ("reasoning_tokens", Number),
    ("cost_nanousd", Number),
    ("reserved_nanousd", Number),
    ("cost_before_nanousd", Number),
    ("repriced_at", Number),
    ("usage_source", Text),
    ("price_source", Text),
    ("price_name", Text),
    ("service_tier", Text),
    ("started_at", Number),
    ("first_byte_at", Number),
    ("ended_at", Number),
    ("user_agent", Text),
    ("upstream_id", Text),
    ("destination", Text),
    ("bytes_up", Number),
    ("bytes_down", Number),
    ("gateway", Text),
    ("process", Text),
    ("os_user", Text),
    ("marks", Text),
    ("host_seen", Text),
    ("sighting", Text),
    ("address", Text),
    ("next_proxy", Text),
];

impl Line {
    /// Reads the cells of a row, each by its name.
    pub(in crate::ledger) fn read<E>(
        text: impl Fn(&str) -> Result<Option<String>, E>,
        number: impl Fn(&str) -> Result<Option<i64>, E>,
    ) -> Result<Self, E> {
        let cell = |(name, kind): &(&str, Kind)| match kind {
            Text => text(name).map(Cell::Text),
            Number => number(name).map(Cell::Number),
        };
        COLUMNS.iter().map(cell).collect::<Result<_, _>>().map(Self)
    }

    pub(in crate::ledger) fn id(&self) -> &str {
        self.text("id").unwrap_or_default()
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.cell(name).and_then(|cell| match cell {
            Cell::Text(text) => text.as_deref(),
            Cell::Number(_) => None,
        })
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.cell(name).and_then(Cell::number)
    }

    fn cell(&self, name: &str) -> Option<&Cell> {
        let place = COLUMNS.iter().position(|(column, _)| *column == name)?;
        self.0.get(place)
    }

    /// Shows what the sums need of the row.
    pub(in crate::ledger) fn with_record<R>(&self, show: impl FnOnce(&Record<'_>) -> R) -> R {
        let tags = tags(self.text("tags"));
        let text = |name| self.text(name).unwrap_or_default();
        show(&Record {
            id: 0,
            kind: text("kind"),
            host: text("host"),
            host_source: "",
            workload: text("workload"),
            key_alias: "",
            key_hash: text("key_hash"),
            user_id: self.text("user_id"),
            team_id: self.text("team_id"),
            customer: self.text("customer"),
            tags: tags.iter().map(String::as_str).collect(),
            endpoint: "",
            model_requested: text("model_requested"),
            model: "",
            provider: text("provider"),
            deployment_id: text("deployment_id"),
            status: "",
            http_status: None,
            error: None,
            usage: None,
            input_tokens: None,
            cache_read_tokens: None,
            cache_write_tokens: None,
            output_tokens: None,
            reasoning_tokens: None,
            cost_nanousd: self.number("cost_nanousd"),
            reserved_nanousd: self.number("reserved_nanousd"),
            usage_source: "",
            price_source: "",
            price_name: None,
            service_tier: None,
            started_at: self.number("started_at").unwrap_or_default(),
            first_byte_at: None,
            ended_at: 0,
            user_agent: None,
            upstream_id: None,
            destination: None,
            bytes_up: None,
            bytes_down: None,
            provenance: Provenance {
                process: self.text("process"),
                sighting: self.text("sighting"),
                ..Provenance::default()
            },
            address: None,
            next_proxy: None,
        })
    }
}
