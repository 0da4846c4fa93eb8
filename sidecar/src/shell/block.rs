//! The block in an rc file: its form, and the blocks that a file holds.
//!
//! ```text
//! # >>> fleetgate >>> v1 5a3c9f10 no-eol -- kept by 'fleetgate shell'
//! if [ -r … ]; then . …; fi #
//! # <<< fleetgate <<<
//! ```
//!
//! The opening line says the version, a CRC-32 of everything else in the block, and what must be undone with it. Line ends do not count, so that
//! a repository which converts them edits nothing.

use std::ops::Range;

use super::dialect::Shell;

/// How every opening line begins, also those that a person wrote.
const OPENING: &str = "# >>> fleetgate >>>";
const CLOSING: &str = "# <<< fleetgate <<<";
const TAIL: &str = " -- kept by 'fleetgate shell'";
/// The version that this program writes.
pub const VERSION: u32 = 1;
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// What was done to the file for the block's sake.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Notes {
    /// The last line had no end, and got one.
    pub(super) ended_line: bool,
    /// An empty line was put before the block: the line above it ends in a backslash, which would have swallowed the marker.
    pub(super) gap: bool,
    /// There was no file.
    pub(super) new_file: bool,
    /// So many directories were made for it.
    pub(super) new_directories: u8,
}

impl Notes {
    fn words(self) -> String {
        let mut words = String::new();
        for (is_set, word) in [(self.ended_line, " no-eol"), (self.gap, " gap"), (self.new_file, " new-file")] {
            words += if is_set { word } else { "" };
        }
        if self.new_directories > 0 {
            words += &format!(" new-directories={}", self.new_directories);
        }
        words
    }

    fn parse(words: &str) -> Option<Self> {
        let mut notes = Self::default();
        for word in words.split_ascii_whitespace() {
            match word {
                "no-eol" => notes.ended_line = true,
                "gap" => notes.gap = true,
                "new-file" => notes.new_file = true,
                _ => notes.new_directories = word.strip_prefix("new-directories=")?.parse().ok()?,
            }
        }
        Some(notes)
    }
}

/// An intact block of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) notes: Notes,
    /// Without line ends' carriage returns; each line ends in `\n`.
    body: Vec<u8>,
}

impl Block {
    pub(super) fn new(shell: Shell, notes: Notes) -> Self {
        Self { notes, body: format!("{}\n", shell.line()).into_bytes() }
    }

    /// Whether it holds what this program would write.
    pub(super) fn is_current(&self, shell: Shell) -> bool {
        self.body == Self::new(shell, self.notes).body
    }

    pub(super) fn render(&self, line_end: LineEnd) -> Vec<u8> {
        let mut text = self.opening().into_bytes();
        text.push(b'\n');
        text.extend_from_slice(&self.body);
        text.extend_from_slice(CLOSING.as_bytes());
        text.push(b'\n');
        match line_end {
            LineEnd::Lf => text,
            LineEnd::CrLf => text.split_inclusive(|byte| *byte == b'\n').flat_map(with_carriage_return).collect(),
        }
    }

    fn opening(&self) -> String {
        let words = self.notes.words();
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(format!("v{VERSION}{words}\n").as_bytes());
        hasher.update(&self.body);
        format!("{OPENING} v{VERSION} {:08x}{words}{TAIL}", hasher.finalize())
    }
}

fn with_carriage_return(line: &[u8]) -> impl Iterator<Item = u8> {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    text.iter().copied().chain(*b"\r\n")
}

/// How lines end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineEnd {
    Lf,
    CrLf,
}

impl LineEnd {
    /// That of the text's last ended line.
    pub(super) fn of(text: &[u8]) -> Self {
        let last = text.iter().rposition(|byte| *byte == b'\n');
        let is_crlf = last.is_some_and(|at| at > 0 && text[at - 1] == b'\r');
        if is_crlf { Self::CrLf } else { Self::Lf }
    }

    pub(super) fn bytes(self) -> &'static [u8] {
        match self {
            Self::Lf => b"\n",
            Self::CrLf => b"\r\n",
        }
    }
}

/// What stands between two markers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// Ours, as it was written.
    Intact(Block),
    /// Ours, and changed since. What its opening line still says was done for it, if it says so.
    Edited(Notes),
    /// Markers without a checksum: somebody wrote them by hand.
    Handwritten,
    /// Of a version that this program does not know.
    Newer(u32),
}

/// A piece of the file that is, or was, a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Its bytes, with the last line's end.
    pub(super) range: Range<usize>,
    /// Its first line, from 1.
    pub(super) line: usize,
    /// `None`: one marker without the other.
    pub(super) content: Option<Content>,
}

impl Found {
    /// All of it, as it stands in the file.
    pub(super) fn lines<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.range.clone()]
    }

    /// What is between the markers, with LF as line ends.
    pub(super) fn body(&self, text: &[u8]) -> Vec<u8> {
        let mut lines = lines(&text[self.range.clone()]);
        lines.pop();
        lines.into_iter().skip(1).flat_map(|line| [trim_end(line), b"\n"].concat()).collect()
    }
}

/// Every block and every marker that stands alone, from top to bottom.
pub(super) fn find(text: &[u8]) -> Vec<Found> {
    let mut found = Vec::new();
    let mut open: Option<(usize, Range<usize>)> = None;
    let mut at = if text.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    for (index, line) in lines(&text[at..]).into_iter().enumerate() {
        let range = at..at + line.len();
        at = range.end;
        let is = |marker: &str| line.trim_ascii().starts_with(marker.as_bytes());
        if is(OPENING) {
            found.extend(open.replace((index + 1, range)).map(alone));
        } else if is(CLOSING) {
            found.push(match open.take() {
                Some((line, opening)) => {
                    let range = opening.start..range.end;
                    let content = Some(judge(&text[range.clone()]));
                    Found { range, line, content }
                }
                None => alone((index + 1, range)),
            });
        }
    }
    found.extend(open.map(alone));
    found
}

fn alone((line, range): (usize, Range<usize>)) -> Found {
    Found { range, line, content: None }
}

fn lines(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').collect()
}

/// Without the line's end.
fn trim_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn judge(text: &[u8]) -> Content {
    let all = lines(text);
    let opening = all.first().map(|line| trim_end(line)).unwrap_or_default();
    let Some(rest) = std::str::from_utf8(opening).ok().and_then(|line| line.trim_start().strip_prefix(OPENING)) else {
        return Content::Edited(Notes::default());
    };
    let mut words = rest.split_ascii_whitespace();
    let version = match words.next().map(|word| word.strip_prefix('v').unwrap_or_default().parse::<u32>()) {
        None => return Content::Handwritten,
        Some(Err(_)) => return Content::Edited(Notes::default()),
        Some(Ok(version)) => version,
    };
    if version > VERSION {
        return Content::Newer(version);
    }
    let words = rest.strip_suffix(TAIL).unwrap_or_default();
    let notes = words.split_ascii_whitespace().skip(2).collect::<Vec<_>>().join(" ");
    let Some(notes) = Notes::parse(&notes) else { return Content::Edited(Notes::default()) };
    let body = Found { range: 0..text.len(), line: 1, content: None }.body(text);
    let block = Block { notes, body };
    // The checksum is part of the rendered line, so this compares everything.
    let same = block.render(LineEnd::Lf);
    let is_same = lines(&same).into_iter().map(trim_end).eq(all.into_iter().map(trim_end));
    if is_same { Content::Intact(block) } else { Content::Edited(notes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of this form are in people's files: what changes here must still be taken out there.
    #[test]
    fn the_form_is_as_it_was() {
        let notes = Notes { new_file: true, ..Notes::default() };
        for (shell, golden) in [
            (Shell::Bash, include_str!("block.sh.golden")),
            (Shell::Zsh, include_str!("block.sh.golden")),
            (Shell::Sh, include_str!("block.sh.golden")),
            (Shell::Fish, include_str!("block.fish.golden")),
        ] {
            let block = Block::new(shell, notes);
            assert_eq!(String::from_utf8_lossy(&block.render(LineEnd::Lf)), golden);
            let found = find(golden.as_bytes());
            assert_eq!(found[0].content, Some(Content::Intact(block)));
        }
    }

    #[test]
    fn what_was_done_for_it_is_read_back() {
        for bits in 0..16_u8 {
            let is = |bit: u8| bits & bit != 0;
            let notes =
                Notes { ended_line: is(1), gap: is(2), new_file: is(4), new_directories: if is(8) { 2 } else { 0 } };
            let block = Block::new(Shell::Bash, notes);
            for line_end in [LineEnd::Lf, LineEnd::CrLf] {
                let found = find(&block.render(line_end));
                assert_eq!(found[0].content, Some(Content::Intact(block.clone())), "{notes:?}");
            }
        }
    }
}
