//! Printing settings as aligned columns or JSON.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::Show;
use crate::config::{RunningSetting, Setting};

/// One printed setting.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(super) struct Row {
    path: String,
    value: String,
    origin: String,
    /// What the file says by now, when the process has something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    file_now_says: Option<String>,
}

/// What would be loaded.
pub(super) fn rows_of(settings: &[Setting]) -> Vec<Row> {
    settings.iter().map(RunningSetting::from).map(|setting| row(setting, None)).collect()
}

fn row(RunningSetting { path, value, origin }: RunningSetting, file_now_says: Option<String>) -> Row {
    Row { path, value, origin, file_now_says }
}

/// The process's settings against those of the file. A path may have several values, such as listen addresses.
pub(super) fn compare(running: Vec<RunningSetting>, file: &[Row]) -> Vec<Row> {
    let mut in_file: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for row in file {
        in_file.entry(&row.path).or_default().push(&row.value);
    }
    let mut rows = Vec::new();
    for setting in running {
        let says = in_file.get_mut(setting.path.as_str()).and_then(|values| {
            let same = values.iter().position(|value| *value == setting.value).unwrap_or(0);
            (!values.is_empty()).then(|| values.remove(same).to_owned())
        });
        let difference = match says {
            Some(value) if value == setting.value => None,
            Some(value) => Some(value),
            None => Some("nothing".to_owned()),
        };
        rows.push(row(setting, difference));
    }
    for unseen in file {
        if let Some(at) =
            in_file.get(unseen.path.as_str()).and_then(|rest| rest.iter().position(|v| *v == unseen.value))
        {
            in_file.entry(&unseen.path).or_default().remove(at);
            let absent = Row { value: "-".to_owned(), file_now_says: Some(unseen.value.clone()), ..unseen.clone() };
            rows.push(absent);
        }
    }
    rows
}

/// Prints rows as the operator wants them.
pub(super) fn print(rows: &[Row], show: &Show, out: &mut dyn Write) -> io::Result<()> {
    if show.json {
        let text = serde_json::to_string_pretty(rows).map_err(io::Error::other)?;
        return writeln!(out, "{text}");
    }
    let width = |of: fn(&Row) -> &str| rows.iter().map(|row| of(row).chars().count()).max().unwrap_or(0);
    let (paths, values, origins) = (width(|row| &row.path), width(|row| &row.value).min(60), width(|row| &row.origin));
    for row in rows {
        let origin = if show.origin { row.origin.as_str() } else { "" };
        let origins = if show.origin { origins } else { 0 };
        let mut line = format!("{:paths$}  {:values$}  {origin:origins$}", row.path, row.value);
        if let Some(says) = &row.file_now_says {
            line.push_str(&format!("  # file now says {says}"));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
