//! What installing and uninstalling change in the bytes of a file. Nothing here touches a file.

use std::ops::Range;

use super::block::{Block, Content, Found, LineEnd, Notes, find};
use super::dialect::Shell;

/// One place that changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) range: Range<usize>,
    pub(super) with: Vec<u8>,
}

/// How a file stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// No block.
    Absent,
    /// The block of this version.
    Current,
    /// An intact block with other content: of an older version.
    Outdated,
    /// A block of a newer version than this program knows.
    Newer {
        /// That version.
        version: u32,
    },
    /// A block of ours that somebody changed.
    Edited,
    /// Our markers without a checksum.
    Handwritten,
    /// More than one block.
    Doubled {
        /// How many.
        count: usize,
    },
    /// One marker without the other.
    Half,
}

impl Standing {
    /// One word for JSON and tables.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Current => "current",
            Self::Outdated => "outdated",
            Self::Newer { .. } => "newer",
            Self::Edited => "edited",
            Self::Handwritten => "handwritten",
            Self::Doubled { .. } => "doubled",
            Self::Half => "half",
        }
    }

    /// Whether somebody has to look before anything can be done.
    #[must_use]
    pub fn is_refused(self) -> bool {
        !matches!(self, Self::Absent | Self::Current | Self::Outdated)
    }
}

/// A file's bytes, judged.
#[derive(Debug)]
pub(super) struct Judged<'a> {
    text: &'a [u8],
    shell: Shell,
    found: Vec<Found>,
    pub(super) standing: Standing,
}

impl<'a> Judged<'a> {
    pub(super) fn new(text: &'a [u8], shell: Shell) -> Self {
        let found = find(text);
        let standing = match found.as_slice() {
            [] => Standing::Absent,
            all if all.iter().any(|one| one.content.is_none()) => Standing::Half,
            [one] => match &one.content {
                Some(Content::Intact(block)) if block.is_current(shell) => Standing::Current,
                Some(Content::Intact(_)) => Standing::Outdated,
                Some(Content::Newer(version)) => Standing::Newer { version: *version },
                Some(Content::Handwritten) => Standing::Handwritten,
                Some(Content::Edited(_)) | None => Standing::Edited,
            },
            all => Standing::Doubled { count: all.len() },
        };
        Self { text, shell, found, standing }
    }

    /// The first line that matters, from 1.
    pub(super) fn line(&self) -> Option<usize> {
        let half = self.found.iter().find(|one| one.content.is_none());
        half.or(self.found.first()).map(|one| one.line)
    }

    /// What would bring the file into order: what `install` does, and what a refusal shows.
    pub(super) fn put_in_order(&self, created: Notes) -> Vec<Change> {
        if self.standing == Standing::Absent {
            return vec![self.append(created)];
        }
        // The first whole block stays where it is; what else there is goes.
        let keep = self.found.iter().position(|one| one.content.is_some());
        let mut changes: Vec<Change> = Vec::new();
        for (index, one) in self.found.iter().enumerate() {
            let with = if Some(index) == keep { self.renewed(one) } else { Vec::new() };
            if self.text[one.range.clone()] != with {
                changes.push(Change { range: one.range.clone(), with });
            }
        }
        changes
    }

    fn renewed(&self, one: &Found) -> Vec<u8> {
        let old = &self.text[one.range.clone()];
        let notes = match &one.content {
            Some(Content::Intact(block)) if block.is_current(self.shell) => return old.to_vec(),
            Some(Content::Newer(_)) => return old.to_vec(),
            Some(Content::Intact(block)) => block.notes,
            Some(Content::Edited(notes)) => *notes,
            _ => Notes::default(),
        };
        Block::new(self.shell, notes).render(LineEnd::of(old))
    }

    fn append(&self, created: Notes) -> Change {
        let line_end = LineEnd::of(self.text);
        let without_end = self.text.strip_suffix(b"\n").unwrap_or(self.text);
        let backslashes = without_end.iter().rev().take_while(|byte| **byte == b'\\').count();
        let notes = Notes {
            ended_line: !self.text.is_empty() && !self.text.ends_with(b"\n"),
            gap: backslashes % 2 == 1,
            ..created
        };
        // A line that gets an end is a line that changes.
        let start = match notes.ended_line {
            true => self.text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1),
            false => self.text.len(),
        };
        let mut with = self.text[start..].to_vec();
        for is_set in [notes.ended_line, notes.gap] {
            with.extend_from_slice(if is_set { line_end.bytes() } else { b"" });
        }
        with.extend(Block::new(self.shell, notes).render(line_end));
        Change { range: start..self.text.len(), with }
    }

    /// What takes the block out; `None` where there is none that may be taken.
    pub(super) fn take_out(&self) -> Option<(Change, Notes)> {
        let [Found { range, content: Some(Content::Intact(block)), .. }] = self.found.as_slice() else { return None };
        let line_end = LineEnd::of(&self.text[range.clone()]).bytes();
        let mut start = range.start;
        let before = |start: usize| self.text[..start].strip_suffix(line_end);
        if block.notes.gap && before(start).is_some_and(|rest| rest.ends_with(b"\n")) {
            start -= line_end.len();
        }
        // Whoever wrote on below the block has ended the line above it.
        if block.notes.ended_line && range.end == self.text.len() && before(start).is_some() {
            start -= line_end.len();
        }
        // For a diff that says what happens: a line that loses its end is a line that changes.
        let line = match start < range.start && !self.text[..start].ends_with(b"\n") {
            true => self.text[..start].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1),
            false => start,
        };
        Some((Change { range: line..range.end, with: self.text[line..start].to_vec() }, block.notes))
    }
}

/// The text with its changes, which come in order and do not overlap.
pub(super) fn apply(text: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut result = Vec::with_capacity(text.len());
    let mut at = 0;
    for change in changes {
        result.extend_from_slice(&text[at..change.range.start]);
        result.extend_from_slice(&change.with);
        at = change.range.end;
    }
    result.extend_from_slice(&text[at..]);
    result
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn install(text: &[u8], shell: Shell) -> Vec<u8> {
        let judged = Judged::new(text, shell);
        assert!(!judged.standing.is_refused(), "{:?}", judged.standing);
        apply(text, &judged.put_in_order(Notes::default()))
    }

    fn uninstall(text: &[u8], shell: Shell) -> Vec<u8> {
        let (change, _) = Judged::new(text, shell).take_out().expect("an intact block");
        apply(text, &[change])
    }

    fn standing(text: &[u8]) -> Standing {
        Judged::new(text, Shell::Bash).standing
    }

    const ODD: [&[u8]; 16] = [
        b"",
        b"\n",
        b"a",
        b"a\n",
        b"a\r\n",
        b"a\r\nb",
        b"a\nb\r",
        b"a\r\nb\r",
        b"a\r\nb\n",
        b"\\",
        b"a\\\n",
        b"a\\\r\n",
        b"a\\\\\n",
        b"\xEF\xBB\xBF",
        b"\0\n\0",
        b"\xe4\n\n\n",
    ];

    #[test]
    fn taking_out_restores_every_odd_file() {
        for shell in Shell::ALL {
            for text in ODD {
                let with = install(text, shell);
                assert_eq!(uninstall(&with, shell), text, "{text:?}");
                assert_eq!(install(&with, shell), with, "a second time changes nothing");
            }
        }
    }

    proptest! {
        #[test]
        fn taking_out_restores_any_bytes(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(uninstall(&install(&text, Shell::Bash), Shell::Bash), text);
        }

        #[test]
        fn taking_out_restores_any_lines(text in "([a\\\\#\r\n \u{feff}]|\r\n){0,30}") {
            for shell in [Shell::Zsh, Shell::Fish] {
                prop_assert_eq!(uninstall(&install(text.as_bytes(), shell), shell), text.as_bytes());
            }
        }

        #[test]
        fn what_was_written_around_the_block_stays(before in "([a\r\n ]|\r\n){0,20}", above in "[b\n]{0,9}", below in "[c\n]{1,9}") {
            let with = install(before.as_bytes(), Shell::Bash);
            let more = [format!("{above}\n").as_bytes(), &with, below.as_bytes()].concat();
            let ended = if before.is_empty() || before.ends_with('\n') { "" } else { std::str::from_utf8(LineEnd::of(before.as_bytes()).bytes()).expect("ASCII") };
            prop_assert_eq!(uninstall(&more, Shell::Bash), format!("{above}\n{before}{ended}{below}").into_bytes());
        }

        #[test]
        fn any_bytes_are_judged(text in proptest::collection::vec(prop_oneof![
            Just("# >>> fleetgate >>>".to_owned()), Just("# <<< fleetgate <<<\n".to_owned()), Just(" v1 00000000".to_owned()),
            Just(" v9".to_owned()), Just("\n".to_owned()), Just("\r\n".to_owned()), "[ -~]{0,4}"], 0..12)) {
            let text = text.concat();
            let judged = Judged::new(text.as_bytes(), Shell::Sh);
            let ordered = apply(text.as_bytes(), &judged.put_in_order(Notes::default()));
            if !matches!(judged.standing, Standing::Newer { .. } | Standing::Half | Standing::Doubled { .. }) {
                prop_assert_eq!(standing(&ordered), Standing::Current);
            }
        }
    }

    #[test]
    fn every_edit_of_the_block_is_seen() {
        let with = install(b"export A=1\n", Shell::Bash);
        let block = find(&with)[0].range.clone();
        for at in block.filter(|at| !with[*at..].starts_with(b"\n")) {
            let mut edited = with.clone();
            edited[at] = edited[at].wrapping_add(1);
            assert_ne!(standing(&edited), Standing::Current, "byte {at}");
            assert!(Judged::new(&edited, Shell::Bash).take_out().is_none(), "byte {at}");
        }
        let crlf: Vec<u8> =
            with.iter().flat_map(|byte| if *byte == b'\n' { b"\r\n".to_vec() } else { vec![*byte] }).collect();
        assert_eq!(standing(&crlf), Standing::Current, "line ends do not count");
    }

    #[test]
    fn each_kind_of_trouble_has_its_name() {
        let one = install(b"", Shell::Bash);
        let text = String::from_utf8(one.clone()).expect("ASCII");
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        assert_eq!(standing(&[one.clone(), one.clone()].concat()), Standing::Doubled { count: 2 });
        assert_eq!(standing(lines[0].as_bytes()), Standing::Half);
        assert_eq!(standing(lines[2].as_bytes()), Standing::Half);
        assert_eq!(standing([lines[0], &text].concat().as_bytes()), Standing::Half);
        assert_eq!(standing(text.replacen(" v1 ", " v7 ", 1).as_bytes()), Standing::Newer { version: 7 });
        assert_eq!(standing(text.replace("fleetgate.sh", "other.sh").as_bytes()), Standing::Edited);
        assert_eq!(standing(b"# >>> fleetgate >>>\n. x\n# <<< fleetgate <<<\n"), Standing::Handwritten);
        assert_eq!(Judged::new(&one, Shell::Fish).standing, Standing::Outdated);
    }
}
