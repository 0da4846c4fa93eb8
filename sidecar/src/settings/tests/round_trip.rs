//! Whatever a valid file holds: configured and taken back, it is what it was.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

/// Names that are ours to set, and others.
fn name() -> impl Strategy<Value = String> {
    let ours =
        ["env", "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_MODEL", "model", "model_provider", "fleetgate"];
    let more =
        ["model_providers", "features", "plugins", "analytics", "http_headers", "env_key", "NO_PROXY", "HTTPS_PROXY"];
    prop_oneof![
        prop::sample::select([ours.as_slice(), more.as_slice()].concat()).prop_map(str::to_owned),
        "[a-zA-Z_é \"\\\\.]{1,6}",
    ]
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "\\PC{0,9}".prop_map(Value::from)
    ]
}

fn table() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![scalar(), Just(json!({})), Just(json!([]))];
    let value = leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name(), inner, 0..5).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    prop::collection::btree_map(name(), value, 0..6)
        .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>()))
}

/// How a person writes JSON.
#[derive(Debug, Clone)]
struct Style {
    between: String,
    trailing_commas: bool,
    mark: bool,
}

fn style() -> impl Strategy<Value = Style> {
    let betweens = ["", " ", "\n", "\r\n\t", "\n  // a comment\n  ", " /* one */ ", "\n\n\n"];
    (prop::sample::select(betweens.to_vec()), any::<bool>(), any::<bool>())
        .prop_map(|(between, trailing_commas, mark)| Style { between: between.to_owned(), trailing_commas, mark })
}

fn write(value: &Value, style: &Style) -> String {
    let Style { between, trailing_commas, .. } = style;
    let list = |open: &str, items: Vec<String>, close: &str| {
        let comma = if *trailing_commas && !items.is_empty() { "," } else { "" };
        let items = items.join(&format!(",{between}"));
        format!("{open}{between}{items}{comma}{between}{close}")
    };
    match value {
        Value::Object(table) => {
            let pair = |(name, value): (&String, &Value)| format!("{}:{between}{}", json!(name), write(value, style));
            list("{", table.iter().map(pair).collect(), "}")
        }
        Value::Array(items) => list("[", items.iter().map(|item| write(item, style)).collect(), "]"),
        scalar => scalar.to_string(),
    }
}

fn value_of(format: Format, text: &str) -> Value {
    document::Settings::parse(format, text).unwrap().value()
}

/// Configures; what comes back, untouched and after somebody else has written the file.
fn there_and_back(launcher: Launcher, format: Format, file: &str, text: &str) {
    let home = Home::with(file, text);
    if home.configure(launcher, Some(&glm())).is_err() {
        // Something stands where a table should. Then nothing is different.
        assert_eq!(home.read(file), text);
        return;
    }
    let between = home.read(file);
    assert!(home.configure(launcher, Some(&glm())).unwrap()[0].keys.is_empty());
    assert_eq!(home.read(file), between);
    home.unconfigure(launcher).unwrap();
    assert_eq!(home.read(file), text);

    home.configure(launcher, Some(&glm())).unwrap();
    home.write(file, between + "\n");
    let undone = home.unconfigure(launcher).unwrap();
    assert_eq!(undone[0].left, Vec::<String>::new());
    assert_eq!(value_of(format, &home.read(file)), value_of(format, text), "{}", home.read(file));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_json_file_comes_back(value in table(), style in style()) {
        let mark = if style.mark { "\u{feff}" } else { "" };
        let text = format!("{mark}{}{}", write(&value, &style), style.between);
        there_and_back(Launcher::Claude, Format::Json, ".claude/settings.json", &text);
    }

    #[test]
    fn any_toml_file_comes_back(value in table(), comment in prop::bool::ANY) {
        let Ok(text) = toml::to_string(&value) else { return Ok(()) };
        let text = if comment { format!("# first\n\n{text}# last\n") } else { text };
        there_and_back(Launcher::Codex, Format::Toml, ".codex/config.toml", &text);
    }
}
