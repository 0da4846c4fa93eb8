//! Limits that three gateways keep together: none is exceeded, and what one gateway does not use, another one can. The figures are
//! printed.

#![allow(clippy::expect_used, reason = "a broken expectation is a failed test")]
#![allow(clippy::print_stdout, reason = "the figures are what a reader wants")]

use std::time::Instant;

use fleetgate_tests::burst::burst;
use fleetgate_tests::upstream::openai::{chat_request, stream_request};
use fleetgate_tests::wait::Gate;
use fleetgate_tests::{Call, Gateway, Postgres, Reply, Upstream, eventually};
use serde_json::{Value, json};

async fn trio(server: &Postgres, upstream: &Upstream) -> [Gateway; 3] {
    let url = server.database("rates").await;
    let start = || Gateway::start(|c| c.model("gpt-x", upstream).database(&url));
    [start().await, start().await, start().await]
}

/// A key that all of them know, without a call.
async fn key(gateways: &[Gateway; 3], fields: &Value) -> String {
    let key = gateways[0].key(fields).await;
    for gw in gateways {
        eventually("the key is known", async || {
            (gw.get("/v1/models").bearer(&key).send().await.status == 200).then_some(())
        })
        .await;
    }
    key
}

fn call(gw: &Gateway, key: &str) -> Call {
    gw.post("/v1/chat/completions").bearer(key).json(&chat_request("gpt-x"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_minutes_calls_all_pass_at_three_gateways_and_none_more() {
    let (server, upstream) = (Postgres::start().await, Upstream::start().await);
    let gateways = trio(&server, &upstream).await;
    for at_once in [true, false] {
        let key = key(&gateways, &json!({"rpm_limit": 10})).await;
        let began = Instant::now();
        let mut passed = 0;
        let sizes: &[usize] = if at_once { &[100] } else { &[1; 18] };
        let mut number = 0;
        for size in sizes {
            let calls = (number..number + size).map(|number| call(&gateways[number % 3], &key)).collect();
            passed += burst(calls).await.get(&200).copied().unwrap_or(0);
            number += size;
        }
        println!("three gateways, 10 calls a minute, {number} callers, at once: {at_once}: {passed} passed");
        // A machine that takes minutes for this gives the limit as often again.
        let minutes = began.elapsed().as_secs() as usize / 60 + 1;
        assert!((9..=10 * minutes).contains(&passed), "{passed} passed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn places_of_calls_at_once_go_to_the_gateway_where_they_are_asked_for() {
    let (server, upstream) = (Postgres::start().await, Upstream::start().await);
    let gateways = trio(&server, &upstream).await;
    let key = key(&gateways, &json!({"max_parallel_requests": 3})).await;
    for busy in [[0, 1, 2], [2, 2, 2], [1, 1, 0]] {
        let gate = Gate::new();
        let mut open = Vec::new();
        for number in busy {
            upstream.reply(Reply::stream(["data: {}\n\n", "data: [DONE]\n\n"]).pause_after(1, &gate));
            let stream =
                || gateways[number].post("/v1/chat/completions").bearer(&key).json(&stream_request("gpt-x")).open();
            // What another gateway holds and does not use comes within moments.
            let begun = eventually("a place is free", async || {
                let begun = stream().await;
                (begun.status == 200).then_some(begun)
            })
            .await;
            open.push(begun);
        }
        for gw in &gateways {
            assert_eq!(call(gw, &key).send().await.status, 429, "three are held by {busy:?}");
        }
        gate.open();
        for call in open {
            call.finish().await;
        }
    }
}
