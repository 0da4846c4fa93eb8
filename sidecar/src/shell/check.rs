//! The blocks of a file, each tried alone in the shells that read it. What else is in the file is not judged.

use std::path::{Path, PathBuf};

use super::block::{Content, Found, find};
use super::file::{FileProblem, Seen};
use super::trial::{Fault, Interpreter};

/// What came out for one file.
#[derive(Debug)]
pub struct Checked {
    /// Which.
    pub file: PathBuf,
    /// Its blocks, from top to bottom.
    pub blocks: Vec<Examined>,
}

/// A block, or a marker that stands alone.
#[derive(Debug)]
pub struct Examined {
    /// Its first line, from 1.
    pub line: usize,
    /// What it is, in a few words.
    pub what: String,
    /// It has both markers.
    pub is_whole: bool,
    /// What each shell makes of it; `None` where it is not installed.
    pub verdicts: Vec<(Interpreter, Option<Result<(), Fault>>)>,
}

impl Checked {
    /// Whether a shell would have trouble.
    #[must_use]
    pub fn has_fault(&self) -> bool {
        self.blocks
            .iter()
            .any(|block| !block.is_whole || block.verdicts.iter().any(|(_, verdict)| matches!(verdict, Some(Err(_)))))
    }
}

/// Tries the blocks of a file in these shells; `None`: in those that its name stands for.
///
/// # Errors
/// When the file cannot be read.
pub fn check(file: &Path, interpreters: Option<&[Interpreter]>) -> Result<Checked, FileProblem> {
    let seen = Seen::read(file)?;
    if seen.before.is_none() {
        return Err(FileProblem::NoFile(file.to_owned()));
    }
    let text = seen.text();
    let interpreters = interpreters.unwrap_or_else(|| Interpreter::readers(file));
    let examine = |found: &Found| {
        let what = match &found.content {
            None => "a marker without its other half".to_owned(),
            Some(Content::Intact(_)) => "as it was written".to_owned(),
            Some(Content::Edited(_)) => "edited since it was written".to_owned(),
            Some(Content::Handwritten) => "written by hand".to_owned(),
            Some(Content::Newer(version)) => format!("of version {version}, newer than this program"),
        };
        let is_whole = found.content.is_some();
        // With the file's own line ends: the shell reads those too.
        let body = found.lines(text);
        let verdict = |one: &Interpreter| (*one, one.program().map(|program| one.try_block(&program, body)));
        let verdicts = if is_whole { interpreters.iter().map(verdict).collect() } else { Vec::new() };
        Examined { line: found.line, what, is_whole, verdicts }
    };
    Ok(Checked { file: file.to_owned(), blocks: find(text).iter().map(examine).collect() })
}
