//! No cap is ever exceeded, and none is left half used: many callers at once on little money. The figures are printed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken expectation is a failed test")]
#![allow(clippy::print_stdout, reason = "the figures are what a reader wants")]

use fleetgate_tests::Gateway;
use fleetgate_tests::burst::{ONE_CALL, burst, dear_request};
use fleetgate_tests::upstream::Upstream;
use serde_json::json;

async fn gateway(upstream: &Upstream) -> Gateway {
    Gateway::start(|c| {
        c.deployment("gpt-x", "openai/gpt-4.1-mini", upstream, &json!({})).set("fleetgate", "budget_wait", json!(120))
    })
    .await
}

async fn settled(gw: &Gateway, alias: &str) -> (i64, usize) {
    let rows: Vec<_> = gw.rows().await.into_iter().filter(|row| row.key_alias == alias).collect();
    (rows.iter().map(|row| row.cost_nanousd.unwrap_or(0)).sum(), rows.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_callers_never_spend_more_than_a_cent() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    let key = gw.key(&json!({"key_alias": "vk-cent", "max_budget": 0.01})).await;
    let call = |number: usize| {
        let body = dear_request(number.is_multiple_of(2), number.is_multiple_of(3).then_some(100));
        gw.post("/v1/chat/completions").bearer(&key).json(&body)
    };
    let seen = burst((0..1000).map(call).collect()).await;
    let (spent, rows) = settled(&gw, "vk-cent").await;
    let passed = seen.get(&200).copied().unwrap_or(0);
    println!(
        "a cap of $0.01 and 1,000 callers: {passed} passed, {rows} rows, {spent} of 10000000 nano-dollars spent: {seen:?}"
    );
    assert!(spent <= 10_000_000, "the cap was exceeded: {spent}");
    let worth = usize::try_from(10_000_000 / ONE_CALL).expect("small");
    assert!(passed + 1 >= worth, "money was left unused: {passed} of {worth}");
    assert_eq!(passed, rows);
    assert_eq!(seen.values().sum::<usize>(), 1000);
    assert_eq!(passed + seen.get(&402).copied().unwrap_or(0), 1000, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_callers_on_a_cap_worth_ten_nine_or_ten_pass() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    #[allow(clippy::cast_precision_loss)]
    let cap = (10 * ONE_CALL) as f64 / 1e9;
    for (stream, max_tokens) in [(false, None), (true, None), (false, Some(50)), (true, Some(200)), (false, Some(4000))]
    {
        let alias = format!("vk-{stream}-{max_tokens:?}");
        let key = gw.key(&json!({"key_alias": alias, "max_budget": cap})).await;
        let body = dear_request(stream, max_tokens);
        let call = |_| gw.post("/v1/chat/completions").bearer(&key).json(&body);
        let seen = burst((0..100).map(call).collect()).await;
        let (spent, rows) = settled(&gw, &alias).await;
        println!(
            "a cap worth 10 calls, 100 callers, stream {stream}, max_tokens {max_tokens:?}: {seen:?}, {rows} rows"
        );
        assert!(spent <= 10 * ONE_CALL, "the cap was exceeded: {spent}");
        assert!((9..=10).contains(&seen.get(&200).copied().unwrap_or(0)), "{seen:?}");
    }
}

#[tokio::test]
async fn one_after_another_ten_calls_pass_on_a_cap_worth_ten_and_never_eleven() {
    let upstream = Upstream::start().await;
    let gw = gateway(&upstream).await;
    #[allow(clippy::cast_precision_loss)]
    let cap = (10 * ONE_CALL) as f64 / 1e9;
    let key = gw.key(&json!({"key_alias": "vk-ten", "max_budget": cap})).await;
    let mut passed = 0;
    for _ in 0..14 {
        let answer = gw.post("/v1/chat/completions").bearer(&key).json(&dear_request(false, None)).send().await;
        passed += usize::from(answer.status == 200);
    }
    let (spent, _) = settled(&gw, "vk-ten").await;
    println!("a cap worth 10 calls, one after another: {passed} passed");
    assert!((9..=10).contains(&passed) && spent <= 10 * ONE_CALL, "{passed} passed, {spent} spent");
}

/// Providers do not always charge what a request seems to ask for: some put a prompt of their own in front, others count far fewer
/// tokens than there are bytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cap_holds_and_is_used_whatever_the_provider_counts() {
    let upstream = Upstream::start().await;
    for (prompt, output) in [(9, 12), (12, 20), (300, 5), (20, 300)] {
        // A deployment of which nothing is known yet.
        let gw = gateway(&upstream).await;
        let usage = json!({"prompt_tokens": prompt, "completion_tokens": output});
        let body = json!({"id": "chatcmpl-1", "model": "gpt-4.1-mini", "usage": usage,
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}]});
        upstream.always(fleetgate_tests::Reply::json(200, &body));
        let one = prompt * 400 + output * 1600;
        let alias = format!("vk-{prompt}-{output}");
        #[allow(clippy::cast_precision_loss)]
        let key = gw.key(&json!({"key_alias": alias, "max_budget": (10 * one) as f64 / 1e9})).await;
        let ask =
            json!({"model": "gpt-x", "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": output});
        let seen = burst((0..100).map(|_| gw.post("/v1/chat/completions").bearer(&key).json(&ask)).collect()).await;
        let (spent, rows) = settled(&gw, &alias).await;
        println!("a cap worth 10 calls of {prompt} + {output} tokens: {seen:?}, {rows} rows, {spent} of {}", 10 * one);
        assert!(spent <= 10 * one, "the cap was exceeded: {spent}");
        assert!((9..=10).contains(&seen.get(&200).copied().unwrap_or(0)), "{seen:?}");
    }
}
