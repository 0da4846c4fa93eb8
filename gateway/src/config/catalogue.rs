//! `fleetgate.catalogue`, and LiteLLM's discounts and margins: what prices are made of.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fleetgate_wire::money::NanoDollars;

use super::node::Node;
use super::report::Report;
use super::section::Section;
use super::{Environment, Origin, redact, scalar};

const REFRESH: Duration = Duration::from_secs(24 * 60 * 60);
const FILE_NAME: &str = "prices.json";

/// Where prices come from besides the program itself. By default nowhere: nothing is fetched that nobody asked for.
#[derive(Clone, PartialEq, Eq)]
pub struct CatalogueSettings {
    /// A price file's address.
    pub url: Option<String>,
    /// A price file on this machine; the address goes first.
    pub file: Option<PathBuf>,
    /// How often it is read.
    pub refresh: Duration,
    /// Take a file even if it knows fewer models or prices than the one in force.
    pub allow_shrink: bool,
    /// Where the last one is kept.
    pub cache: PathBuf,
}

impl CatalogueSettings {
    /// Whether there is anything to read.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.url.is_some() || self.file.is_some()
    }
}

impl Default for CatalogueSettings {
    fn default() -> Self {
        Self { url: None, file: None, refresh: REFRESH, allow_shrink: false, cache: PathBuf::from(FILE_NAME) }
    }
}

/// An address may hold a credential.
impl fmt::Debug for CatalogueSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CatalogueSettings")
            .field("url", &self.url.as_deref().map(redact::url))
            .field("file", &self.file)
            .field("refresh", &self.refresh)
            .field("allow_shrink", &self.allow_shrink)
            .field("cache", &self.cache)
            .finish()
    }
}

/// What the operator adds to or takes from a provider's prices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PriceAdjustments {
    /// `cost_discount_config`, in millionths, by provider.
    pub discounts: BTreeMap<String, u64>,
    /// `cost_margin_config`, by provider; `global` holds for all that have none.
    pub margins: BTreeMap<String, Margin>,
}

/// An addition to each price.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Margin {
    /// In millionths of the price.
    pub millionths: u64,
    /// For each call.
    pub fee: NanoDollars,
}

impl PriceAdjustments {
    /// Whether prices stay as they are.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.discounts.is_empty() && self.margins.is_empty()
    }

    /// A provider's margin.
    #[must_use]
    pub fn margin(&self, provider: &str) -> Margin {
        self.margins.get(provider).or_else(|| self.margins.get("global")).copied().unwrap_or_default()
    }
}

/// Reads `fleetgate.catalogue` and LiteLLM's two variables. `state`: the folder in which the last file is kept.
pub(super) fn read(
    own: &Section<'_>,
    environment: &Environment,
    state: &Path,
    report: &mut Report,
) -> CatalogueSettings {
    let section = Section::new("fleetgate.catalogue", own.get("catalogue"));
    let mut settings = CatalogueSettings { cache: state.join(FILE_NAME), ..CatalogueSettings::default() };
    if let Some((url, origin)) = url(&section, environment, report) {
        report.setting("fleetgate.catalogue.url", redact::url(&url), origin);
        settings.url = Some(url);
    }
    if let Some(given) = section.text("file", report) {
        // A path in a file is meant from where the file is.
        let beside = section.get("file").and_then(|node| node.place.file.parent().map(Path::to_path_buf));
        let path = beside.unwrap_or_default().join(given.value);
        report.setting("fleetgate.catalogue.file", path.display().to_string(), given.origin);
        settings.file = Some(path);
    }
    if let Some(node) = section.get("refresh") {
        match node.text().and_then(interval) {
            Some(refresh) => {
                report.setting("fleetgate.catalogue.refresh", format!("{} s", refresh.as_secs()), node.origin());
                settings.refresh = refresh;
            }
            None => report.error(
                node.place.origin(),
                "fleetgate.catalogue.refresh must be at least a minute, such as 30m, 12h or 1d",
            ),
        }
    }
    if let Some(given) = section.truth("allow_shrink", report) {
        report.setting("fleetgate.catalogue.allow_shrink", given.value.to_string(), given.origin);
        settings.allow_shrink = given.value;
    }
    settings
}

fn url(section: &Section<'_>, environment: &Environment, report: &mut Report) -> Option<(String, Origin)> {
    const LOCAL: &str = "LITELLM_LOCAL_MODEL_COST_MAP";
    let own = section.text("url", report).map(|given| (given.value, given.origin));
    let (url, origin) = own.or_else(|| {
        let is_local = environment.given(LOCAL).and_then(|(word, _)| scalar::truth(word)).unwrap_or(false);
        let variable = environment.given("LITELLM_MODEL_COST_MAP_URL").filter(|_| !is_local)?;
        Some((variable.0.to_owned(), variable.1))
    })?;
    if url.starts_with("https://") || url.starts_with("http://") {
        return Some((url, origin));
    }
    report.error(
        origin,
        "the price catalogue's url must begin with https:// or http://; for a file set fleetgate.catalogue.file",
    );
    None
}

/// `30m`, `12h`, `1d`, or seconds; at least a minute.
fn interval(text: &str) -> Option<Duration> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return None,
    };
    scalar::whole(number)?.checked_mul(seconds).filter(|seconds| *seconds >= 60).map(Duration::from_secs)
}

/// Reads `litellm_settings.cost_discount_config` and `.cost_margin_config`.
pub(super) fn adjustments(litellm: &Section<'_>, report: &mut Report) -> PriceAdjustments {
    let mut adjustments = PriceAdjustments::default();
    for entry in litellm.get("cost_discount_config").and_then(Node::map).unwrap_or_default() {
        let path = format!("litellm_settings.cost_discount_config.{}", entry.key);
        match share(&entry.node).filter(|millionths| *millionths <= 1_000_000) {
            Some(millionths) => {
                report.setting(path, entry.node.text().unwrap_or_default(), entry.node.origin());
                adjustments.discounts.insert(entry.key.clone(), millionths);
            }
            None => report.error(entry.place.origin(), format!("{path} must be a share from 0 to 1")),
        }
    }
    for entry in litellm.get("cost_margin_config").and_then(Node::map).unwrap_or_default() {
        let path = format!("litellm_settings.cost_margin_config.{}", entry.key);
        match margin(&entry.node) {
            Some(margin) => {
                let shown = format!("{} millionths and {} a call", margin.millionths, margin.fee);
                report.setting(path, shown, entry.node.origin());
                adjustments.margins.insert(entry.key.clone(), margin);
            }
            None => report.error(
                entry.place.origin(),
                format!("{path} must be a share such as 0.1, or a map of percentage and fixed_amount"),
            ),
        }
    }
    adjustments
}

fn margin(node: &Node) -> Option<Margin> {
    if node.map().is_none() {
        return Some(Margin { millionths: share(node)?, fee: NanoDollars::ZERO });
    }
    let millionths = node.get("percentage").map_or(Some(0), share)?;
    let fee = node.get("fixed_amount").map_or(Some(NanoDollars::ZERO), |node| {
        NanoDollars::from_dollars(scalar::number(node.text()?)?).filter(|fee| *fee >= NanoDollars::ZERO)
    })?;
    Some(Margin { millionths, fee })
}

/// A share in millionths.
fn share(node: &Node) -> Option<u64> {
    let share = scalar::number(node.text()?)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked in the same line"
    )]
    (0.0..=1000.0).contains(&share).then(|| (share * 1e6).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, variables: &[(&str, &str)]) -> Result<crate::config::Config, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.yaml");
        std::fs::write(&path, file).unwrap();
        let overrides = crate::config::Overrides {
            config: Some(path),
            database: Some("/var/lib/fleetgate/ledger.db".into()),
            ..Default::default()
        };
        let always = [("LITELLM_MASTER_KEY", "sk-0123456789abcdef0123456789")];
        let environment = always.iter().chain(variables).map(|(name, value)| ((*name).into(), (*value).into()));
        crate::config::load(&overrides, environment).map(|loaded| loaded.config).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_is_fetched_unless_somebody_says_so() {
        let settings = load("", &[]).unwrap().catalogue;
        assert!(!settings.is_on());
        assert_eq!(settings.cache, Path::new("/var/lib/fleetgate/prices.json"));
    }

    #[test]
    fn litellms_variables_count_and_the_file_goes_first() {
        let url = ("LITELLM_MODEL_COST_MAP_URL", "https://a.example/prices.json");
        let read = |file: &str, variables: &[(&str, &str)]| load(file, variables).unwrap().catalogue.url;
        assert_eq!(read("", &[url]).as_deref(), Some("https://a.example/prices.json"));
        assert_eq!(read("", &[url, ("LITELLM_LOCAL_MODEL_COST_MAP", "True")]), None);
        let own = "fleetgate: {catalogue: {url: 'http://127.0.0.1:1/p.json', refresh: 12h, allow_shrink: true}}";
        let settings = load(own, &[url]).unwrap().catalogue;
        assert_eq!(settings.url.as_deref(), Some("http://127.0.0.1:1/p.json"));
        assert_eq!((settings.refresh.as_secs(), settings.allow_shrink), (12 * 3600, true));
    }

    #[test]
    fn what_cannot_be_meant_is_an_error_that_names_its_key() {
        for (file, key) in [
            ("fleetgate: {catalogue: {url: 'file:///etc/prices.json'}}", "url"),
            ("fleetgate: {catalogue: {url: 'https://a.example', refresh: 10s}}", "fleetgate.catalogue.refresh"),
            ("litellm_settings: {cost_discount_config: {openai: 1.5}}", "cost_discount_config.openai"),
            ("litellm_settings: {cost_margin_config: {global: {percentage: much}}}", "cost_margin_config.global"),
        ] {
            let error = load(file, &[]).unwrap_err();
            assert!(error.contains(key), "{file}: {error}");
        }
    }

    #[test]
    fn discounts_and_margins_are_read_in_litellms_form() {
        let file = "litellm_settings:\n  cost_discount_config: {vertex_ai: 0.05}\n  cost_margin_config: {global: 0.1, openai: \
                    {percentage: 0.08, fixed_amount: 0.0005}}\n";
        let adjustments = load(file, &[]).unwrap().price_adjustments;
        assert_eq!(adjustments.discounts["vertex_ai"], 50_000);
        assert_eq!(adjustments.margin("groq"), Margin { millionths: 100_000, fee: NanoDollars::ZERO });
        assert_eq!(adjustments.margin("openai"), Margin { millionths: 80_000, fee: NanoDollars(500_000) });
    }

    #[test]
    fn an_address_with_a_credential_is_never_shown() {
        let settings = CatalogueSettings { url: Some("https://u:hunter2@a.example/p".into()), ..Default::default() };
        assert!(!format!("{settings:?}").contains("hunter2"));
    }

    #[test]
    fn an_interval_has_a_unit_and_a_least() {
        assert_eq!(interval("1d"), Some(REFRESH));
        assert_eq!(interval("90"), Some(Duration::from_secs(90)));
        assert_eq!(interval("12h"), Some(Duration::from_secs(12 * 3600)));
        for bad in ["59", "1w", "", "d", "-1d", "1.5h"] {
            assert_eq!(interval(bad), None, "{bad}");
        }
    }
}
