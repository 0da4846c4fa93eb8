//! Files as they are found in real home directories: nothing is lost of any of them.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

const FILE: &str = ".claude/settings.json";

/// Configures and takes back; the text in between.
fn there_and_back(file: &str, launcher: Launcher, text: &str) -> String {
    let home = Home::with(file, text);
    home.configure(launcher, Some(&glm())).unwrap_or_else(|error| panic!("{text:?}: {error}"));
    let between = home.read(file);
    home.unconfigure(launcher).unwrap();
    assert_eq!(home.read(file), text);
    between
}

#[test]
fn odd_json_files_keep_what_is_in_them() {
    for text in [
        "",
        "\n",
        "{}",
        "{}\n",
        "\u{feff}{}",
        "\u{feff}{\r\n}\r\n",
        "{ \"a\": 1 }",
        "{\"env\":{}}",
        "{\n\t\"env\": {\n\t\t\"A\": \"1\"\n\t}\n}",
        "{\r\n  \"a\": [1,\r\n 2], // one\r\n}\r\n",
        "// first\n{\n  // inside\n  \"a\": 1, /* two */\n}\n// last",
        "{\"a\": 1, \"a\": 2}",
        "{\"u\": \"\\u00e9\u{1f98a}\", \"n\": 1e400, \"m\": -0.0}",
    ] {
        let between = there_and_back(FILE, Launcher::Claude, text);
        let settings = document::Settings::parse(Format::Json, &between).unwrap();
        assert_eq!(settings.value()["env"]["ANTHROPIC_MODEL"], "glm", "{between}");
        assert_eq!(between.starts_with('\u{feff}'), text.starts_with('\u{feff}'));
        for comment in ["// first", "// inside", "/* two */", "// last", "// one"] {
            assert_eq!(between.contains(comment), text.contains(comment), "{between}");
        }
        if text.contains("\r\n") {
            assert!(!between.replace("\r\n", "").contains('\n'), "{between:?}");
        }
    }
}

#[test]
fn odd_toml_files_keep_what_is_in_them() {
    for text in [
        "",
        "# mine\n",
        "model='x'",
        "\u{feff}model = 'x'\r\n",
        "model = \"\"\"\nx\"\"\" # why\n[a]\n",
        "[features]\nplugins = true\n",
        "features.plugins = true\nanalytics = { enabled = true }\n",
        "# top\n\n[mcp_servers.\"a b\"]\ncommand = 'x'\nargs = [\n  'y', # z\n]\n\n[profiles]\n\n",
        "model_providers.fleetgate.env_key = \"X\"\n",
    ] {
        let between = there_and_back(".codex/config.toml", Launcher::Codex, text);
        let value = document::Settings::parse(Format::Toml, &between).unwrap().value();
        assert_eq!(value["model_provider"], "fleetgate", "{between}");
        assert!(value["model_providers"]["fleetgate"].get("env_key").is_none(), "{between}");
        assert_eq!(value["features"]["plugins"], text.contains("plugins = true"), "{between}");
        for comment in ["# mine", "# why", "# top", "# z"] {
            assert_eq!(between.contains(comment), text.contains(comment), "{between}");
        }
    }
}

#[test]
fn odd_files_of_lines_keep_what_is_in_them() {
    for text in
        ["", "# mine", "A=1", "A=\"x\ny\"\r\nGEMINI_API_KEY=AIzaCanary\r\n", "export GEMINI_MODEL = 'x' # y\n\n"]
    {
        let between = there_and_back(".gemini/.env", Launcher::Gemini, text);
        assert!(between.contains("GEMINI_API_KEY=fleetgate") && !between.contains("Canary"), "{between}");
    }
    for text in
        ["", "# mine", "dark-mode: true", "model: gpt # x\r\nread:\r\n- a\r\n", "---\nopenai-api-key: sk-canary\n"]
    {
        let between = there_and_back(".aider.conf.yml", Launcher::Aider, text);
        assert!(between.contains("openai-api-key: fleetgate") && !between.contains("canary"), "{between}");
    }
}

/// The file is refused with these words, and nothing at all is different.
fn is_refused(home: &Home, file: &str, launcher: Launcher, words: &[&str]) {
    let before = fs::read(home.path(file)).ok();
    let files = home.files();
    let error = home.configure(launcher, Some(&glm())).unwrap_err().to_string();
    for word in words {
        assert!(error.contains(word), "{word}: {error}");
    }
    assert!(!error.contains("canary"), "{error}");
    assert_eq!(fs::read(home.path(file)).ok(), before);
    assert_eq!((home.files(), home.record()), (files, String::new()));
}

#[test]
fn files_that_cannot_be_changed_without_loss_are_refused() {
    for (text, words) in [
        (&b"{\n\"env\": sk-canary }"[..], ["settings.json:2: ", "nothing was changed"]),
        (b"{\"env\": {\"A\": 1}", ["settings.json:1: ", "form is broken"]),
        (b"{\"env\": \"canary\"}", ["settings.json: env is no table", "nothing"]),
        (b"[]", ["settings.json: the whole file is no table", "nothing"]),
        (b"{\"env\": {}, \"env\": {\"A\": \"canary\"}}", ["env is set twice", "remove one"]),
        (b"{}\n\xff\xfe", ["settings.json:2: not UTF-8", "nothing"]),
    ] {
        is_refused(&Home::with(FILE, text), FILE, Launcher::Claude, &words);
    }
    let large = Home::with(FILE, vec![b' '; 2 << 20]);
    is_refused(&large, FILE, Launcher::Claude, &["larger than 1 MB"]);
    let toml = Home::with(".codex/config.toml", "model = 'x'\nmodel = 'canary'\n");
    is_refused(&toml, ".codex/config.toml", Launcher::Codex, &["config.toml:2: "]);
}

#[test]
fn yaml_that_is_not_plain_is_refused_with_what_to_add() {
    let home = Home::with(".aider.conf.yml", "{model: canary}\n");
    let words = ["yml:1: ", "By hand, it takes:\n  openai-api-base: \"http://127.0.0.1:4000/w/aider-glm/v1\"\n"];
    is_refused(&home, ".aider.conf.yml", Launcher::Aider, &words);
}

#[test]
fn one_broken_file_of_two_leaves_both() {
    let home = Home::with(".gemini/settings.json", "{ canary");
    is_refused(&home, ".gemini/settings.json", Launcher::Gemini, &["settings.json:1: "]);
    assert!(!home.path(".gemini/.env").exists());
}

#[test]
fn a_broken_file_is_not_taken_back_either() {
    let home = Home::with(FILE, "{}");
    home.configure(Launcher::Claude, None).unwrap();
    home.write(FILE, "{ \"half\": ");
    let error = home.unconfigure(Launcher::Claude).unwrap_err().to_string();
    assert!(error.contains("settings.json:1: "), "{error}");
    assert_eq!(home.read(FILE), "{ \"half\": ");
    home.write(FILE, "{ \"whole\": 1 }");
    home.unconfigure(Launcher::Claude).unwrap();
    assert_eq!(home.read(FILE), "{ \"whole\": 1 }");
}

#[test]
fn a_link_stays_a_link_and_its_file_keeps_mode_and_owner() {
    let home = Home::with("dotfiles/claude.json", "{}\n");
    fs::create_dir_all(home.path(".claude")).unwrap();
    symlink("../dotfiles/claude.json", home.path(FILE)).unwrap();
    let real = home.path("dotfiles/claude.json");
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if is_root {
        std::os::unix::fs::chown(&real, Some(4711), Some(4712)).unwrap();
    }
    let looks = |path: &Path| {
        let found = fs::metadata(path).unwrap();
        (found.permissions().mode() & 0o7777, found.uid(), found.gid())
    };
    let before = looks(&real);
    let done = home.configure(Launcher::Claude, None).unwrap().remove(0);
    assert!(fs::symlink_metadata(home.path(FILE)).unwrap().is_symlink());
    assert!(home.read("dotfiles/claude.json").contains("ANTHROPIC_BASE_URL"));
    assert_eq!(looks(&real), before);
    // Not in the repository of dotfiles; and as private as can be.
    let backup = done.backup.unwrap();
    assert_eq!(backup.parent(), home.path(FILE).parent());
    assert_eq!(looks(&backup), (0o600, before.1, before.2));
    home.unconfigure(Launcher::Claude).unwrap();
    assert_eq!((home.read("dotfiles/claude.json").as_str(), looks(&real)), ("{}\n", before));
    assert!(fs::symlink_metadata(home.path(FILE)).unwrap().is_symlink() && !backup.exists());
}

#[test]
fn a_home_directory_of_two_names_is_configured_once() {
    let home = Home::with(FILE, "{}");
    symlink(home.path(""), home.directory.path().join("other")).unwrap();
    home.configure(Launcher::Claude, Some(&glm())).unwrap();
    let other = Surroundings { home: Some(home.directory.path().join("other")), ..home.surroundings() };
    let target = Target { launcher: Launcher::Claude, mode: None, url: URL };
    configure(&target, None, false, &other).unwrap();
    assert!(!home.read(FILE).contains("glm"));
    assert_eq!(unconfigure(Launcher::Claude, None, false, &other).unwrap().len(), 1);
    assert_eq!((home.read(FILE).as_str(), home.files().len()), ("{}", 1));
}

#[test]
fn files_that_something_else_looks_after_are_refused() {
    let home = Home::with(FILE, "{}");
    fs::set_permissions(home.path(FILE), fs::Permissions::from_mode(0o444)).unwrap();
    is_refused(&home, FILE, Launcher::Claude, &["read-only", "chmod u+w"]);
    let home = Home::with(FILE, "{}");
    fs::hard_link(home.path(FILE), home.path("other")).unwrap();
    is_refused(&home, FILE, Launcher::Claude, &["hard links"]);
    let home = Home::with("x", "");
    fs::create_dir(home.path(".claude")).unwrap();
    symlink("nowhere", home.path(FILE)).unwrap();
    is_refused(&home, FILE, Launcher::Claude, &["link to a file that is not there"]);
    let home = Home::with("x", "");
    fs::create_dir_all(home.path(FILE)).unwrap();
    is_refused(&home, FILE, Launcher::Claude, &["is no file"]);
}

#[test]
fn a_file_that_is_gone_and_a_backup_that_is_gone_are_said() {
    let home = Home::with(FILE, "{\"env\": {\"ANTHROPIC_MODEL\": \"opus\"}}");
    home.configure(Launcher::Claude, Some(&glm())).unwrap();
    fs::remove_file(home.path(FILE)).unwrap();
    let undone = home.unconfigure(Launcher::Claude).unwrap().remove(0);
    assert_eq!(undone.outcome, Outcome::Gone);
    assert!(undone.backup.is_some_and(|backup| backup.exists()));
    let home = Home::with(FILE, "{\"env\": {\"ANTHROPIC_MODEL\": \"opus\"}}");
    let done = home.configure(Launcher::Claude, Some(&glm())).unwrap().remove(0);
    fs::remove_file(done.backup.unwrap()).unwrap();
    let undone = home.unconfigure(Launcher::Claude).unwrap().remove(0);
    // What it was before, nobody knows any more.
    assert_eq!((undone.outcome, undone.left), (Outcome::KeysTakenBack, vec!["env.ANTHROPIC_MODEL".to_owned()]));
    assert!(!home.read(FILE).contains("ANTHROPIC_BASE_URL"));
}

#[test]
fn an_older_backup_is_not_written_over() {
    let home = Home::with(FILE, "{}");
    home.write(".claude/settings.json.fleetgate.bak", "theirs");
    let done = home.configure(Launcher::Claude, None).unwrap().remove(0);
    assert_eq!(done.backup, Some(home.path(".claude/settings.json.fleetgate.bak.1")));
    home.unconfigure(Launcher::Claude).unwrap();
    assert_eq!(home.read(".claude/settings.json.fleetgate.bak"), "theirs");
    assert_eq!(home.files().len(), 2);
}

#[test]
fn a_record_that_somebody_changed_is_named_with_its_line() {
    let home = Home::with(FILE, "{}");
    fs::create_dir(home.directory.path().join("state")).unwrap();
    fs::write(home.directory.path().join("state/launchers.json"), "{\n\"canary\": 1}").unwrap();
    let error = home.configure(Launcher::Claude, None).unwrap_err().to_string();
    assert!(error.contains("launchers.json:2: ") && !error.contains("canary"), "{error}");
    assert_eq!(home.read(FILE), "{}");
}
