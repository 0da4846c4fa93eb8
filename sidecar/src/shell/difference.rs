//! Changes as a unified diff.

use std::ops::Range;

use super::edit::Change;

/// A unified diff without lines around the changes: people keep keys in these files, and this text ends up in logs.
pub(super) fn unified(name: &str, text: &[u8], changes: &[Change], is_new: bool) -> Vec<u8> {
    if changes.is_empty() {
        return Vec::new();
    }
    let old_name = if is_new { "/dev/null" } else { name };
    let mut diff = format!("--- {old_name}\n+++ {name}\n").into_bytes();
    let mut shift = 0;
    for change in changes {
        let (range, with) = whole_lines(text, change);
        let old: Vec<&[u8]> = text[range.clone()].split_inclusive(|byte| *byte == b'\n').collect();
        let new: Vec<&[u8]> = with.split_inclusive(|byte| *byte == b'\n').collect();
        // Of equal lines at both ends nothing is shown.
        let same = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
        let (old, new) = (&old[same..], &new[same..]);
        let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(old, new)| old == new).count();
        let (old, new) = (&old[..old.len() - tail], &new[..new.len() - tail]);
        let first = text[..range.start].iter().filter(|byte| **byte == b'\n').count() + same;
        let header =
            format!("@@ -{} +{} @@\n", span(first, old.len()), span(first.saturating_add_signed(shift), new.len()));
        diff.extend(header.into_bytes());
        old.iter().for_each(|line| write_line(&mut diff, b'-', line));
        new.iter().for_each(|line| write_line(&mut diff, b'+', line));
        shift += isize::try_from(new.len()).unwrap_or(0) - isize::try_from(old.len()).unwrap_or(0);
    }
    diff
}

/// A change that ends within a line, as one that ends with it.
fn whole_lines(text: &[u8], change: &Change) -> (Range<usize>, Vec<u8>) {
    let Range { start, end } = change.range;
    let is_whole =
        end == text.len() || text[..end].ends_with(b"\n") && (change.with.is_empty() || change.with.ends_with(b"\n"));
    if is_whole {
        return (start..end, change.with.clone());
    }
    let line_end = text[end..].iter().position(|byte| *byte == b'\n').map_or(text.len(), |at| end + at + 1);
    (start..line_end, [&change.with, &text[end..line_end]].concat())
}

/// Diffs name the line before an empty range.
fn span(first: usize, count: usize) -> String {
    match count {
        0 => format!("{first},0"),
        1 => format!("{}", first + 1),
        _ => format!("{},{count}", first + 1),
    }
}

fn write_line(diff: &mut Vec<u8>, sign: u8, line: &[u8]) {
    diff.push(sign);
    diff.extend_from_slice(line);
    if !line.ends_with(b"\n") {
        diff.extend_from_slice(b"\n\\ No newline at end of file\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diff(text: &str, changes: &[(Range<usize>, &str)]) -> String {
        let changes: Vec<Change> = changes
            .iter()
            .map(|(range, with)| Change { range: range.clone(), with: with.as_bytes().to_vec() })
            .collect();
        String::from_utf8(unified("f", text.as_bytes(), &changes, false)).expect("UTF-8")
    }

    #[test]
    fn lines_are_numbered_as_patch_expects() {
        assert_eq!(diff("a\nb\n", &[(4..4, "c\nd\n")]), "--- f\n+++ f\n@@ -2,0 +3,2 @@\n+c\n+d\n");
        assert_eq!(
            diff("a\nb", &[(2..3, "b\nc\n")]),
            "--- f\n+++ f\n@@ -2 +2,2 @@\n-b\n\\ No newline at end of file\n+b\n+c\n"
        );
        assert_eq!(diff("a\nb\nc\n", &[(2..4, "")]), "--- f\n+++ f\n@@ -2 +1,0 @@\n-b\n");
        assert_eq!(
            diff("a\nb\nc\n", &[(0..2, "x\ny\n"), (4..6, "z\n")]),
            "--- f\n+++ f\n@@ -1 +1,2 @@\n-a\n+x\n+y\n@@ -3 +4 @@\n-c\n+z\n"
        );
        assert_eq!(diff("a\n", &[]), "");
    }
}
