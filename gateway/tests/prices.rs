//! Answers in the shapes that providers give them, each with its usage and a cost written out as a sum that a person can check.
//! `prices/*.json` has one case a line; README.md there says what its members mean, and where the prices are from.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests: a failure is what they are for, and they print their figure"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use fleetgate_gateway::config::{Deployment, Origin};
use fleetgate_gateway::meter::{Meter, Reading};
use fleetgate_gateway::price::{Bound, Catalogue, Cost, PriceSource, PricedRow, Pricer};
use fleetgate_wire::endpoint::Endpoint;
use fleetgate_wire::usage::{Usage, UsageSource};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    endpoint: String,
    provider: String,
    model: String,
    #[serde(default)]
    prices: BTreeMap<String, f64>,
    base_model: Option<String>,
    prompt_bytes: Option<u64>,
    answer: Option<Value>,
    stream: Option<Vec<Event>>,
    usage: Option<Usage>,
    #[serde(default = "provider")]
    usage_source: String,
    service_tier: Option<String>,
    finished: Option<bool>,
    error: Option<String>,
    cost: Option<String>,
    #[serde(default = "catalogue")]
    price_source: String,
    price_name: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Event {
    event: Option<String>,
    data: Value,
}

fn provider() -> String {
    "provider".to_owned()
}

fn catalogue() -> String {
    "catalogue".to_owned()
}

fn cases() -> Vec<Case> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/prices");
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "json"));
    files.sort();
    let read = |path| serde_json::from_slice::<Vec<Case>>(&fs::read(path).unwrap()).unwrap();
    files.iter().flat_map(read).collect()
}

impl Case {
    /// The answer as it comes over the wire.
    fn text(&self) -> Option<String> {
        if let Some(answer) = &self.answer {
            return Some(answer.to_string());
        }
        let events = self.stream.as_ref()?.iter().map(|event| {
            let name = event.event.as_ref().map(|name| format!("event: {name}\n")).unwrap_or_default();
            match &event.data {
                Value::String(word) => format!("{name}data: {word}\n\n"),
                data => format!("{name}data: {data}\n\n"),
            }
        });
        Some(events.collect())
    }

    /// What the meter makes of it in pieces of this size.
    fn reading(&self, size: usize) -> Reading {
        let Some(text) = self.text() else {
            let (usage, service_tier) = (self.usage, self.service_tier.clone());
            return Reading { usage, usage_source: UsageSource::Provider, service_tier, ..Reading::default() };
        };
        let endpoint = Endpoint::of_path(match self.endpoint.as_str() {
            "chat" => "/chat/completions",
            "completions" => "/completions",
            "embeddings" => "/embeddings",
            "responses" => "/responses",
            "messages" => "/messages",
            other => panic!("{}: no endpoint {other}", self.name),
        });
        let is_stream = self.stream.is_some();
        let kind = if is_stream { "text/event-stream" } else { "application/json" };
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
        let mut meter = Meter::new(endpoint.unwrap(), StatusCode::OK, &headers, is_stream, false);
        for piece in text.as_bytes().chunks(size) {
            meter.see(Bytes::copy_from_slice(piece));
        }
        meter.rest();
        let mut reading = meter.read();
        if let Some(bytes) = self.prompt_bytes {
            reading.estimate(bytes);
        }
        reading
    }

    fn deployment(&self) -> Deployment {
        Deployment {
            index: 0,
            id: "entry".to_owned(),
            model_name: self.model.clone(),
            model: self.model.clone(),
            custom_provider: None,
            api_key: None,
            names_key: false,
            api_base: None,
            api_version: None,
            organization: None,
            extra_headers: Vec::new(),
            extra_body: serde_json::Map::default(),
            defaults: serde_json::Map::default(),
            drop_params: None,
            additional_drop_params: Vec::new(),
            weight: 1,
            order: 0,
            cooldown: Default::default(),
            timeout: None,
            stream_timeout: None,
            mock_response: None,
            rates: Default::default(),
            prices: self.prices.clone(),
            base_model: self.base_model.clone(),
            model_info: serde_json::Map::default(),
            origin: Origin::Default,
        }
    }

    fn nanos(&self) -> Option<i64> {
        self.cost.as_deref().map(evaluate)
    }
}

/// A sum of products of decimal numbers, in nano-dollars, rounded half up at its end. Integers only, and nothing of the program's
/// own arithmetic.
fn evaluate(sum: &str) -> i64 {
    const MILLIONTHS: i128 = 1_000_000;
    let total: i128 = sum
        .split(" + ")
        .map(|product| {
            let (mut value, mut decimals) = (1i128, 0usize);
            for factor in product.split('*') {
                let (whole, fraction) = factor.split_once('.').unwrap_or((factor, ""));
                value *= format!("{whole}{fraction}").parse::<i128>().unwrap();
                decimals += fraction.len();
            }
            value * MILLIONTHS / 10i128.pow(u32::try_from(decimals).unwrap())
        })
        .sum();
    i64::try_from((total + MILLIONTHS / 2) / MILLIONTHS).unwrap()
}

#[test]
fn the_evaluator_can_reckon() {
    assert_eq!(evaluate("0"), 0);
    assert_eq!(evaluate("60*400 + 40*100 + 3*5000000"), 15_028_000);
    assert_eq!(evaluate("1*62.5 + 1*12.5"), 75);
    assert_eq!(evaluate("1*12.5"), 13);
}

#[test]
fn two_hundred_answers_cost_what_they_cost_by_hand() {
    let pricer = Pricer::new(Catalogue::built_in().unwrap());
    let cases = cases();
    let mut wrong = Vec::new();
    for case in &cases {
        for size in [7, 1 << 20] {
            let reading = case.reading(size);
            let cost = pricer.price(&case.deployment(), &case.provider, &case.model, &reading);
            wrong.extend(differences(case, &reading, &cost).map(|what| format!("{} ({size}): {what}", case.name)));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert!(cases.len() >= 200, "{} cases", cases.len());
    println!("{} answers, each usage and cost as worked out by hand", cases.len());
}

fn differences<'a>(case: &'a Case, reading: &Reading, cost: &Cost) -> impl Iterator<Item = String> + use<'a> {
    let shown = |wanted: String, found: String| (wanted != found).then(|| format!("wanted {wanted}, found {found}"));
    let json = |usage: &Option<Usage>| serde_json::to_string(usage).unwrap();
    let mut all = vec![
        shown(json(&case.usage), json(&reading.usage)),
        shown(case.usage_source.clone(), reading.usage_source.to_string()),
        shown(format!("{:?}", case.nanos()), format!("{:?}", cost.amount.map(|amount| amount.0))),
        shown(case.price_source.clone(), cost.source.word().to_owned()),
        shown(format!("{:?}", case.error), format!("{:?}", reading.error)),
    ];
    if let Some(name) = &case.price_name {
        all.push(shown(format!("{:?}", Some(name)), format!("{:?}", cost.price_name.as_deref())));
    }
    if let Some(tier) = &case.service_tier {
        all.push(shown(format!("{:?}", Some(tier)), format!("{:?}", reading.service_tier)));
    }
    if case.stream.is_some() {
        all.push(shown(case.finished.unwrap_or(true).to_string(), reading.finished.to_string()));
    }
    all.into_iter().flatten()
}

#[test]
fn every_name_stands_once() {
    let mut names: Vec<String> = cases().into_iter().map(|case| case.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn what_a_row_keeps_is_enough_to_price_it_again() {
    let pricer = Pricer::new(Catalogue::built_in().unwrap());
    for case in cases() {
        let (reading, deployment) = (case.reading(1 << 20), case.deployment());
        let cost = pricer.price(&deployment, &case.provider, &case.model, &reading);
        let stored = serde_json::to_string(&reading.usage).unwrap();
        let usage: Option<Usage> = serde_json::from_str(&stored).unwrap();
        let row = PricedRow {
            provider: &case.provider,
            asked: &case.model,
            answered: reading.model.as_deref(),
            usage: usage.as_ref(),
            service_tier: reading.service_tier.as_deref(),
            source: cost.source,
            price_name: cost.price_name.as_deref(),
            amount: cost.amount,
        };
        assert_eq!(pricer.reprice(&row, Some(&deployment), None), cost, "{}", case.name);
        if cost.source == PriceSource::Catalogue && case.base_model.is_none() {
            assert_eq!(pricer.reprice(&row, None, None), cost, "{}: its entry is gone", case.name);
        }
    }
}

#[test]
fn no_answer_costs_more_than_its_ceiling() {
    let pricer = Pricer::new(Catalogue::built_in().unwrap());
    let mut checked = 0;
    for case in cases() {
        let (reading, deployment) = (case.reading(1 << 20), case.deployment());
        let cost = pricer.price(&deployment, &case.provider, &case.model, &reading);
        let (Some(usage), Some(amount)) = (reading.usage, cost.amount) else { continue };
        // Charges that no request announces: what the provider says, sources it read, media by the piece.
        let is_announced = Usage { input: usage.input, output: usage.output, ..Usage::default() }.total() > 0
            && (usage.citations, usage.images, usage.audio_input_ms) == (0, 0, 0);
        if cost.source == PriceSource::Provider || !is_announced {
            continue;
        }
        let tier = reading.service_tier.as_deref();
        let bound = Bound { searches: usage.searches, tier, ..Bound::widest(usage.input) };
        let ceiling = pricer.ceiling(&deployment, &case.provider, &case.model, &bound).unwrap();
        assert!(ceiling.amount(usage.output) >= amount, "{}: {amount} above {ceiling:?}", case.name);
        checked += 1;
    }
    assert!(checked >= 150, "{checked}");
}
