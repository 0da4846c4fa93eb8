//! Settings files of launchers, which may lie in a stranger's repository.

use fleetgate_sidecar::settings::{Format, Settings};

const FORMATS: [Format; 4] = [Format::Json, Format::Toml, Format::Dotenv, Format::Yaml];

/// The first byte chooses the form.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        "0{ // one\n \"env\": {\"A\": \"x\", /* two */ \"B\": [1, -2e3, null],}, \"model\": \"\\u00e9\" }\n",
        "0\u{feff}{\r\n\t\"a\": {}\r\n}",
        "1# one\nmodel = 'x' # two\nt = { a = 1, b = [2] }\n\n[model_providers.f]\nenv.A = \"y\"\n[[l]]\nd = 1979-05-27\n",
        "2# one\nexport A='x # y'\r\nB=\"two\nlines\"\nmodel=z # three\n",
        "3---\n# one\nmodel: 'x'  # two\nread:\n  - a\nenv: \"y\"\n",
    ];
    crate::texts(&texts)
}

/// What can be read is written back as it is; a key that can be set is there afterwards, one that can be removed is not, and neither
/// breaks the file.
pub(crate) fn change(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    let format = FORMATS[usize::from(*first) % FORMATS.len()];
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let Ok(settings) = Settings::parse(format, text) else { return };
    assert_eq!(settings.text(), text);
    let _everything = settings.value();
    for key in [&["model"][..], &["env", "A"]] {
        let key: Vec<String> = key.iter().map(|name| (*name).to_owned()).collect();
        let parse = || Settings::parse(format, text).ok().filter(|settings| settings.get(&key).is_ok());
        let is_flat = matches!(format, Format::Dotenv | Format::Yaml) && key.len() > 1;
        let Some(mut set) = parse().filter(|_| !is_flat) else { continue };
        let value = "http://127.0.0.1:4000".into();
        if set.set(&key, &value).is_ok() {
            let again = Settings::parse(format, &set.text()).map(|again| again.get(&key));
            assert_eq!(again, Ok(Ok(Some(value))), "{:?}", set.text());
        }
        let Some(mut removed) = parse() else { continue };
        if removed.remove(&key).is_ok() {
            let again = Settings::parse(format, &removed.text()).map(|again| again.get(&key));
            // A table with nobody's keys but somebody's comment stays.
            let is_gone = |value: Option<serde_json::Value>| value.is_none_or(|value| value.is_object());
            assert!(again.is_ok_and(|value| value.is_ok_and(is_gone)), "{:?}", removed.text());
        }
    }
}
