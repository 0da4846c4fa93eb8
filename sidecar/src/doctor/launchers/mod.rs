//! Settings files of launchers that beat the shell's environment. Names of keys are told, values never.

use std::path::{Path, PathBuf};

use super::report::Finding;
use crate::launch::Launcher;
use crate::settings::{self, Conflict, Kind, Surroundings, Wiring};

const CHECK: &str = "launchers";

/// Everything that overrides the shell, or one finding that nothing does. What `fleetgate launchers configure` wrote is no finding.
pub(super) fn look(surroundings: &Surroundings, wiring: &Wiring) -> Vec<Finding> {
    let conflicts = |launcher: &Launcher| {
        let mut conflicts = settings::look(*launcher, surroundings, wiring);
        conflicts.retain(|conflict| !conflict.is_ours);
        describe(*launcher, &conflicts)
    };
    let findings: Vec<Finding> = Launcher::ALL.iter().flat_map(conflicts).collect();
    if findings.is_empty() {
        let what = "no settings of Claude Code, Codex, Gemini, opencode, aider or Qwen Code lead around the sidecar";
        return vec![Finding::ok(CHECK, what)];
    }
    findings
}

/// One finding for all keys of a file that do the same.
fn describe(launcher: Launcher, conflicts: &[Conflict]) -> Vec<Finding> {
    let mut files: Vec<&PathBuf> = conflicts.iter().map(|conflict| &conflict.file).collect();
    files.dedup();
    let of_file = |file: &PathBuf| {
        let here: Vec<&Conflict> = conflicts.iter().filter(|conflict| conflict.file == *file).collect();
        let unreadable = here.iter().find_map(|conflict| match conflict.kind {
            Kind::Unreadable { line } => Some(unreadable(file, line)),
            _ => None,
        });
        match unreadable {
            Some(finding) => vec![finding],
            None => match launcher {
                Launcher::Claude => claude(file, &here),
                Launcher::Codex => here.iter().map(|conflict| codex(file, conflict)).collect(),
                Launcher::Gemini | Launcher::Opencode | Launcher::Aider | Launcher::Qwen => {
                    elsewhere(launcher, file, &here).into_iter().collect()
                }
            },
        }
    };
    files.into_iter().flat_map(of_file).collect()
}

/// A file whose form is broken. The parser's own words may repeat what stands there, so only the place is told.
fn unreadable(path: &Path, line: usize) -> Finding {
    Finding::warning(CHECK, "unreadable", format!("{}:{line}: cannot be read", path.display()))
        .cause("its form is broken; the launcher ignores the file or does not start")
        .next(format!("${{EDITOR:-vi}} +{line} {}", path.display()))
}

fn keys(here: &[&Conflict], is_meant: impl Fn(Kind) -> bool, between: &str) -> Option<String> {
    let keys: Vec<&str> =
        here.iter().filter(|conflict| is_meant(conflict.kind)).map(|conflict| conflict.key.as_str()).collect();
    (!keys.is_empty()).then(|| keys.join(between))
}

fn claude(file: &Path, here: &[&Conflict]) -> Vec<Finding> {
    let file = file.display();
    let away = keys(here, |kind| kind == Kind::LeadsAway, " and ").map(|keys| {
        Finding::problem(CHECK, "claude_redirected", format!("{file} sets {keys}, which leads Claude Code around the sidecar"))
            .cause("a settings file beats the shell: aliases and launchers that set the same variable have no effect, and say nothing")
            .next(format!("${{EDITOR:-vi}} {file}  # remove {keys} (or point it at http://localhost:4000)"))
    });
    let beaten = keys(here, |kind| matches!(kind, Kind::Credential | Kind::Overrides), ", ").map(|keys| {
        Finding::warning(CHECK, "claude_overrides", format!("{file} sets {keys}"))
            .cause(
                "these beat what the shell and our launchers set: another key, model or proxy than meant may be used",
            )
            .next(format!("${{EDITOR:-vi}} {file}"))
    });
    let login = keys(here, |kind| kind == Kind::SavedLogin, ", ").map(|keys| {
        Finding::warning(CHECK, "claude_login", format!("{file} holds {keys}"))
            .cause("a saved key of an earlier login: \"Auth conflict\" beside ANTHROPIC_AUTH_TOKEN, and used wherever no token is set")
            .next("claude /logout")
    });
    away.into_iter().chain(beaten).chain(login).collect()
}

fn codex(file: &Path, conflict: &Conflict) -> Finding {
    let (file, key) = (file.display(), &conflict.key);
    let edit = format!("${{EDITOR:-vi}} {file}");
    match conflict.kind {
        Kind::CannotStart => Finding::warning(CHECK, "codex_chat", format!("{file}: {key} is \"chat\""))
            .cause("Codex speaks the Responses API only and does not start with this setting")
            .next(format!("sed -i.bak 's/^wire_api *=.*/wire_api = \"responses\"/' {file}")),
        Kind::Credential => Finding::warning(CHECK, "codex_token", format!("{file}: {key} holds a credential"))
            .cause("the sidecar needs none; a key in a file is one more to find and revoke")
            .next(edit),
        _ if key == "model_provider" => Finding::warning(
            CHECK,
            "codex_elsewhere",
            format!("{file} names no provider that leads to the sidecar (model_provider, openai_base_url)"),
        )
        .cause("Codex ignores OPENAI_BASE_URL: its calls go to OpenAI directly")
        .next("codex-fleet  # our launcher")
        .next("fleetgate launchers configure codex  # for editors and background agents too"),
        _ => Finding::warning(CHECK, "codex_elsewhere", format!("{file}: {key} does not lead to the sidecar"))
            .cause("Codex ignores OPENAI_BASE_URL: its calls go where this file says")
            .next(edit),
    }
}

fn elsewhere(launcher: Launcher, file: &Path, here: &[&Conflict]) -> Option<Finding> {
    let keys = keys(here, |kind| matches!(kind, Kind::LeadsAway | Kind::Credential), ", ")?;
    let file = file.display();
    let (code, cause, example) = match launcher {
        Launcher::Gemini => (
            "gemini_elsewhere",
            "gemini-cli uses these wherever the shell sets no other: calls that do not go through the sidecar, or a provider's own key",
            "GOOGLE_GEMINI_BASE_URL=http://localhost:4000, GEMINI_API_KEY=any word",
        ),
        Launcher::Opencode => (
            "opencode_elsewhere",
            "opencode takes these from the file, whatever the shell says; such calls do not go through the sidecar or bring a key of their own",
            "baseURL: http://localhost:4000/v1, apiKey: any word",
        ),
        Launcher::Aider => (
            "aider_elsewhere",
            "aider takes these from the file, whatever the shell says; such calls do not go through the sidecar or bring a key of their own",
            "openai-api-base: http://localhost:4000/v1, openai-api-key: any word",
        ),
        Launcher::Qwen => (
            "qwen_elsewhere",
            "Qwen Code takes these from the file; such calls do not go through the sidecar or bring a key of their own",
            "OPENAI_BASE_URL: http://localhost:4000/v1, OPENAI_API_KEY: any word",
        ),
        Launcher::Claude | Launcher::Codex => return None,
    };
    let edit = format!("${{EDITOR:-vi}} {file}  # {example}");
    Some(Finding::warning(CHECK, code, format!("{file} sets {keys}")).cause(cause).next(edit))
}

#[cfg(test)]
mod tests;
