//! Which failures lead to which fallbacks, what each attempt is charged, and what passes untouched.

#![allow(clippy::expect_used, reason = "a broken expectation is a failed test")]

use fleetgate_tests::upstream::openai::{chat_request, stream_request};
use fleetgate_tests::{Answer, Gateway, MASTER_KEY, Reply, Upstream};
use serde_json::{Value, json};

const TOO_LONG: &str =
    r#"{"error":{"message":"This model's maximum context length is 8192 tokens.","code":"context_length_exceeded"}}"#;
const REFUSED: &str = r#"{"error":{"message":"The response was filtered","code":"content_filter"}}"#;

struct Fleet {
    gw: Gateway,
    small: Upstream,
    large: Upstream,
}

/// Two deployments of `small`, one of `large`, and lists of fallbacks.
async fn fleet(section: &str, lists: &[(&str, Value)]) -> Fleet {
    let (small, large) = (Upstream::start().await, Upstream::start().await);
    let gw = Gateway::start(|c| {
        let c = c.deployment("small", "openai/gpt-4.1-mini", &small, &json!({"order": 1}));
        let c = c.deployment("small", "openai/gpt-4.1-mini", &small, &json!({"order": 2, "timeout": 60}));
        let c = c.deployment("large", "openai/gpt-4.1", &large, &json!({}));
        lists.iter().fold(c, |c, (name, value)| c.set(section, name, value.clone()))
    })
    .await;
    Fleet { gw, small, large }
}

impl Fleet {
    async fn chat(&self, key: &str) -> Answer {
        self.gw.post("/v1/chat/completions").bearer(key).json(&chat_request("small")).send().await
    }

    fn asked(&self) -> (usize, usize) {
        (self.small.requests().len(), self.large.requests().len())
    }
}

#[tokio::test]
async fn a_prompt_that_is_too_long_goes_to_the_group_for_long_ones_at_once() {
    for section in ["litellm_settings", "router_settings"] {
        let fleet = fleet(section, &[("context_window_fallbacks", json!([{"small": ["large"]}]))]).await;
        fleet.small.always(Reply::literal(400, TOO_LONG));
        let answer = fleet.chat(MASTER_KEY).await.expect(200);
        assert_eq!(answer.header("x-litellm-model-group"), "large");
        assert_eq!(fleet.asked(), (1, 1), "the rest of the group is as small");
        let rows = fleet.gw.rows().await;
        let seen: Vec<_> = rows.iter().map(|row| (row.status.as_str(), row.http_status, row.cost_nanousd)).collect();
        assert_eq!((seen.len(), seen[1]), (2, ("failure", Some(400), Some(0))), "{seen:?}");
        assert!(seen[0].0 == "success" && seen[0].2 > Some(0), "{seen:?}");
        assert!(rows[1].error.as_deref().is_some_and(|error| error.contains("maximum context length")), "{rows:#?}");

        let stream = fleet.gw.post("/v1/chat/completions").bearer(MASTER_KEY).json(&stream_request("small"));
        assert!(stream.send().await.expect(200).text().contains("data: "));
        assert_eq!(fleet.asked(), (2, 2));
        assert!(!fleet.gw.stderr().contains("not honoured"), "{}", fleet.gw.stderr());
    }
}

#[tokio::test]
async fn refused_content_goes_to_a_group_that_may_have_it_and_both_are_charged() {
    let lists = [("content_policy_fallbacks", json!([{"small": ["large"]}]))];
    let fleet = fleet("router_settings", &lists).await;
    // Four answers have 1,050 tokens each.
    let key = fleet.gw.key(&json!({"key_alias": "vk", "max_budget": 5, "tpd_limit": 4000})).await;
    fleet.small.reply(Reply::literal(400, REFUSED));
    fleet.chat(&key).await.expect(200);
    let filtered = json!({"id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-4.1-mini",
        "choices": [{"index": 0, "finish_reason": "content_filter", "message": {"role": "assistant", "content": ""}}],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 50, "total_tokens": 1050}});
    fleet.small.reply(Reply::json(200, &filtered));
    assert_eq!(fleet.chat(&key).await.expect(200).header("x-litellm-model-group"), "large");
    assert_eq!(fleet.asked(), (2, 2));
    let costs: Vec<_> = fleet.gw.rows().await.iter().map(|row| row.cost_nanousd).collect();
    // Newest first: what was filtered was answered and is paid, what was refused is not.
    assert_eq!((costs.len(), costs[1], costs[3]), (4, Some(1000 * 400 + 50 * 1600), Some(0)), "{costs:?}");
    let spent: i64 = costs.iter().map(|cost| cost.expect("a price")).sum();
    let budget = fleet.gw.admin_get("/api/budgets").await["budgets"][0].take();
    assert_eq!((&budget["spent_nanousd"], &budget["reserved_nanousd"]), (&json!(spent), &json!(0)), "{budget}");
    // A stream that has begun is never taken back.
    let stream = fleet.gw.post("/v1/chat/completions").bearer(&key).json(&stream_request("small"));
    stream.send().await.expect(200);
    assert_eq!(fleet.asked(), (3, 2));
    assert_eq!(fleet.chat(&key).await.expect(429).header("rate_limit_type"), "tokens_per_day");
}

#[tokio::test]
async fn what_no_list_is_for_passes_byte_for_byte() {
    let general = ("fallbacks", json!([{"small": ["large"]}]));
    let fleet = fleet("router_settings", &[general, ("context_window_fallbacks", json!([{"other": ["large"]}]))]).await;
    let odd = "{ \"error\" : {\"message\": \"temperature must be at most 2\"}}\n";
    for body in [TOO_LONG, REFUSED, odd] {
        fleet.small.reply(Reply::literal(400, body).header("x-request-id", "r1"));
        let answer = fleet.chat(MASTER_KEY).await.expect(400);
        assert_eq!((answer.text().as_str(), answer.header("x-request-id")), (body, "r1"));
    }
    assert_eq!(fleet.asked(), (3, 0));
    assert_eq!(fleet.gw.rows().await.len(), 3);
}

#[tokio::test]
async fn what_was_looked_at_and_is_no_complaint_passes_byte_for_byte() {
    let lists = [
        ("context_window_fallbacks", json!([{"*": ["large"]}])),
        ("content_policy_fallbacks", json!([{"*": ["large"]}])),
    ];
    let fleet = fleet("router_settings", &lists).await;
    let odd = "{ \"error\" : {\"message\": \"temperature must be at most 2\"}}\n";
    fleet.small.reply(Reply::literal(400, odd));
    assert_eq!(fleet.chat(MASTER_KEY).await.expect(400).text(), odd);
    let answer =
        r#"{"id":"c", "choices": [{"finish_reason":"stop"}],  "usage": {"prompt_tokens": 7, "completion_tokens": 1}} "#;
    fleet.small.reply(Reply::literal(200, answer).header("content-type", "application/json"));
    assert_eq!(fleet.chat(MASTER_KEY).await.expect(200).text(), answer);
    assert_eq!((fleet.gw.rows().await[0].input_tokens, fleet.asked()), (Some(7), (2, 0)));
    // An answer that breaks off while it is looked at is as broken as ever.
    fleet.small.reply(Reply::raw(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{\"error\":",
    ));
    let broken = fleet.chat(MASTER_KEY).await;
    assert!(!broken.whole && broken.status == 400 && broken.text() == "{\"error\":", "{}", broken.text());
}

#[tokio::test]
async fn where_the_fallback_complains_as_well_its_answer_passes() {
    let lists = [("context_window_fallbacks", json!([{"small": ["large"]}, {"large": ["small"]}]))];
    let fleet = fleet("router_settings", &lists).await;
    fleet.small.always(Reply::literal(400, TOO_LONG));
    let theirs = TOO_LONG.replace("8192", "1048576");
    fleet.large.always(Reply::literal(400, theirs.clone()));
    assert_eq!(fleet.chat(MASTER_KEY).await.expect(400).text(), theirs);
    assert_eq!(fleet.asked(), (1, 1), "no group is tried twice");
    assert_eq!(fleet.gw.rows().await.len(), 2);
}

#[tokio::test]
async fn a_credential_that_does_not_work_sends_calls_to_others_and_not_back_to_the_same() {
    let lists =
        [("default_fallbacks", json!(["large"])), ("num_retries", json!(2)), ("disable_cooldowns", json!(true))];
    let fleet = fleet("router_settings", &lists).await;
    for status in [401, 402, 403, 404] {
        let gone = fleet.asked();
        let no = Reply::json(status, &json!({"error": {"message": "no"}}));
        fleet.small.reply(no.clone());
        fleet.small.reply(no);
        let answer = fleet.chat(MASTER_KEY).await.expect(200);
        assert_eq!((fleet.asked().0 - gone.0, fleet.asked().1 - gone.1), (2, 1), "{status}: each once");
        assert_eq!(answer.header("x-litellm-model-group"), "large", "{status}");
    }
    fleet.large.always(Reply::json(401, &json!({"error": {"message": "whose key is that?"}})));
    fleet.small.always(Reply::json(401, &json!({"error": {"message": "no"}})));
    let refused = fleet.chat(MASTER_KEY).await.expect(401);
    assert!(refused.text().contains("whose key is that?"), "the last one's own words: {}", refused.text());
}

#[tokio::test]
async fn one_request_tries_so_many_groups_and_no_more() {
    let upstream = Upstream::start().await;
    let gw = Gateway::start(|c| {
        let c = ["a", "b", "c", "d"].into_iter().fold(c, |c, name| c.model(name, &upstream));
        c.set("router_settings", "fallbacks", json!([{"a": ["b", "c", "d"]}])).set(
            "router_settings",
            "max_fallbacks",
            json!(2),
        )
    })
    .await;
    upstream.always(Reply::json(500, &json!({"error": {"message": "no"}})));
    gw.post("/v1/chat/completions").bearer(MASTER_KEY).json(&chat_request("a")).send().await.expect(500);
    let models: Vec<_> = upstream.requests().iter().map(|request| request.json()["model"].clone()).collect();
    assert_eq!(models, ["a", "b", "c"]);
}
