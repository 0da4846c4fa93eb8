//! Whole runs over a home directory.

mod odd_files;
mod reading;
mod round_trip;

use std::fs;
use std::path::{Path, PathBuf};

use super::*;

/// A home directory, and where it is written down what was done to it.
struct Home {
    directory: tempfile::TempDir,
    environment: BTreeMap<String, String>,
}

const URL: &str = "http://127.0.0.1:4000";

fn glm() -> Mode {
    Mode { name: "glm".to_owned(), model: Some("glm".to_owned()), context_tokens: Some(200_000) }
}

impl Home {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), environment: BTreeMap::new() }
    }

    fn with(file: &str, text: impl AsRef<[u8]>) -> Self {
        let home = Self::new();
        home.write(file, text);
        home
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join("home").join(file)
    }

    fn write(&self, file: &str, text: impl AsRef<[u8]>) {
        let path = self.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap()
    }

    /// Every file of the home directory.
    fn files(&self) -> Vec<PathBuf> {
        fn below(directory: &Path) -> Vec<PathBuf> {
            let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
            let mut files: Vec<PathBuf> =
                entries.flat_map(|path| if path.is_dir() { below(&path) } else { vec![path] }).collect();
            files.sort();
            files
        }
        below(&self.path(""))
    }

    fn surroundings(&self) -> Surroundings {
        Surroundings {
            home: Some(self.path("")),
            directory: Some(self.path("project")),
            system: self.directory.path().join("system"),
            environment: self.environment.clone(),
            state: Some(self.directory.path().join("state")),
            ..Surroundings::of_this_process()
        }
    }

    fn configure(&self, launcher: Launcher, mode: Option<&Mode>) -> Result<Vec<Configured>, SettingsError> {
        configure(&Target { launcher, mode, url: URL }, None, false, &self.surroundings())
    }

    fn unconfigure(&self, launcher: Launcher) -> Result<Vec<Unconfigured>, SettingsError> {
        unconfigure(launcher, None, false, &self.surroundings())
    }

    fn record(&self) -> String {
        fs::read_to_string(self.directory.path().join("state/launchers.json")).unwrap_or_default()
    }
}

/// Each launcher's file, before and after.
#[test]
fn each_launchers_file_is_merged_as_reviewed() {
    for (launcher, file, before, after) in [
        (
            Launcher::Claude,
            ".claude/settings.json",
            include_str!("golden/claude.before.json"),
            include_str!("golden/claude.after.json"),
        ),
        (
            Launcher::Codex,
            ".codex/config.toml",
            include_str!("golden/codex.before.toml"),
            include_str!("golden/codex.after.toml"),
        ),
        (
            Launcher::Opencode,
            ".config/opencode/opencode.jsonc",
            include_str!("golden/opencode.before.jsonc"),
            include_str!("golden/opencode.after.jsonc"),
        ),
        (
            Launcher::Gemini,
            ".gemini/.env",
            include_str!("golden/gemini.before.env"),
            include_str!("golden/gemini.after.env"),
        ),
        (
            Launcher::Gemini,
            ".gemini/settings.json",
            include_str!("golden/gemini.before.json"),
            include_str!("golden/gemini.after.json"),
        ),
        (
            Launcher::Aider,
            ".aider.conf.yml",
            include_str!("golden/aider.before.yml"),
            include_str!("golden/aider.after.yml"),
        ),
        (
            Launcher::Qwen,
            ".qwen/settings.json",
            include_str!("golden/qwen.before.json"),
            include_str!("golden/qwen.after.json"),
        ),
    ] {
        let home = Home::with(file, before);
        home.configure(launcher, Some(&glm())).unwrap();
        assert_eq!(home.read(file), after, "{file}");
        let again = home.configure(launcher, Some(&glm())).unwrap();
        assert!(again.iter().all(|done| done.keys.is_empty()), "{again:?}");
        assert_eq!(home.read(file), after, "{file}");
        home.unconfigure(launcher).unwrap();
        assert_eq!(home.read(file), before, "{file}");
        assert_eq!(home.files(), [home.path(file)], "no trace is left of {file}");
        assert_eq!(home.record(), "");
    }
}

#[test]
fn files_that_were_not_there_go_again_with_their_directories() {
    for launcher in Launcher::ALL {
        let home = Home::new();
        fs::create_dir(home.path("")).unwrap();
        let done = home.configure(launcher, Some(&glm())).unwrap();
        assert!(done.iter().all(|done| done.is_new && done.backup.is_none() && !done.keys.is_empty()), "{done:?}");
        assert!(home.configure(launcher, Some(&glm())).unwrap().iter().all(|done| done.keys.is_empty()));
        // Its tool has written it anew, in a form of its own.
        for file in home.files().iter().filter(|file| file.extension().is_some_and(|end| end == "json")) {
            let value: serde_json::Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
            fs::write(file, value.to_string()).unwrap();
        }
        let undone = home.unconfigure(launcher).unwrap();
        assert!(undone.iter().all(|undone| undone.outcome == Outcome::Removed && undone.left.is_empty()), "{undone:?}");
        assert_eq!(fs::read_dir(home.path("")).unwrap().count(), 0, "{launcher:?}");
    }
}

#[test]
fn without_a_mode_a_launcher_keeps_its_own_models() {
    for (launcher, file) in [
        (Launcher::Claude, ".claude/settings.json"),
        (Launcher::Codex, ".codex/config.toml"),
        (Launcher::Opencode, ".config/opencode/opencode.json"),
        (Launcher::Aider, ".aider.conf.yml"),
        (Launcher::Qwen, ".qwen/settings.json"),
    ] {
        let home = Home::new();
        let done = home.configure(launcher, None).unwrap();
        let names_model = |key: &String| key.to_ascii_lowercase().ends_with("model") || key == "model.name";
        assert!(!done[0].keys.iter().any(|(key, _)| names_model(key)), "{done:?}");
        let text = home.read(file);
        assert!(text.contains(URL) && text.contains(&format!("{}-fleet", launcher.name())), "{text}");
    }
}

#[test]
fn another_mode_takes_the_place_of_the_first_and_the_persons_file_comes_back() {
    let before = "{\"env\": {\"ANTHROPIC_MODEL\": \"opus\", \"ANTHROPIC_API_KEY\": \"sk-canary-0123456789012\"}}";
    let home = Home::with(".claude/settings.json", before);
    home.configure(Launcher::Claude, Some(&glm())).unwrap();
    let kimi = Mode { name: "kimi".to_owned(), model: Some("kimi".to_owned()), context_tokens: None };
    home.configure(Launcher::Claude, Some(&kimi)).unwrap();
    let text = home.read(".claude/settings.json");
    assert!(text.contains("claude-kimi") && !text.contains("glm") && !text.contains("MAX_CONTEXT"), "{text}");
    home.configure(Launcher::Claude, None).unwrap();
    assert!(home.read(".claude/settings.json").contains("\"ANTHROPIC_MODEL\": \"opus\""));
    home.unconfigure(Launcher::Claude).unwrap();
    assert_eq!(home.read(".claude/settings.json"), before);
}

#[test]
fn what_a_person_changed_since_stays_and_is_named() {
    let file = ".claude/settings.json";
    let home = Home::with(file, "{\n  \"env\": {\n    \"ANTHROPIC_MODEL\": \"opus\"\n  }\n}\n");
    home.configure(Launcher::Claude, Some(&glm())).unwrap();
    let text = home.read(file).replace("\"env\": {", "\"mine\": true,\n  \"env\": {\n    \"FOO\": \"1\",");
    home.write(
        file,
        text.replace("\"ANTHROPIC_BASE_URL\": \"http://127.0.0.1:4000\"", "\"ANTHROPIC_BASE_URL\": \"http://mine\""),
    );
    let state = state(Launcher::Claude, &home.surroundings()).unwrap();
    assert_eq!(state.configured[0].changed_since, ["env.ANTHROPIC_BASE_URL"]);
    let undone = home.unconfigure(Launcher::Claude).unwrap().remove(0);
    assert_eq!((undone.outcome, undone.left), (Outcome::KeysTakenBack, vec!["env.ANTHROPIC_BASE_URL".to_owned()]));
    let expected = "{\n  \"mine\": true,\n  \"env\": {\n    \"FOO\": \"1\",\n    \"ANTHROPIC_MODEL\": \"opus\",\n    \"ANTHROPIC_BASE_URL\": \"http://mine\"\n  }\n}\n";
    assert_eq!(home.read(file), expected);
    assert!(undone.backup.is_some_and(|backup| backup.exists()));
    assert_eq!(home.unconfigure(Launcher::Claude).unwrap(), []);
}

#[test]
fn a_key_that_was_changed_since_is_the_persons_when_it_is_configured_again() {
    let file = ".codex/config.toml";
    let home = Home::with(file, "model = 'gpt'\n");
    home.configure(Launcher::Codex, Some(&glm())).unwrap();
    home.write(file, home.read(file).replace("model = \"glm\"", "model = \"theirs\""));
    let done = home.configure(Launcher::Codex, Some(&glm())).unwrap().remove(0);
    assert_eq!(done.taken_over, ["model"]);
    assert!(home.read(file).contains("model = \"glm\""));
    home.unconfigure(Launcher::Codex).unwrap();
    assert_eq!(home.read(file), "model = \"theirs\"\n");
}

#[test]
fn no_value_of_a_person_is_copied_but_into_the_backup() {
    use std::os::unix::fs::PermissionsExt;
    let file = ".claude/settings.json";
    let text = r#"{"env": {"ANTHROPIC_API_KEY": "sk-ant-canary-012345678901", "ANTHROPIC_AUTH_TOKEN": "canary", "ANTHROPIC_CUSTOM_HEADERS": "X-Key: canary"}}"#;
    let home = Home::with(file, text);
    let done = home.configure(Launcher::Claude, None).unwrap();
    assert!(!home.record().contains("canary") && !format!("{done:?}").contains("canary"));
    assert!(home.read(file).contains("X-Key: canary\\nx-fleetgate-workload: claude-fleet"));
    let backup = done[0].backup.clone().unwrap();
    assert_eq!(fs::metadata(backup).unwrap().permissions().mode() & 0o777, 0o600);
    let state = state(Launcher::Claude, &home.surroundings()).unwrap();
    assert!(!format!("{state:?}").contains("canary"), "{state:?}");
}

#[test]
fn loopback_is_spared_only_where_there_is_a_proxy() {
    let file = ".claude/settings.json";
    let mut home = Home::with(file, "{}");
    home.configure(Launcher::Claude, None).unwrap();
    assert!(!home.read(file).contains("NO_PROXY"));
    home.write(file, r#"{"env": {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "a.example"}}"#);
    home.configure(Launcher::Claude, None).unwrap();
    let env = |home: &Home| serde_json::from_str::<serde_json::Value>(&home.read(file)).unwrap()["env"].clone();
    assert_eq!(env(&home)["NO_PROXY"], "a.example,127.0.0.1,localhost,::1");
    home.write(file, "{}");
    home.environment.insert("https_proxy".to_owned(), "http://p:1".to_owned());
    home.environment.insert("no_proxy".to_owned(), "b.example".to_owned());
    home.configure(Launcher::Claude, None).unwrap();
    assert_eq!(env(&home)["NO_PROXY"], "b.example,127.0.0.1,localhost,::1");
    assert_eq!(env(&home)["no_proxy"], "b.example,127.0.0.1,localhost,::1");
}

#[test]
fn variables_move_the_files() {
    for (launcher, variable, value, file) in [
        (Launcher::Claude, "CLAUDE_CONFIG_DIR", "c", "c/settings.json"),
        (Launcher::Codex, "CODEX_HOME", "c", "c/config.toml"),
        (Launcher::Opencode, "XDG_CONFIG_HOME", "c", "c/opencode/opencode.json"),
        (Launcher::Opencode, "OPENCODE_CONFIG", "c/own.json", "c/own.json"),
        (Launcher::Opencode, "OPENCODE_CONFIG_DIR", "c", "c/opencode.json"),
        (Launcher::Gemini, "GEMINI_CLI_HOME", "c", "c/.gemini/.env"),
        (Launcher::Qwen, "QWEN_HOME", "c", "c/settings.json"),
    ] {
        let mut home = Home::new();
        home.environment.insert(variable.to_owned(), home.path(value).display().to_string());
        let done = home.configure(launcher, None).unwrap();
        assert_eq!(done[0].file, home.path(file), "{variable}");
    }
}

#[test]
fn a_file_that_is_named_takes_the_keys_of_its_form() {
    let home = Home::new();
    let surroundings = home.surroundings();
    let target = Target { launcher: Launcher::Gemini, mode: None, url: URL };
    let done = configure(&target, Some(Path::new(".gemini/.env")), false, &surroundings).unwrap();
    assert_eq!((done.len(), &done[0].file), (1, &home.path("project/.gemini/.env")));
    let error = configure(&target, Some(Path::new("x.toml")), false, &surroundings).unwrap_err();
    assert!(error.to_string().contains("x.toml"), "{error}");
    let undone = unconfigure(Launcher::Gemini, Some(Path::new(".gemini/.env")), false, &surroundings).unwrap();
    assert_eq!(undone[0].outcome, Outcome::Removed);
}

#[test]
fn a_dry_run_writes_nothing() {
    let home = Home::with(".codex/config.toml", "model = 'x'\n");
    let target = Target { launcher: Launcher::Codex, mode: None, url: URL };
    let done = configure(&target, None, true, &home.surroundings()).unwrap();
    assert!(done[0].keys.contains(&("model_provider".to_owned(), Change::Added)), "{done:?}");
    assert_eq!((home.read(".codex/config.toml").as_str(), home.files().len()), ("model = 'x'\n", 1));
    assert!(!home.directory.path().join("state").exists());
}

#[test]
fn a_run_that_is_killed_before_it_writes_the_file_loses_nothing() {
    let before = "{\"env\": {\"ANTHROPIC_MODEL\": \"opus\"}}";
    let file = ".claude/settings.json";
    let kimi = Mode { name: "kimi".to_owned(), model: Some("kimi".to_owned()), context_tokens: None };
    for is_configured in [false, true] {
        let home = Home::with(file, before);
        if is_configured {
            home.configure(Launcher::Claude, Some(&glm())).unwrap();
        }
        let text = home.read(file);
        home.configure(Launcher::Claude, Some(&kimi)).unwrap();
        // The record speaks of the new text, and the old one is there.
        home.write(file, text);
        let undone = home.unconfigure(Launcher::Claude).unwrap().remove(0);
        assert_eq!((undone.outcome, undone.left), (Outcome::AsItWas, vec![]));
        assert_eq!((home.read(file).as_str(), home.files().len()), (before, 1));
    }
}
