//! The sidecar under load: many connections, and gateways that come and go. The figures are printed.

#![allow(clippy::print_stdout, reason = "counted tests print what they counted")]

use std::net::SocketAddr;

use fleetgate_tests::load::{CHAT_MODEL, MESSAGES_MODEL};
use fleetgate_tests::process::{allow_descriptors, descriptors, memory_kb, threads};
use fleetgate_tests::upstream::openai::chat_request;
use fleetgate_tests::wait::soon;
use fleetgate_tests::{Gateway, Load, Sidecar, Upstream, eventually};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const WAITS: &str = "fleetgate_sidecar_waits_total";
const IDLE: usize = 2000;
const BUSY: usize = 500;
const CALLS_OF_EACH: usize = 2;
/// The allocator takes its time to find its places, and longer on a busy machine.
const MOST_ROUNDS: usize = 48;
/// The memory is level when so many rounds together add no more than [`GROWTH_KB`].
const LEVEL_ROUNDS: usize = 8;
/// A fortieth of what the busy connections of those rounds would take if they stayed (some 40 kB each).
const GROWTH_KB: u64 = 4 << 10;

async fn connect(address: SocketAddr) -> TcpStream {
    soon("a connection", TcpStream::connect(address)).await.unwrap_or_else(|error| panic!("{error}"))
}

/// One call over a connection that stays open.
async fn call(stream: &mut TcpStream, request: &[u8]) {
    stream.write_all(request).await.unwrap_or_else(|error| panic!("{error}"));
    let mut seen = Vec::new();
    // The gateway's answers are chunked.
    while !seen.ends_with(b"\r\n0\r\n\r\n") {
        let read = soon("an answer", stream.read_buf(&mut seen)).await;
        assert!(matches!(read, Ok(1..)), "{read:?} after {:?}", String::from_utf8_lossy(&seen));
    }
    let text = String::from_utf8_lossy(&seen);
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_connections_need_neither_threads_nor_more_and_more_memory() {
    allow_descriptors(8192);
    let mock =
        json!({"model_name": "gpt-x", "litellm_params": {"model": "openai/gpt-4.1-mini", "mock_response": "hello"}});
    let mut gateway = Gateway::start(|c| c.entry(mock)).await;
    let key = gateway.key(&json!({"key_alias": "vk-mac", "host": "mac"})).await;
    let sidecar = Sidecar::for_host("mac").gateway(&gateway).key(&key).start().await;
    let (address, pid) = (sidecar.address(), sidecar.pid());
    let body = chat_request("gpt-x").to_string();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    call(&mut connect(address).await, request.as_bytes()).await;
    let (threads_before, descriptors_before) = (threads(pid), descriptors(pid));
    println!("at first: {} kB, {threads_before} threads, {descriptors_before} descriptors", memory_kb(pid, "VmRSS"));

    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.push(connect(address).await);
    }
    let open = "fleetgate_sidecar_connections_open";
    eventually("all are taken", async || (sidecar.count(open).await > IDLE as u64).then_some(())).await;
    println!("{IDLE} idle connections: {} kB", memory_kb(pid, "VmRSS"));

    let mut rounds = Vec::new();
    let is_level = |rounds: &[u64]| {
        let last = rounds.windows(LEVEL_ROUNDS + 1).last();
        last.is_some_and(|last| last[LEVEL_ROUNDS].saturating_sub(last[0]) < GROWTH_KB)
    };
    while !is_level(&rounds) {
        assert!(rounds.len() < MOST_ROUNDS, "the memory grows from round to round: {rounds:?} kB");
        let round = rounds.len() + 1;
        let mut clients = JoinSet::new();
        for _ in 0..BUSY {
            let request = request.clone();
            clients.spawn(async move {
                let mut stream = connect(address).await;
                for _ in 0..CALLS_OF_EACH {
                    call(&mut stream, request.as_bytes()).await;
                }
                stream
            });
        }
        let busy = clients.join_all().await;
        let (memory, now) = (memory_kb(pid, "VmRSS"), threads(pid));
        println!("round {round}: {memory} kB, {now} threads, {} descriptors", descriptors(pid));
        assert_eq!(busy.len(), BUSY);
        assert!(now <= threads_before + 2, "{now} threads instead of {threads_before}");
        rounds.push(memory);
        drop(busy);
        // The one more is the one that asks.
        eventually("they are gone", async || (sidecar.count(open).await == IDLE as u64 + 1).then_some(())).await;
    }

    drop(idle);
    gateway.terminate().await;
    eventually("every descriptor is given back", async || {
        (descriptors(pid) <= descriptors_before).then(|| println!("afterwards: {} descriptors", descriptors(pid)))
    })
    .await;
    assert_eq!(sidecar.count("fleetgate_sidecar_calls_open").await, 0);
    let calls = (rounds.len() * BUSY * CALLS_OF_EACH + 1) as u64;
    assert_eq!(sidecar.count("fleetgate_sidecar_calls_total").await, calls);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_is_restarted_under_load_is_no_error_for_anybody() {
    const RESTARTS: usize = 4;
    const CLIENTS: usize = 16;
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::start(|c| {
        c.deployment(CHAT_MODEL, "openai/gpt-4.1-mini", &upstream, &json!({})).deployment(
            MESSAGES_MODEL,
            "anthropic/claude-sonnet-4-5",
            &upstream,
            &json!({}),
        )
    })
    .await;
    let key = gateway.key(&json!({"key_alias": "vk-mac", "host": "mac"})).await;
    let patient = ["--gateway-patience", "120"];
    let sidecar = Sidecar::for_host("mac").gateway(&gateway).key(&key).arguments(&patient).start().await;
    let load = Load::start(sidecar.address(), &["DUMMY"], CLIENTS);
    let progress = async |load: &Load| {
        let before = load.finished();
        eventually("calls go on", async || (load.finished() > before + 4 * CLIENTS).then_some(())).await;
    };
    progress(&load).await;
    for restart in 1..=RESTARTS {
        let waited = sidecar.count(WAITS).await;
        gateway.terminate().await;
        // Calls begin while nobody is there.
        eventually("calls wait", async || (sidecar.count(WAITS).await > waited).then_some(())).await;
        gateway.start_again().await;
        progress(&load).await;
        println!("restart {restart}: {} calls, {} waited in all", load.finished(), sidecar.count(WAITS).await);
    }
    let made = load.stop().await;
    println!("{} answered, {} refused, {} broken", made.finished.len(), made.refusals(), made.broken);
    println!("{} sent again", sidecar.count("fleetgate_sidecar_retries_total").await);
    assert_eq!((made.refusals(), made.broken), (0, 0), "{:?}", made.refused);
    assert_eq!(made.sent.len(), made.finished.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_dies_under_load_costs_only_the_calls_that_it_had() {
    const KILLS: usize = 3;
    const CLIENTS: usize = 8;
    let upstream = Upstream::start().await;
    let mut gateway = Gateway::start(|c| {
        c.deployment(CHAT_MODEL, "openai/gpt-4.1-mini", &upstream, &json!({})).deployment(
            MESSAGES_MODEL,
            "anthropic/claude-sonnet-4-5",
            &upstream,
            &json!({}),
        )
    })
    .await;
    let key = gateway.key(&json!({"key_alias": "vk-mac", "host": "mac"})).await;
    let patient = ["--gateway-patience", "120"];
    let sidecar = Sidecar::for_host("mac").gateway(&gateway).key(&key).arguments(&patient).start().await;
    let load = Load::start(sidecar.address(), &["DUMMY"], CLIENTS);
    for _ in 0..KILLS {
        let before = load.finished();
        eventually("calls go on", async || (load.finished() > before + 2 * CLIENTS).then_some(())).await;
        gateway.kill().await;
        gateway.start_again().await;
        load.revive();
    }
    let made = load.stop().await;
    let (refused, broken) = (made.refusals(), made.broken);
    println!("{} answered, {refused} refused, {broken} broken after {KILLS} kills", made.finished.len());
    // Whoever had sent its call hears that the gateway broke the connection; nobody is told that there is no gateway.
    assert!(made.refused.keys().all(|(_, reason)| reason == "gateway_gone"), "{:?}", made.refused);
    // One each, and a second where the next call crossed the end of another connection.
    assert!(refused + broken <= 2 * KILLS * CLIENTS, "{refused} refused and {broken} broken");
    let sent = fleetgate_tests::load::arrived(&upstream);
    assert!(made.finished.keys().all(|number| sent.contains(number)));
    let twice = upstream.requests().len() - sent.len();
    assert_eq!(twice, 0, "a call was sent to the provider twice");
}

#[tokio::test]
async fn when_the_first_gateway_is_gone_the_second_serves_until_it_is_back() {
    let mock =
        json!({"model_name": "gpt-x", "litellm_params": {"model": "openai/gpt-4.1-mini", "mock_response": "hello"}});
    let mut first = Gateway::start(|c| c.entry(mock.clone())).await;
    let second = Gateway::start(|c| c.entry(mock)).await;
    let key = json!({"key": "sk-the-same-at-both-gateways-0123456789", "key_alias": "vk-mac", "host": "mac"});
    first.key(&key).await;
    let key = second.key(&key).await;
    let sidecar = Sidecar::for_host("mac").gateways(&[&first, &second]).key(&key).start().await;
    let call = async || {
        sidecar.post("/v1/chat/completions").json(&chat_request("gpt-x")).send().await.expect(200);
    };
    call().await;
    assert_eq!((first.rows().await.len(), second.rows().await.len()), (1, 0));

    first.kill().await;
    for _ in 0..5 {
        call().await;
    }
    assert_eq!(second.rows().await.len(), 5);
    let ready = sidecar.get("/__fleetgate/ready").send().await;
    assert_eq!(ready.status, 200, "{}", ready.text());

    first.start_again().await;
    let in_use = format!("fleetgate_sidecar_gateway_in_use{{gateway=\"{}\"}}", first.url());
    eventually("the first is used again", async || (sidecar.count(&in_use).await == 1).then_some(())).await;
    call().await;
    assert_eq!((first.rows().await.len(), second.rows().await.len()), (2, 5));
    assert_eq!(sidecar.count(WAITS).await, 0);
}
