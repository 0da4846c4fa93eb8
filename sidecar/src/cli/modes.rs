//! `fleetgate modes`

use std::fmt::Write;

use clap::Args;
use serde_json::json;

use super::run::own_modes;
use super::{CliError, print};
use crate::launch::{Mode, Modes, Origin};

#[derive(Debug, Args)]
pub(super) struct ModesArgs {
    /// As one JSON object
    #[arg(long)]
    json: bool,
}

/// Shows every mode, and fails when the person's own file cannot be used.
pub(super) fn run(args: &ModesArgs) -> Result<(), CliError> {
    let modes = Modes::load(own_modes());
    print(&if args.json { as_json(&modes) } else { for_people(&modes) })?;
    modes.problem.map_or(Ok(()), |problem| Err(CliError::Modes(problem)))
}

fn origin(mode: &Mode) -> &'static str {
    match mode.origin {
        Origin::Shipped => "shipped",
        Origin::Changed => "shipped, changed by yours",
        Origin::Own => "yours",
    }
}

fn for_people(modes: &Modes) -> String {
    let mut text = String::new();
    for mode in modes.all() {
        let hidden = if mode.is_enabled() { "" } else { ", hidden by enabled = false" };
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{:<12} {} ({}{hidden})", mode.name.as_str(), mode.description(), origin(mode));
        let launchers: Vec<&str> = mode.launchers().iter().map(|launcher| launcher.name()).collect();
        let _ = writeln!(text, "{:<12} launchers: {}", "", launchers.join(", "));
        for line in mode.says() {
            let _ = writeln!(text, "{:<12} {line}", "");
        }
    }
    if let Some(file) = &modes.own_file {
        let state = if file.exists() { "" } else { " (does not exist)" };
        let _ = writeln!(text, "\nyours: {}{state}", file.display());
    }
    text
}

fn as_json(modes: &Modes) -> String {
    let listed: Vec<_> = modes
        .all()
        .map(|mode| {
            let origin = match mode.origin {
                Origin::Shipped => "shipped",
                Origin::Changed => "changed",
                Origin::Own => "own",
            };
            json!({"name": mode.name, "enabled": mode.is_enabled(), "origin": origin, "description": mode.description(),
                "launchers": mode.launchers(), "variable": mode.name.variable(), "programs": mode.programs()})
        })
        .collect();
    let problem = modes.problem.as_ref().map(ToString::to_string);
    json!({"modes": listed, "file": modes.own_file, "problem": problem}).to_string() + "\n"
}
