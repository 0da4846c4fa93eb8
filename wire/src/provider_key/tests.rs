use proptest::prelude::*;

use super::*;
use crate::ExposeSecret;
use crate::virtual_key::VirtualKey;

/// So many characters of no pattern, from an alphabet. Nothing here was ever anybody's key.
fn body(alphabet: &str, length: usize) -> String {
    let alphabet = alphabet.as_bytes();
    let mut state = length as u32;
    let mut pick = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        alphabet[(state >> 16) as usize % alphabet.len()]
    };
    (0..length).map(|_| char::from(pick())).collect()
}

const BASE62: &str = "k3Zp9QxW2mVb7RtYc4NfJ8sHdLgA5uEi6oTeKw1zBqXyM0vCnPrSaDhFjGlU";
const HEX: &str = "9f3c7a1e5b8d2064";

#[test]
fn each_provider_is_known_by_the_form_of_its_keys() {
    let (any, hex) = (|length| body(BASE62, length), |length| body(HEX, length));
    let letters = body(&BASE62.replace(|c: char| c.is_ascii_digit(), ""), 34);
    let uuid = format!("{}-{}-{}-{}-{}", hex(8), hex(4), hex(4), hex(4), hex(12));
    for (provider, key) in [
        ("openai", format!("sk-{}T3BlbkFJ{}", any(20), any(20))),
        ("openai", format!("sk-proj-{}T3BlbkFJ{}", any(74), any(74))),
        ("openai", format!("sk-svcacct-{}T3BlbkFJ{}", any(58), any(58))),
        ("anthropic", format!("sk-ant-api03-{}AA", any(93))),
        ("anthropic", format!("sk-ant-admin01-{}AA", any(93))),
        ("anthropic", format!("sk-ant-oat01-{}", any(80))),
        ("openrouter", format!("sk-or-v1-{}", hex(64))),
        ("google", format!("AIzaSy{}", any(33))),
        ("google", format!("ya29.{}", any(60))),
        ("azure", format!("{}JQQJ99{}ACOG{}", any(52), "BCDEFGHIJK", any(12))),
        ("bedrock", format!("ABSK{}==", any(100))),
        ("aws", "AKIAQ3EGRZ7MTXK5N2VU".to_owned()),
        ("perplexity", format!("pplx-{}", any(48))),
        ("xai", format!("xai-{}", any(80))),
        ("groq", format!("gsk_{}", any(52))),
        ("dashscope", format!("sk-sp-{}", any(32))),
        ("kimi", format!("sk-kimi-{}", any(64))),
        ("minimax", format!("sk-api-{}", any(80))),
        ("minimax", format!("sk-cp-{}", any(90))),
        ("zai", format!("{}.{}", hex(32), any(16))),
        ("together", format!("tgp_v1_{}", any(43))),
        ("fireworks", format!("fw_{}", any(24))),
        ("huggingface", format!("hf_{letters}")),
        ("replicate", format!("r8_{}", any(37))),
        ("elevenlabs", format!("sk_{}", hex(48))),
        ("nvidia", format!("nvapi-{}", any(64))),
        ("langsmith", format!("lsv2_pt_{}_{}", hex(32), hex(10))),
        ("langfuse", format!("sk-lf-{uuid}")),
        ("modelscope", format!("ms-{uuid}")),
        ("qianfan", format!("bce-v3/ALTAK-{}/{}", any(21), hex(40))),
        ("cursor", format!("crsr_{}", any(64))),
        ("unknown", format!("sk-{}", hex(32))),
        ("unknown", format!("sk-{}", any(22))),
    ] {
        let found = recognise(&key).unwrap_or_else(|| panic!("{provider}"));
        assert_eq!(found.provider(), provider);
        assert_eq!(recognise(&format!("Bearer {key}")), Some(found.clone()));
        assert_eq!(found.to_string().parse(), Ok(found));
    }
}

#[test]
fn our_own_keys_dummies_and_placeholders_are_no_providers_keys() {
    let minted = VirtualKey::mint().unwrap();
    assert_eq!(recognise(minted.expose_secret()), None);
    for text in [
        "",
        "-",
        "dummy",
        "DUMMY_KEY",
        "sk-1234",
        "sk-dummy-dummy-dummy-dummy",
        "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "sk-your-api-key-goes-here",
        "sk-ant-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "sk-no-key-required-here",
        "sk-0123456789abcdef0123456789abcdef",
        "AKIAIOSFODNN7EXAMPLE",
        "9f3c7a1e5b8d20649f3c7a1e5b8d2064",
        "2f1a3d34-9f6e-4b1c-8d3f-0e1f2a3b4c5d",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "Basic dXNlcjpwYXNz",
        "sk-with a blank inside it",
        "sk-ümlaut-ümlaut-ümlaut",
    ] {
        assert_eq!(recognise(text), None, "{text:?}");
    }
}

#[test]
fn a_fingerprint_begins_as_the_hash_does() {
    // printf %s sk-Xn3Q0d0cFv0mJq1mT9wq7g | sha256sum
    let sighting = recognise("sk-Xn3Q0d0cFv0mJq1mT9wq7g").unwrap();
    assert_eq!(sighting.to_string(), "unknown:c930bf063c63c9da");
    let key = VirtualKey::parse("sk-Xn3Q0d0cFv0mJq1mT9wq7g").unwrap();
    assert_eq!(sighting.fingerprint(), Fingerprint::from(&key.hash()));
}

#[test]
fn what_a_header_says_is_read_strictly() {
    for bad in ["", "openai", "openai:", ":c930bf063c63c9da", "openai:c930bf063c63c9d", "openai:+930bf063c63c9da"] {
        assert_eq!(bad.parse::<ProviderKeySighting>(), Err(SightingError), "{bad:?}");
    }
    for bad in ["Open AI:c930bf063c63c9da", "openai:c930bf063c63c9da0", "a\u{e4}:c930bf063c63c9da"] {
        assert_eq!(bad.parse::<ProviderKeySighting>(), Err(SightingError), "{bad:?}");
    }
    assert!("a-provider-of-tomorrow:C930BF063C63C9DA".parse::<ProviderKeySighting>().is_ok());
}

proptest! {
    #[test]
    fn nothing_that_is_shown_holds_eight_bytes_of_the_key(
        prefix in prop::sample::select(vec!["sk-", "sk-ant-api03-", "sk-or-v1-", "sk-proj-", "AIza", "gsk_", "xai-", "sk-cp-"]),
        body in "[A-Za-z0-9_-]{16,120}",
    ) {
        let key = format!("{prefix}{body}");
        if let Some(found) = recognise(&key) {
            let shown = format!("{found} {found:?} {} {:?}", found.provider(), found.fingerprint());
            for run in key.as_bytes().windows(8) {
                let run = std::str::from_utf8(run).unwrap();
                prop_assert!(!shown.contains(run), "{shown}");
            }
        }
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in "\\PC*") {
        let _any = recognise(&text);
        let _any = text.parse::<ProviderKeySighting>();
    }
}
