//! The forms of the providers' keys, as a table.

use super::UNKNOWN;
use crate::virtual_key::MINTED_PREFIX;

/// What may stand behind a prefix.
type Allowed = fn(u8) -> bool;

/// A form that tells whose key it is.
struct Form {
    provider: &'static str,
    prefix: &'static str,
    allowed: Allowed,
    /// How many characters stand behind the prefix.
    length: std::ops::RangeInclusive<usize>,
}

const fn form(provider: &'static str, prefix: &'static str, allowed: Allowed, least: usize, most: usize) -> Form {
    Form { provider, prefix, allowed, length: least..=most }
}

/// No provider's key is longer, OAuth tokens among them.
const MOST: usize = 2048;

/// Where a provider's documentation and the scanners disagree about a length, the shorter one counts.
static FORMS: [Form; 31] = [
    form("anthropic", "sk-ant-", word, 40, MOST),
    form("openrouter", "sk-or-v1-", hex, 64, 64),
    form("kimi", "sk-kimi-", word, 20, MOST),
    form("minimax", "sk-api-", word, 20, MOST),
    form("minimax", "sk-cp-", word, 80, MOST),
    form("dashscope", "sk-sp-", word, 20, MOST),
    form("langfuse", "sk-lf-", uuid, 36, 36),
    form("langfuse", "pk-lf-", uuid, 36, 36),
    form("google", "AIza", word, 35, 35),
    form("google", "ya29.", word, 20, MOST),
    form("google", "GOCSPX-", word, 28, 28),
    form("bedrock", "ABSK", base64, 20, MOST),
    form("aws", "AKIA", base32, 16, 16),
    form("aws", "ASIA", base32, 16, 16),
    form("aws", "ABIA", base32, 16, 16),
    form("aws", "ACCA", base32, 16, 16),
    form("perplexity", "pplx-", alphanumeric, 48, 48),
    form("xai", "xai-", word, 80, 80),
    form("groq", "gsk_", alphanumeric, 52, 52),
    form("together", "tgp_v1_", word, 43, 43),
    form("fireworks", "fw_", alphanumeric, 22, MOST),
    form("fireworks", "fwp_", alphanumeric, 22, MOST),
    form("huggingface", "hf_", alphabetic, 34, 34),
    form("huggingface", "api_org_", alphabetic, 34, 34),
    form("replicate", "r8_", word, 37, 37),
    form("elevenlabs", "sk_", hex, 48, 48),
    form("nvidia", "nvapi-", word, 64, 64),
    form("langsmith", "lsv2_", word, 46, 46),
    form("modelscope", "ms-", uuid, 36, 36),
    form("qianfan", "bce-v3/", path, 20, MOST),
    form("cursor", "crsr_", word, 32, MOST),
];

/// `OpenAI` in base 64: it stands in the middle of each of its keys.
const OPENAI_MARK: &str = "T3BlbkFJ";
const OPENAI_SIDE: usize = 20;
/// Azure's keys of 84 characters have this behind the first 52.
const AZURE_MARK: &str = "JQQJ99";
const AZURE_LENGTH: usize = 84;
const AZURE_BEFORE: usize = 52;

/// The shortest text of unknown origin that is taken for a key.
const LEAST_UNKNOWN: usize = 20;
/// A real key is random: so few different characters are somebody's idea of one.
const LEAST_DISTINCT: usize = 8;
/// Words of texts that stand where a key belongs. Long enough that no random key has one.
const PLACEHOLDERS: [&str; 6] = ["placeholder", "example", "changeme", "change-me", "redacted", "0123456789"];
/// Words that a random key may have by chance, though rarely: they count only where nothing else speaks for a key.
const LIKELY_PLACEHOLDERS: [&str; 11] =
    ["dummy", "your", "fake", "test", "none", "xxxx", "sample", "replace", "no-key", "not-needed", "123456789"];

/// Whose key it is.
pub(super) fn provider_of(text: &str) -> Option<&'static str> {
    if text.starts_with(MINTED_PREFIX) || text.len() > MOST || holds(text, &PLACEHOLDERS) || is_monotonous(text) {
        return None;
    }
    if let Some(form) = FORMS.iter().find(|form| form.fits(text)) {
        return Some(form.provider);
    }
    if is_openai(text) {
        return Some("openai");
    }
    if is_zai(text) {
        return Some("zai");
    }
    if text.len() == AZURE_LENGTH && text.bytes().all(alphanumeric) && text[AZURE_BEFORE..].starts_with(AZURE_MARK) {
        return Some("azure");
    }
    let body = text.strip_prefix("sk-")?;
    let is_likely = text.len() >= LEAST_UNKNOWN && body.bytes().all(word) && !holds(text, &LIKELY_PLACEHOLDERS);
    is_likely.then_some(UNKNOWN)
}

impl Form {
    fn fits(&self, text: &str) -> bool {
        text.strip_prefix(self.prefix)
            .is_some_and(|body| self.length.contains(&body.len()) && body.bytes().all(self.allowed))
    }
}

fn is_openai(text: &str) -> bool {
    let Some((before, after)) = text.strip_prefix("sk-").and_then(|body| body.split_once(OPENAI_MARK)) else {
        return false;
    };
    [before, after].iter().all(|side| side.len() >= OPENAI_SIDE && side.bytes().all(word))
}

/// z.ai: 32 hexadecimal digits, a dot, 16 characters.
fn is_zai(text: &str) -> bool {
    let Some((id, secret)) = text.split_once('.') else { return false };
    id.len() == 32 && id.bytes().all(hex) && secret.len() == 16 && secret.bytes().all(alphanumeric)
}

fn holds(text: &str, words: &[&str]) -> bool {
    let text = text.to_ascii_lowercase();
    words.iter().any(|word| text.contains(word))
}

fn is_monotonous(text: &str) -> bool {
    // The prefix has characters of its own.
    let body = text.get(text.len().min(6)..).unwrap_or_default();
    let mut seen = [false; 256];
    body.bytes().for_each(|byte| seen[usize::from(byte)] = true);
    seen.iter().filter(|seen| **seen).count() < LEAST_DISTINCT
}

fn word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn alphanumeric(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn alphabetic(byte: u8) -> bool {
    byte.is_ascii_alphabetic()
}

fn hex(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'a'..=b'f')
}

fn uuid(byte: u8) -> bool {
    hex(byte) || byte == b'-'
}

fn base32(byte: u8) -> bool {
    byte.is_ascii_uppercase() || matches!(byte, b'2'..=b'7')
}

fn base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

fn path(byte: u8) -> bool {
    word(byte) || byte == b'/'
}
