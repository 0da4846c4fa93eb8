//! What changing a key does to the text around it.

use serde_json::json;

use super::*;

fn key(path: &str) -> Key {
    path.split('/').map(str::to_owned).collect()
}

/// The text after a change.
fn changed(format: Format, text: &str, change: impl Fn(&mut Settings) -> Result<(), DocumentError>) -> String {
    let mut settings = Settings::parse(format, text).unwrap();
    change(&mut settings).unwrap();
    settings.text()
}

#[test]
fn a_json_file_keeps_comments_order_trailing_commas_and_line_ends() {
    let text = "\u{feff}{\r\n\t// mine\r\n\t\"z\": 1, /* one */\r\n\t\"env\": {\r\n\t\t\"A\": \"old\", // why\r\n\t},\r\n}\r\n";
    let set = changed(Format::Json, text, |settings| {
        settings.set(&key("env/A"), &json!("new"))?;
        settings.set(&key("env/B"), &json!("x\ny"))?;
        settings.set(&key("model/name"), &json!("glm"))
    });
    let expected = "\u{feff}{\r\n\t// mine\r\n\t\"z\": 1, /* one */\r\n\t\"env\": {\r\n\t\t\"A\": \"new\", // why\r\n\t\t\"B\": \"x\\ny\",\r\n\t},\r\n\t\"model\": {\r\n\t\t\"name\": \"glm\"\r\n\t},\r\n}\r\n";
    assert_eq!(set, expected);
    let back = changed(Format::Json, &set, |settings| {
        settings.set(&key("env/A"), &json!("old"))?;
        settings.remove(&key("env/B"))?;
        settings.remove(&key("model"))
    });
    assert_eq!(back, text);
}

#[test]
fn a_toml_file_keeps_comments_order_and_line_ends() {
    let text =
        "# mine\r\nmodel = \"gpt\"  # fast\r\n\r\n# below\r\n[profiles.a]\r\nmodel = 'x'\r\n\r\n[[list]]\r\na = 1\r\n";
    let set = changed(Format::Toml, text, |settings| {
        settings.set(&key("model"), &json!("glm"))?;
        settings.set(&key("model_provider"), &json!("f"))?;
        settings.set(&key("model_providers/f/http_headers/x-a"), &json!("b"))?;
        settings.set(&key("model_providers/f/base_url"), &json!("http://x"))
    });
    let expected = "# mine\r\nmodel = \"glm\"  # fast\r\nmodel_provider = \"f\"\r\n\r\n# below\r\n[profiles.a]\r\nmodel = 'x'\r\n\r\n[[list]]\r\na = 1\r\n\r\n[model_providers.f]\r\nhttp_headers = { x-a = \"b\" }\r\nbase_url = \"http://x\"\r\n";
    assert_eq!(set, expected);
    let back = changed(Format::Toml, &set, |settings| {
        settings.set(&key("model"), &json!("gpt"))?;
        settings.remove(&key("model_provider"))?;
        settings.remove(&key("model_providers"))
    });
    assert_eq!(back, text);
}

#[test]
fn tables_of_toml_are_found_however_they_are_written() {
    for text in [
        "model_providers = { f = { base_url = 'a' } }\n",
        "model_providers.f.base_url = 'a'\n",
        "[model_providers]\nf = { base_url = 'a' }\n",
        "[model_providers.f]\nbase_url = 'a' # here\n",
        "[model_providers.g]\n[model_providers.f]\nbase_url = 'a'\n[tail]\nx = 1979-05-27\n",
    ] {
        let set = changed(Format::Toml, text, |settings| {
            assert_eq!(settings.get(&key("model_providers/f/base_url")).unwrap(), Some(json!("a")));
            settings.set(&key("model_providers/f/base_url"), &json!("b"))?;
            settings.set(&key("model_providers/f/name"), &json!("F"))
        });
        let again = Settings::parse(Format::Toml, &set).unwrap();
        let provider = again.get(&key("model_providers/f")).unwrap();
        assert_eq!(provider, Some(json!({"base_url": "b", "name": "F"})), "{set}");
    }
}

#[test]
fn lines_of_variables_are_changed_one_by_one() {
    let text = "# mine\nexport A='x # y'\nB=\"two\nlines\"\nC = plain # why\n\nD=last";
    let settings = Settings::parse(Format::Dotenv, text).unwrap();
    assert_eq!(settings.value(), json!({"A": "x # y", "B": "two\nlines", "C": "plain", "D": "last"}));
    let set = changed(Format::Dotenv, text, |settings| {
        settings.set(&key("B"), &json!("one"))?;
        settings.set(&key("E"), &json!("a: b"))?;
        settings.remove(&key("A"))
    });
    assert_eq!(set, "# mine\nB=one\nC = plain # why\n\nD=last\nE=\"a: b\"\n");
}

#[test]
fn plain_yaml_is_changed_by_lines() {
    let text =
        "---\n# mine\nmodel: 'gpt'   # fast\nread:\n  - a.md\n# between\n  - b.md\nset-env:\n- A=b\ndark-mode: true\n";
    let set = changed(Format::Yaml, text, |settings| {
        assert_eq!(settings.get(&key("model")).unwrap(), Some(json!("gpt")));
        assert_eq!(settings.get(&key("dark-mode")).unwrap(), Some(json!(true)));
        settings.set(&key("model"), &json!("openai/glm"))?;
        settings.set(&key("analytics"), &json!(false))?;
        settings.remove(&key("dark-mode"))
    });
    let expected = "---\n# mine\nmodel: openai/glm  # fast\nread:\n  - a.md\n# between\n  - b.md\nset-env:\n- A=b\nanalytics: false\n";
    assert_eq!(set, expected);
}

#[test]
fn yaml_that_is_not_plain_is_refused_with_its_line() {
    for (text, line) in [
        ("{model: a}\n", 1),
        ("a: 1\n---\nb: 2\n", 2),
        ("  model: a\n", 1),
        ("? model\n: a\n", 1),
        ("a: 1\n\"model\": b\n", 2),
        ("%YAML 1.2\n---\na: 1\n", 1),
    ] {
        let error = Settings::parse(Format::Yaml, text).err().unwrap();
        assert!(matches!(error, DocumentError::Unsafe { line: at, .. } if at == line), "{text}: {error}");
    }
    for value in ["|\n  a", "&x a", "*x", "[a, b]", "\"a\n  b\"", "a\n  b", "'it''s'", "\"a\\nb\""] {
        let text = format!("first: 1\nmodel: {value}\n");
        let mut settings = Settings::parse(Format::Yaml, &text).unwrap();
        let error = settings.set(&key("model"), &json!("x")).unwrap_err();
        assert!(matches!(error, DocumentError::Unsafe { line: 2, .. }), "{text}: {error}");
        assert_eq!(settings.text(), text);
        settings.set(&key("first"), &json!("x")).unwrap();
    }
}

#[test]
fn a_broken_file_is_named_with_its_line_and_none_of_its_words() {
    for (format, text, line) in [
        (Format::Json, "{\n\"env\": sk-canary\n}", 2),
        (Format::Json, "{\n\"env\": \"sk-canary\\q\"\n}", 2),
        (Format::Json, "{\n\"a\": 1 \"b\": 2}", 2),
        (Format::Toml, "a = 1\nb = canary\n", 2),
        (Format::Toml, "a = 1\n[t]\na = 'canary'\na = 2\n", 4),
        (Format::Dotenv, "A=1\nB=\"canary\n", 2),
    ] {
        let error = Settings::parse(format, text).err().unwrap();
        assert!(matches!(error, DocumentError::Malformed { line: at, .. } if at == line), "{text}: {error}");
        assert!(!error.to_string().contains("canary"), "{error}");
    }
}

#[test]
fn a_key_that_is_set_twice_or_stands_in_no_table_is_refused() {
    let twice = Settings::parse(Format::Json, r#"{"env": {"A": "1", "A": "2"}, "x": 1, "x": 2}"#).unwrap();
    assert_eq!(twice.get(&key("env/A")), Err(DocumentError::Twice { key: "env.A".to_owned() }));
    assert_eq!(twice.get(&key("env/B")), Ok(None));
    let text = Settings::parse(Format::Json, r#"{"env": "no table"}"#).unwrap();
    assert_eq!(text.get(&key("env/A")), Err(DocumentError::NotATable { key: "env".to_owned() }));
    let mut text = Settings::parse(Format::Toml, "model_providers = 1\n").unwrap();
    let refused = text.set(&key("model_providers/f/name"), &json!("x"));
    assert_eq!(refused, Err(DocumentError::NotATable { key: "model_providers".to_owned() }));
    assert!(Settings::parse(Format::Json, "[1]").is_err());
    let twice = Settings::parse(Format::Dotenv, "A=1\nexport A=2\n").unwrap();
    assert_eq!(twice.get(&key("A")), Err(DocumentError::Twice { key: "A".to_owned() }));
}

#[test]
fn mixed_line_ends_are_refused_where_they_cannot_be_kept() {
    assert!(matches!(Settings::parse(Format::Toml, "a = 1\r\nb = 2\n"), Err(DocumentError::Unsafe { .. })));
    let text = "{\r\n\"a\": 1,\n\"b\": 2\r\n}";
    assert_eq!(Settings::parse(Format::Json, text).unwrap().text(), text);
}

#[test]
fn an_empty_file_and_one_with_words_only_take_their_first_key() {
    for text in ["", "\n", "  \n\n"] {
        for format in [Format::Json, Format::Toml, Format::Dotenv, Format::Yaml] {
            assert!(Settings::parse(format, text).unwrap().is_bare(), "{text:?}");
            let set = changed(format, text, |settings| settings.set(&key("a"), &json!("b")));
            assert_eq!(Settings::parse(format, &set).unwrap().value(), json!({"a": "b"}), "{text:?}");
        }
    }
    for (format, text) in [(Format::Json, "// mine\n"), (Format::Json, "{ /* mine */ }"), (Format::Toml, "# mine\n")] {
        assert!(!Settings::parse(format, text).unwrap().is_bare(), "{text:?}");
        let set = changed(format, text, |settings| settings.set(&key("a"), &json!("b")));
        assert!(set.contains("mine") && Settings::parse(format, &set).unwrap().value() == json!({"a": "b"}), "{set}");
    }
    assert!(Settings::parse(Format::Json, "{}\n").unwrap().is_bare());
}

#[test]
fn a_table_with_a_comment_in_it_stays() {
    let text = "{\n  \"env\": {\n    // mine\n  }\n}\n";
    assert_eq!(changed(Format::Json, text, |settings| settings.remove(&key("env"))), text);
}
