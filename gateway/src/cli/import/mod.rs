//! `import`: another program's settings as ours. Settings go to standard output, what became of each line to standard error.

mod filter;
mod tinyproxy;
mod upstream;

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

use anyhow::Context;

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It means the same here.
    Taken,
    /// It means something else here.
    Changed,
    /// It means nothing here.
    Dropped,
}

impl Fate {
    fn word(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Changed => "changed",
            Self::Dropped => "not taken",
        }
    }
}

/// What became of the lines, in their order.
#[derive(Debug, Default)]
pub(super) struct Notes(String);

impl Notes {
    /// `said` is what stands in the line, without secrets.
    pub(super) fn add(&mut self, place: &str, said: &str, fate: Fate, why: &str) {
        let (gap, fate) = (if why.is_empty() { "" } else { ": " }, fate.word());
        // Writing to a text cannot fail.
        let _infallible = writeln!(self.0, "{place}: {said}: {fate}{gap}{why}");
    }
}

/// Reads tinyproxy's settings and the filter that they name.
///
/// # Errors
/// When one of the files cannot be read, or nobody takes the output.
pub(super) fn tinyproxy(file: &Path, out: &mut impl Write, notes: &mut impl Write) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let read_filter = |path: &Path| std::fs::read_to_string(path).map_err(|error| error.to_string());
    let (settings, said) = tinyproxy::import(&text, &file.display().to_string(), read_filter);
    notes.write_all(said.0.as_bytes())?;
    Ok(out.write_all(settings.as_bytes())?)
}
