//! Headers that programs add to each call because a variable says so: one a line (Claude Code), or separated by commas (gemini-cli).

use fleetgate_wire::header::{CREDENTIALS, WORKLOAD};

/// The caller's own lines with the workload behind them. An outer launcher's name gives way, and lines with credentials go:
/// no key of the caller's shall reach the wire.
pub(super) fn with_workload(own: &str, separator: char, workload: &str) -> String {
    let keeps = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default().trim();
        let is_known = |header: &http::HeaderName| name.eq_ignore_ascii_case(header.as_str());
        !name.is_empty() && !is_known(&WORKLOAD) && !CREDENTIALS.iter().any(is_known)
    };
    let mut text: String = own.split(separator).filter(keeps).flat_map(|line| [line, "\n"]).collect();
    if separator != '\n' {
        text = text.replace('\n', &separator.to_string());
    }
    format!("{text}{WORKLOAD}: {workload}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_lines_stay_but_for_credentials_and_an_outer_launchers_name() {
        let own =
            "X-Team: blue\nx-fleetgate-workload: outer\n\nAuthorization: Bearer canary\nX-Api-Key:canary\nX-B: a:b";
        assert_eq!(with_workload(own, '\n', "claude-glm"), "X-Team: blue\nX-B: a:b\nx-fleetgate-workload: claude-glm");
        assert_eq!(with_workload("", '\n', "claude-glm"), "x-fleetgate-workload: claude-glm");
        assert_eq!(with_workload("X-Team: blue", ',', "g"), "X-Team: blue,x-fleetgate-workload: g");
    }
}
