//! A deployment that fails is left out for a while, and nobody is refused because of that.

use fleetgate_tests::upstream::anthropic;
use fleetgate_tests::upstream::openai::{chat_events, chat_request, stream_request};
use fleetgate_tests::{Answer, Gateway, MASTER_KEY, Reply, Upstream, eventually};
use serde_json::{Value, json};

/// Two deployments of one group, the second upstream parked behind the first.
async fn pair(first: &Upstream, second: &Upstream, settings: &[(&str, Value)]) -> Gateway {
    Gateway::start(|c| {
        let c = c.deployment("gpt-x", "openai/gpt-x", first, &json!({"order": 1}));
        let c = c.deployment("gpt-x", "openai/gpt-x", second, &json!({"order": 2}));
        settings.iter().fold(c, |c, (name, value)| c.set("router_settings", name, value.clone()))
    })
    .await
}

async fn call(gw: &Gateway) -> Answer {
    gw.post("/v1/chat/completions").bearer(MASTER_KEY).json(&chat_request("gpt-x")).send().await
}

fn failure(status: u16) -> Reply {
    Reply::json(status, &json!({"error": {"message": "no"}}))
}

#[tokio::test]
async fn a_deployment_that_wants_to_be_left_alone_is_and_is_asked_again_later() {
    let (first, second) = (Upstream::start().await, Upstream::start().await);
    let gw = pair(&first, &second, &[]).await;
    first.reply(failure(429).header("retry-after", "3600"));
    for _ in 0..10 {
        call(&gw).await.expect(200);
    }
    assert_eq!((first.requests().len(), second.requests().len()), (1, 10));
    assert_eq!(gw.rows().await.len(), 11, "each attempt has its row");
    assert!(gw.stderr().contains("left out for a while"), "{}", gw.stderr());

    let gw = pair(&first, &second, &[("cooldown_time", json!(0.2))]).await;
    first.reply(failure(429));
    call(&gw).await.expect(200);
    eventually("the deployment is asked again", async || {
        call(&gw).await.expect(200);
        (first.requests().len() > 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_provider_that_counts_no_tokens_is_well() {
    let (first, second) = (Upstream::start().await, Upstream::start().await);
    let gw = Gateway::start(|c| {
        let c = c.deployment("sonnet", "anthropic/claude-sonnet-4-5", &first, &json!({"order": 1}));
        c.deployment("sonnet", "anthropic/claude-sonnet-4-5", &second, &json!({"order": 2}))
    })
    .await;
    first.reply(failure(404));
    let body = anthropic::request("sonnet");
    gw.post("/v1/messages/count_tokens").bearer(MASTER_KEY).json(&body).send().await.expect(200);
    gw.post("/v1/messages").bearer(MASTER_KEY).json(&body).send().await.expect(200);
    assert_eq!((first.requests().len(), second.requests().len()), (2, 1));
}

#[tokio::test]
async fn where_all_rest_everyone_is_asked_as_before() {
    let (first, second) = (Upstream::start().await, Upstream::start().await);
    let gw = pair(&first, &second, &[]).await;
    let limited = failure(429).header("retry-after", "3600");
    first.always(limited.clone());
    second.always(limited);
    for calls in 1..=3 {
        let answer = call(&gw).await.expect(429);
        assert_eq!(answer.header("x-fleetgate-reason"), "", "the provider's own answer");
        assert_eq!((first.requests().len(), second.requests().len()), (calls, calls));
    }
}

#[tokio::test]
async fn failures_in_the_middle_of_answers_count_too() {
    let (first, second) = (Upstream::start().await, Upstream::start().await);
    let gw = pair(&first, &second, &[("allowed_fails", json!(1)), ("cooldown_time", json!(3600))]).await;
    first.always(Reply::stream(chat_events("gpt-x", &["a", "b"], true)).reset_after(1));
    for asked in [1, 2, 2] {
        drop(gw.post("/v1/chat/completions").bearer(MASTER_KEY).json(&stream_request("gpt-x")).send().await);
        eventually("the row is there", async || {
            (gw.rows().await.len() == first.requests().len() + second.requests().len()).then_some(())
        })
        .await;
        assert_eq!(first.requests().len(), asked);
    }
}

#[tokio::test]
async fn the_only_deployment_gives_way_to_its_fallback_where_a_number_says_so() {
    let (first, second) = (Upstream::start().await, Upstream::start().await);
    let start = |settings: Vec<(&'static str, Value)>| {
        Gateway::start(|c| {
            let c = c.model("gpt-x", &first).model("gpt-y", &second);
            let c = c.set("router_settings", "fallbacks", json!([{"gpt-x": ["gpt-y"]}]));
            settings.into_iter().fold(c, |c, (name, value)| c.set("router_settings", name, value))
        })
    };
    first.always(failure(500));
    let gw = start(vec![("allowed_fails", json!(2)), ("cooldown_time", json!(3600))]).await;
    for _ in 0..6 {
        assert_eq!(call(&gw).await.expect(200).header("x-litellm-model-group"), "gpt-y");
    }
    assert_eq!(first.requests().len(), 3, "two failures are borne");
    let gw = start(vec![]).await;
    for _ in 0..6 {
        call(&gw).await.expect(200);
    }
    assert_eq!(first.requests().len(), 9, "by itself a lone deployment is always asked");
}
