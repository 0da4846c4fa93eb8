//! Where launchers look for settings. Both read them from here: `launch`, for what beats a run, and `settings`, for what beats the shell.

use std::path::{Path, PathBuf};

/// A machine as a launcher sees it.
pub(crate) struct Lookup<'a> {
    /// The person's home.
    pub home: Option<&'a Path>,
    /// Where the launcher is started.
    pub directory: Option<&'a Path>,
    /// `/`.
    pub system: &'a Path,
    /// What a variable names, unless it is empty.
    pub variable: &'a dyn Fn(&str) -> Option<PathBuf>,
}

impl Lookup<'_> {
    fn directory_of(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        (self.variable)(variable).or_else(|| Some(self.home?.join(below_home)))
    }

    /// What an administrator lays down for Claude Code: on the machine, and from afar (version 2.1.330).
    pub(crate) fn claude_managed(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for directory in ["etc/claude-code", "Library/Application Support/ClaudeCode"] {
            let directory = self.system.join(directory);
            files.push(directory.join("managed-settings.json"));
            let more = std::fs::read_dir(directory.join("managed-settings.d")).into_iter().flatten().flatten();
            let mut more: Vec<PathBuf> = more.map(|entry| entry.path()).collect();
            more.retain(|path| path.extension().is_some_and(|end| end == "json"));
            more.sort();
            files.extend(more);
        }
        files.extend(self.directory_of("CLAUDE_CONFIG_DIR", ".claude").map(|own| own.join("remote-settings.json")));
        files
    }

    /// The one layer of Codex's configuration that beats `-c`; `config.toml` and profiles do not.
    pub(crate) fn codex_managed(&self) -> PathBuf {
        self.system.join("etc/codex/managed_config.toml")
    }

    /// What an administrator lays down for opencode.
    pub(crate) fn opencode_managed(&self) -> Vec<PathBuf> {
        let places = ["etc/opencode", "Library/Application Support/opencode"];
        let files = |place: &str| ["opencode.jsonc", "opencode.json"].map(|name| self.system.join(place).join(name));
        places.into_iter().flat_map(files).collect()
    }

    /// gemini-cli's settings, the strongest first.
    pub(crate) fn gemini(&self) -> Vec<PathBuf> {
        let home = self.directory_of("GEMINI_CLI_HOME", "");
        self.of_google("GEMINI_CLI_SYSTEM_SETTINGS_PATH", "etc/gemini-cli/settings.json", ".gemini", home)
    }

    /// Qwen Code's settings, the strongest first. `QWEN_HOME` is the directory itself.
    pub(crate) fn qwen(&self) -> Vec<PathBuf> {
        let mut files = self.of_google("QWEN_CODE_SYSTEM_SETTINGS_PATH", "etc/qwen-code/settings.json", ".qwen", None);
        files.extend(self.directory_of("QWEN_HOME", ".qwen").map(|own| own.join("settings.json")));
        files
    }

    fn of_google(&self, variable: &str, system: &str, name: &str, home: Option<PathBuf>) -> Vec<PathBuf> {
        let system = (self.variable)(variable).unwrap_or_else(|| self.system.join(system));
        let places = self.directory.map(Path::to_owned).into_iter().chain(home);
        std::iter::once(system).chain(places.map(|place| place.join(name).join("settings.json"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_move_what_they_name() {
        let variable = |name: &str| match name {
            "QWEN_HOME" => Some(PathBuf::from("/q")),
            "GEMINI_CLI_HOME" => Some(PathBuf::from("/g")),
            "QWEN_CODE_SYSTEM_SETTINGS_PATH" => Some(PathBuf::from("/s.json")),
            _ => None,
        };
        let home = Path::new("/home/me");
        let lookup =
            Lookup { home: Some(home), directory: Some(Path::new("/p")), system: Path::new("/"), variable: &variable };
        let texts = |files: Vec<PathBuf>| files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>();
        assert_eq!(texts(lookup.qwen()), ["/s.json", "/p/.qwen/settings.json", "/q/settings.json"]);
        assert_eq!(
            texts(lookup.gemini()),
            ["/etc/gemini-cli/settings.json", "/p/.gemini/settings.json", "/g/.gemini/settings.json"]
        );
        let claude = texts(lookup.claude_managed());
        assert!(claude.contains(&"/home/me/.claude/remote-settings.json".to_owned()), "{claude:?}");
    }
}
