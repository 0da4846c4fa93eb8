//! A client, a sidecar, a gateway and an upstream: the way of every call on every machine of a fleet.

use std::time::{Duration, Instant};

use fleetgate_tests::client::raw;
use fleetgate_tests::process::memory_kb;
use fleetgate_tests::upstream::openai::{chat_events, chat_request, stream_request};
use fleetgate_tests::upstream::{PROVIDER_KEY, anthropic, responses};
use fleetgate_tests::wait::Gate;
use fleetgate_tests::{Gateway, Reply, Sidecar, Upstream, eventually};
use serde_json::{Value, json};

struct Fleet {
    upstream: Upstream,
    gateway: Gateway,
    sidecar: Sidecar,
    key: String,
}

async fn fleet() -> Fleet {
    let upstream = Upstream::start().await;
    let gateway = Gateway::start(|c| {
        c.deployment("gpt-x", "openai/gpt-4.1-mini", &upstream, &json!({})).deployment(
            "sonnet",
            "anthropic/claude-sonnet-4-5",
            &upstream,
            &json!({}),
        )
    })
    .await;
    let key = gateway.key(&json!({"key_alias": "vk-mac", "host": "mac"})).await;
    let sidecar = Sidecar::for_host("mac").gateway(&gateway).key(&key).start().await;
    Fleet { upstream, gateway, sidecar, key }
}

#[tokio::test]
async fn a_dummy_key_becomes_the_hosts_key_and_the_row_names_the_host() {
    let fleet = fleet().await;
    let calls = [
        ("/v1/chat/completions", chat_request("gpt-x")),
        ("/v1/responses", responses::request("gpt-x")),
        ("/v1/messages?beta=true", anthropic::request("sonnet")),
    ];
    for (path, body) in &calls {
        let call = fleet.sidecar.post(path).bearer("DUMMY_KEY").header("x-api-key", "sk-ant-dummy").json(body);
        call.send().await.expect(200);
    }
    for request in fleet.upstream.requests() {
        let everything = request.everything();
        assert!(everything.contains(PROVIDER_KEY), "{everything}");
        for absent in [fleet.key.as_str(), "DUMMY_KEY", "sk-ant-dummy", "x-fleetgate"] {
            assert!(!everything.contains(absent), "{absent} reached the upstream: {everything}");
        }
    }
    let rows = fleet.gateway.rows().await;
    assert_eq!(rows.len(), calls.len());
    for row in rows {
        assert_eq!((row.host.as_str(), row.key_alias.as_str(), row.host_source.as_str()), ("mac", "vk-mac", "key"));
    }
}

#[tokio::test]
async fn a_call_without_any_key_works_too() {
    let fleet = fleet().await;
    fleet.sidecar.post("/v1/chat/completions").json(&chat_request("gpt-x")).send().await.expect(200);
    assert_eq!(fleet.gateway.only_row().await.key_alias, "vk-mac");
}

#[tokio::test]
async fn bodies_pass_byte_for_byte_and_answers_too() {
    let fleet = fleet().await;
    let sent = "{ \"model\":\"gpt-x\",\n\t\"zzz\" : 1.50, \"messages\":[] }";
    let literal = "{ \"choices\" : [],\"zzz\":1.50 }\n";
    fleet.upstream.reply(Reply::literal(200, literal).header("x-request-id", "up-1"));
    let answer = fleet.sidecar.post("/v1/chat/completions").body(sent).send().await.expect(200);
    assert_eq!(fleet.upstream.only_request().text(), sent.replace("gpt-x", "gpt-4.1-mini"));
    assert_eq!((answer.text().as_str(), answer.header("x-request-id")), (literal, "up-1"));
}

#[tokio::test]
async fn a_header_names_the_workload_whatever_the_user_agent_says() {
    let fleet = fleet().await;
    let call =
        fleet.sidecar.post("/v1/chat/completions").json(&chat_request("gpt-x")).header("user-agent", "curl/8.5.0");
    call.header("x-fleetgate-workload", "cron-job").send().await.expect(200);
    assert_eq!(fleet.gateway.only_row().await.workload, "cron-job");
}

#[tokio::test]
async fn a_path_names_the_workload() {
    let fleet = fleet().await;
    let call = fleet.sidecar.post("/w/claude-glm/v1/chat/completions?a=b").json(&chat_request("gpt-x"));
    call.send().await.expect(200);
    assert_eq!(fleet.gateway.only_row().await.workload, "claude-glm");
    assert_eq!(fleet.upstream.only_request().path, "/v1/chat/completions?a=b");
}

#[tokio::test]
async fn a_body_of_20_mb_passes() {
    let fleet = fleet().await;
    let text = "x".repeat(20 << 20);
    let body = json!({"model": "gpt-x", "messages": [{"role": "user", "content": text}]});
    fleet.sidecar.post("/v1/chat/completions").json(&body).send().await.expect(200);
    let seen = fleet.upstream.only_request();
    assert_eq!(seen.body.len(), body.to_string().len() + "gpt-4.1-mini".len() - "gpt-x".len());
}

#[tokio::test]
async fn a_long_stream_does_not_pile_up_in_memory() {
    const CHUNKS: usize = 50_000;
    const ALLOWED_KB: u64 = 8 << 10;
    let fleet = fleet().await;
    // Once around, so that what every first call allocates is there.
    fleet.sidecar.post("/v1/chat/completions").json(&stream_request("gpt-x")).send().await.expect(200);
    let before = memory_kb(fleet.sidecar.pid(), "VmRSS");
    let delta = json!({"choices": [{"index": 0, "delta": {"content": "x".repeat(160)}}]});
    let mut pieces = vec![bytes::Bytes::from(format!("data: {delta}\n\n")); CHUNKS];
    let last = pieces.len();
    pieces.push("data: [DONE]\n\n".into());
    let gate = Gate::new();
    fleet.upstream.reply(Reply::stream(pieces).pause_after(last, &gate));
    let call = fleet.sidecar.post("/v1/chat/completions").json(&stream_request("gpt-x"));
    let mut open = call.open().await;
    let (expected, mut seen) = (CHUNKS * (delta.to_string().len() + "data: \n\n".len()), 0);
    while seen < expected {
        seen += open.next().await.map_or(0, |piece| piece.len());
    }
    let grown = memory_kb(fleet.sidecar.pid(), "VmRSS").saturating_sub(before);
    gate.open();
    assert_eq!(open.finish().await.text(), "data: [DONE]\n\n");
    assert!(grown < ALLOWED_KB, "the sidecar grew by {grown} kB while {seen} bytes passed");
}

#[tokio::test]
async fn a_slow_reader_holds_the_upstream_back_instead_of_filling_memory() {
    const CHUNKS: usize = 4000;
    let fleet = fleet().await;
    let before = memory_kb(fleet.sidecar.pid(), "VmRSS");
    let piece = bytes::Bytes::from(format!("data: {}\n\n", "x".repeat(16 << 10)));
    fleet.upstream.reply(Reply::stream(vec![piece; CHUNKS]));
    let mut open = fleet.sidecar.post("/v1/chat/completions").json(&stream_request("gpt-x")).open().await;
    open.next().await;
    // 64 MB are ready to come, and nobody reads: the upstream comes to a stop.
    let (mut sent, mut unchanged) = (0, 0);
    eventually("the upstream stands still", async || {
        unchanged = if fleet.upstream.pieces_sent() == sent { unchanged + 1 } else { 0 };
        sent = fleet.upstream.pieces_sent();
        (unchanged == 10).then_some(())
    })
    .await;
    assert!(sent < CHUNKS, "the whole answer was taken in while nobody read");
    let grown = memory_kb(fleet.sidecar.pid(), "VmRSS").saturating_sub(before);
    assert!(grown < 8 << 10, "the sidecar grew by {grown} kB while nobody read");
    assert!(open.finish().await.whole);
}

#[tokio::test]
async fn a_cut_upstream_is_a_cut_behind_the_sidecar() {
    let fleet = fleet().await;
    let events = chat_events("gpt-4.1-mini", &["one", "two"], false);
    for reply in [Reply::stream(events.clone()).close_after(2), Reply::stream(events.clone()).reset_after(2)] {
        fleet.upstream.reply(reply);
        let answer = fleet.sidecar.post("/v1/chat/completions").json(&stream_request("gpt-x")).send().await;
        assert!(!answer.whole, "{}", answer.text());
        assert_eq!(answer.text(), events[..2].concat(), "what came before the cut arrives");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_stops_the_upstream() {
    let fleet = fleet().await;
    let gate = Gate::new();
    fleet.upstream.reply(Reply::stream(["data: {\"choices\":[]}\n\n", "data: 2\n\n"]).pause_after(1, &gate));
    let mut open = fleet.sidecar.post("/v1/chat/completions").json(&stream_request("gpt-x")).open().await;
    open.next().await;
    drop(open);
    fleet.upstream.abandoned().await;
    let row = eventually("the aborted call's row", async || fleet.gateway.rows().await.pop()).await;
    assert_eq!(row.status, "client_gone");
}

#[tokio::test]
async fn a_gateway_that_is_gone_is_reported_at_once_in_the_callers_dialect() {
    let mut fleet = fleet().await;
    fleet.sidecar.post("/v1/chat/completions").json(&chat_request("gpt-x")).send().await.expect(200);
    fleet.gateway.kill().await;
    let began = Instant::now();
    for (path, body) in [
        ("/v1/messages", anthropic::request("sonnet")),
        ("/v1/chat/completions", chat_request("gpt-x")),
        ("/v1/responses", responses::request("gpt-x")),
    ] {
        let answer = fleet.sidecar.post(path).json(&body).send().await;
        assert!(matches!(answer.status.as_u16(), 502..=504), "{path}: {}", answer.status);
        let said = answer.json();
        let anthropic = path == "/v1/messages";
        assert_eq!(said["type"] == "error", anthropic, "{path}: {said}");
        assert_eq!(said["error"]["code"] == Value::Null, anthropic, "{path}: {said}");
        let message = said["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains(&fleet.gateway.address().to_string()), "it names the gateway: {message}");
    }
    assert!(began.elapsed() < Duration::from_secs(9), "three answers took {:?}", began.elapsed());
    let unready = fleet.sidecar.get("/__fleetgate/ready").send().await;
    assert_eq!(unready.status, 503, "{}", unready.text());
    fleet.sidecar.get("/__fleetgate/health").send().await.expect(200);

    fleet.gateway.restart().await;
    fleet.sidecar.post("/v1/chat/completions").json(&chat_request("gpt-x")).send().await.expect(200);
}

#[tokio::test]
async fn another_service_in_the_gateways_place_is_told_apart() {
    let other = Upstream::start().await;
    other.always(Reply::literal(404, "<html>nothing here</html>").header("content-type", "text/html"));
    let key = "sk-fg-0123456789abcdef";
    let sidecar = Sidecar::for_host("mac").gateway_url(&other.origin()).key(key).start().await;
    let answer = sidecar.post("/v1/chat/completions").json(&chat_request("gpt-x")).send().await;
    assert_eq!(answer.status, 502, "{}", answer.text());
    let message = answer.json()["error"]["message"].to_string();
    assert!(message.contains(&other.address().to_string()), "{message}");
}

#[tokio::test]
async fn the_host_is_bound_to_its_key_whatever_the_sidecar_claims() {
    let fleet = fleet().await;
    let liar = Sidecar::for_host("dgx").gateway(&fleet.gateway).key(&fleet.key).start().await;
    liar.post("/v1/chat/completions").json(&chat_request("gpt-x")).send().await.expect(200);
    let row = fleet.gateway.only_row().await;
    assert_eq!((row.host.as_str(), row.host_source.as_str()), ("mac", "key"));
}

#[tokio::test]
async fn a_hosts_file_gives_each_host_its_key() {
    let fleet = fleet().await;
    let dgx = fleet.gateway.key(&json!({"key_alias": "vk-dgx", "host": "dgx"})).await;
    let hosts = "[[host]]\nmatch = [\"other\"]\nkey = \"file:/nowhere\"\n\n\
                 [[host]]\nmatch = [\"dgx\", \"dgx-*\"]\nkey = \"file:KEY_FILE\"\n";
    let sidecar = Sidecar::for_host("dgx-2").gateway(&fleet.gateway).hosts(hosts).key(&dgx).start().await;
    sidecar.post("/v1/chat/completions").json(&chat_request("gpt-x")).send().await.expect(200);
    assert_eq!(fleet.gateway.only_row().await.key_alias, "vk-dgx");
    let me = sidecar.get("/__fleetgate/whoami").send().await.expect(200);
    assert!(me.text().contains("dgx-2") && !me.text().contains(&dgx), "{}", me.text());
}

#[tokio::test]
async fn browsers_and_rebound_names_are_refused() {
    let fleet = fleet().await;
    let call = || fleet.sidecar.post("/v1/chat/completions").json(&chat_request("gpt-x"));
    let port = fleet.sidecar.address().port();
    let foreign = [
        ("host", "evil.example".to_owned()),
        ("host", format!("evil.example:{port}")),
        ("host", format!("192.168.1.5:{port}")),
        ("origin", "https://evil.example".to_owned()),
        ("origin", "null".to_owned()),
    ];
    for (name, value) in &foreign {
        let refused = call().header(name, value).send().await;
        assert!(matches!(refused.status.as_u16(), 400 | 403 | 421), "{name}: {value}: {}", refused.status);
    }
    assert!(fleet.upstream.requests().is_empty() && fleet.gateway.rows().await.is_empty());
    for host in [format!("localhost:{port}"), format!("127.0.0.1:{port}"), "localhost".to_owned()] {
        call().header("host", &host).send().await.expect(200);
    }
    // Node's fetch says this without being a browser.
    call().header("sec-fetch-mode", "cors").header("accept-language", "*").send().await.expect(200);
}

#[tokio::test]
async fn a_request_that_smuggles_another_is_refused() {
    let fleet = fleet().await;
    let both = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\
                Connection: close\r\n\r\n0\r\n\r\nGET /key/list HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let answer = raw(fleet.sidecar.address(), both.as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert!(fleet.upstream.requests().is_empty());
}

#[tokio::test]
async fn management_does_not_get_the_hosts_key() {
    let fleet = fleet().await;
    let answer = fleet.sidecar.post("/key/generate").json(&json!({"key_alias": "sneaky"})).send().await;
    assert!(matches!(answer.status.as_u16(), 401 | 403 | 404), "{} {}", answer.status, answer.text());
    let keys = fleet.gateway.admin_get("/key/list").await;
    assert_eq!(keys["total_count"], 1, "{keys}");
}
