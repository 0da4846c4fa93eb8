//! Tunnels: where they lead, where they do not, who may open one, and what their rows say.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken expectation is a failed test")]

use std::process::Command;

use fleetgate_tests::client::{Tunnel, raw};
use fleetgate_tests::netns::Netns;
use fleetgate_tests::sockets::dialling;
use fleetgate_tests::upstream::openai::chat_request;
use fleetgate_tests::upstream::tls::TestCa;
use fleetgate_tests::wait::soon;
use fleetgate_tests::{ClosedPort, Gateway, MASTER_KEY, Sidecar, Upstream, eventually};
use fleetgate_wire::row::Row;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A server on loopback that reads to the end, then answers with so many bytes.
async fn sink(answer: usize) -> (u16, tokio::task::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("somebody comes");
        let mut seen = Vec::new();
        stream.read_to_end(&mut seen).await.expect("it can be read");
        stream.write_all(&vec![7; answer]).await.expect("it can be written");
        seen
    });
    (port, task)
}

async fn tunnel_row(gw: &Gateway) -> Row {
    let find = async || gw.rows().await.into_iter().find(|row| row.kind == "tunnel");
    eventually("the tunnel's row", find).await
}

fn authorization(key: &str) -> String {
    format!("Proxy-Authorization: Bearer {key}\r\n")
}

#[tokio::test]
async fn a_tunnel_carries_bytes_both_ways_and_its_row_counts_them() {
    let (port, server) = sink(70_000).await;
    let gw = Gateway::start(|c| c.tunnels_to_loopback(&[port])).await;
    let key = gw.key(&json!({"key_alias": "vk-mac", "host": "mac"})).await;
    let destination = format!("127.0.0.1:{port}");
    let mut tunnel = Tunnel::open(gw.address(), &destination, &authorization(&key)).await;
    assert_eq!(tunnel.status(), 200, "{}", tunnel.head);
    tunnel.stream.write_all(b"hello tunnel").await.expect("the tunnel takes bytes");
    tunnel.stream.shutdown().await.expect("half-close");
    let mut answer = Vec::new();
    soon("the answer", tunnel.stream.read_to_end(&mut answer)).await.expect("the tunnel gives bytes");
    assert_eq!((answer.len(), server.await.expect("the server ends")), (70_000, b"hello tunnel".to_vec()));
    let row = tunnel_row(&gw).await;
    assert_eq!((row.status.as_str(), row.endpoint.as_str()), ("closed", "connect"));
    assert_eq!((row.host.as_str(), row.key_alias.as_str()), ("mac", "vk-mac"));
    assert_eq!(row.destination.as_deref(), Some(destination.as_str()));
    assert_eq!((row.bytes_up, row.bytes_down), (Some(12), Some(70_000)));
}

#[tokio::test]
async fn a_tunnel_through_the_sidecar_needs_no_key_of_the_client() {
    let (port, server) = sink(5).await;
    let gw = Gateway::start(|c| c.tunnels_to_loopback(&[port])).await;
    let key = gw.key(&json!({"key_alias": "vk-mac", "host": "mac"})).await;
    let sidecar = Sidecar::for_host("mac").gateway(&gw).key(&key).start().await;
    let destination = format!("127.0.0.1:{port}");
    let mut tunnel = Tunnel::open(sidecar.address(), &destination, "").await;
    assert_eq!(tunnel.status(), 200, "{}", tunnel.head);
    tunnel.stream.write_all(b"hello").await.expect("the tunnel takes bytes");
    tunnel.stream.shutdown().await.expect("half-close");
    let mut answer = Vec::new();
    soon("the answer", tunnel.stream.read_to_end(&mut answer)).await.expect("the tunnel gives bytes");
    assert_eq!((answer.as_slice(), server.await.expect("the server ends")), (&[7; 5][..], b"hello".to_vec()));
    let row = tunnel_row(&gw).await;
    assert_eq!((row.host.as_str(), row.bytes_up, row.bytes_down), ("mac", Some(5), Some(5)));
}

#[tokio::test]
async fn no_tunnel_leads_into_a_network_that_is_not_public() {
    let gw = Gateway::start(|c| c).await;
    let key = gw.key(&json!({"key_alias": "vk-mac", "host": "mac"})).await;
    let sidecar = Sidecar::for_host("mac").gateway(&gw).key(&key).start().await;
    let destinations = [
        "127.0.0.1:443",
        "localhost:443",
        "[::1]:443",
        "[::ffff:127.0.0.1]:443",
        "10.1.2.3:443",
        "172.16.0.1:443",
        "192.168.1.1:443",
        "[fd12::1]:443",
        "100.64.0.1:443",
        "169.254.1.1:443",
        "169.254.169.254:443",
        "[fd00:ec2::254]:443",
        "0.0.0.0:443",
        "[64:ff9b::7f00:1]:443",
    ];
    for destination in destinations {
        for (proxy, headers) in [(gw.address(), authorization(&key)), (sidecar.address(), String::new())] {
            let tunnel = Tunnel::open(proxy, destination, &headers).await;
            assert_eq!(tunnel.status(), 403, "{destination}: {}", tunnel.head);
            assert!(!tunnel.header("x-fleetgate-reason").is_empty(), "{destination}: {}", tunnel.head);
        }
    }
}

#[tokio::test]
async fn an_opened_network_does_not_open_metadata_services() {
    let egress = json!({"dangerously_allow_networks": ["169.254.0.0/16", "100.64.0.0/10"]});
    let gw = Gateway::start(|c| c.set("fleetgate", "egress", egress)).await;
    for destination in ["169.254.169.254:443", "100.100.100.200:443"] {
        let tunnel = Tunnel::open(gw.address(), destination, &authorization(MASTER_KEY)).await;
        assert_eq!(tunnel.status(), 403, "{destination}: {}", tunnel.head);
    }
}

#[tokio::test]
async fn odd_forms_of_a_destination_are_refused() {
    let gw = Gateway::start(|c| c).await;
    for destination in ["127.1:443", "0x7f.1:443", "2130706433:443", "127.0.0.1:0443", "example.com", "example.com:0"] {
        let headers = authorization(MASTER_KEY);
        let request =
            format!("CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\n{headers}Connection: close\r\n\r\n");
        let answer = raw(gw.address(), request.as_bytes()).await;
        assert!(!answer.contains(" 200 "), "{destination}: {answer}");
        let status = answer.split(' ').nth(1).unwrap_or_default();
        assert!(matches!(status, "400" | "403"), "{destination}: {answer}");
    }
}

#[tokio::test]
async fn only_port_443_is_open() {
    let gw =
        Gateway::start(|c| c.set("fleetgate", "egress", json!({"dangerously_allow_networks": ["127.0.0.0/8"]}))).await;
    for port in [22, 25, 80, 8443] {
        let destination = format!("127.0.0.1:{port}");
        let tunnel = Tunnel::open(gw.address(), &destination, &authorization(MASTER_KEY)).await;
        assert_eq!(tunnel.status(), 403, "{port}: {}", tunnel.head);
        assert!(!tunnel.header("x-fleetgate-reason").is_empty(), "{}", tunnel.head);
    }
}

#[tokio::test]
async fn nobody_gets_a_tunnel_without_a_key() {
    let gw = Gateway::start(|c| c).await;
    for headers in [String::new(), authorization("sk-nobody-has-ever-seen-this")] {
        let tunnel = Tunnel::open(gw.address(), "93.184.216.34:443", &headers).await;
        assert_eq!(tunnel.status(), 407, "{}", tunnel.head);
        assert!(!tunnel.header("proxy-authenticate").is_empty(), "clients ask for a password by it: {}", tunnel.head);
    }
    assert!(gw.rows().await.is_empty());
}

#[tokio::test]
async fn a_password_is_a_key() {
    let (port, _server) = sink(0).await;
    let gw = Gateway::start(|c| c.tunnels_to_loopback(&[port])).await;
    let key = gw.key(&json!({"key_alias": "vk-mac", "key": "sk-0123456789abcdef"})).await;
    assert_eq!(key, "sk-0123456789abcdef");
    // base64 of `any:sk-0123456789abcdef`, as in http://any:KEY@gateway:4000
    let basic = "Proxy-Authorization: Basic YW55OnNrLTAxMjM0NTY3ODlhYmNkZWY=\r\n";
    let tunnel = Tunnel::open(gw.address(), &format!("127.0.0.1:{port}"), basic).await;
    assert_eq!(tunnel.status(), 200, "{}", tunnel.head);
}

#[tokio::test]
async fn a_destination_that_does_not_answer_is_named() {
    let nobody = ClosedPort::new().expect("a free port");
    let port = nobody.address().port();
    let gw = Gateway::start(|c| c.tunnels_to_loopback(&[port])).await;
    let tunnel = Tunnel::open(gw.address(), &format!("127.0.0.1:{port}"), &authorization(MASTER_KEY)).await;
    assert_eq!(tunnel.status(), 502, "{}", tunnel.head);
    assert!(!tunnel.header("x-fleetgate-reason").is_empty(), "{}", tunnel.head);
}

#[tokio::test]
async fn plain_http_through_the_proxy_does_not_reach_private_networks() {
    let upstream = Upstream::start().await;
    let gw = Gateway::start(|c| c).await;
    // tinyproxy lets this pass whatever ConnectPort says.
    let (to, headers) = (upstream.origin(), authorization(MASTER_KEY));
    let request = format!("GET {to}/v1/models HTTP/1.1\r\nHost: {to}\r\n{headers}Connection: close\r\n\r\n");
    let answer = raw(gw.address(), request.as_bytes()).await;
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn tls_to_an_upstream_is_checked_against_the_trusted_authorities() {
    let ca = TestCa::new();
    let upstream = Upstream::start_tls(&ca).await;
    let trusting = Gateway::start(|c| c.model("gpt-x", &upstream).trust(&ca)).await;
    let call = |gw: &Gateway| gw.post("/v1/chat/completions").bearer(MASTER_KEY).json(&chat_request("gpt-x"));
    call(&trusting).send().await.expect(200);
    let other = TestCa::new();
    let wary = Gateway::start(|c| c.model("gpt-x", &upstream).trust(&other)).await;
    let refused = call(&wary).send().await;
    assert!(refused.status.is_server_error(), "{}", refused.status);
    assert_eq!(upstream.requests().len(), 1);
}

/// Three machines: a host with the sidecar, the gateway's machine, and the world. The host has no cable to the world.
#[tokio::test]
async fn the_world_sees_the_gateways_address() {
    let Some(host) = Netns::new("host") else { return };
    let (Some(middle), Some(world)) = (Netns::new("gw"), Netns::new("world")) else { return };
    host.link(&middle, "10.77.1");
    middle.link(&world, "198.18.77");
    let ca = TestCa::new();
    let (certificate, private) = ca.server_files(&["198.18.77.2"]);
    let (certificate, private) = (certificate.display().to_string(), private.display().to_string());
    let _server = world.peer(&["198.18.77.2:443", &certificate, &private]);

    let egress = json!({"dangerously_allow_networks": ["198.18.77.0/24"]});
    let gateway =
        Gateway::start(|c| c.inside(middle.name()).listen("10.77.1.2:4000").set("fleetgate", "egress", egress)).await;
    let key = in_namespace_key(&middle);
    let sidecar = Sidecar::for_host("mac").inside(host.name()).gateway_url(&gateway.url()).key(&key).start().await;

    let direct = host.curl(&["-k", "https://198.18.77.2/"]);
    assert!(!direct.status.success(), "the host must not reach the world by itself");
    let ca_file = ca.file().display().to_string();
    let through = host.curl(&["--cacert", &ca_file, "-x", &sidecar.url(), "https://198.18.77.2/"]);
    let (seen, errors) = (String::from_utf8_lossy(&through.stdout), String::from_utf8_lossy(&through.stderr));
    assert_eq!(seen, "198.18.77.1\n", "{errors}");

    let bearer = format!("Authorization: Bearer {MASTER_KEY}");
    let row = eventually("the tunnel's row", async || {
        let logs = middle.curl(&["-H", &bearer, "http://10.77.1.2:4000/api/logs"]);
        let logs: Value = serde_json::from_slice(&logs.stdout).ok()?;
        serde_json::from_value::<Vec<Row>>(logs["rows"].clone()).ok()?.pop()
    });
    let row = row.await;
    assert_eq!((row.host.as_str(), row.destination.as_deref()), ("mac", Some("198.18.77.2:443")));
    assert!(row.bytes_up.unwrap_or(0) > 0 && row.bytes_down.unwrap_or(0) > 0, "{row:#?}");
}

/// `curl` inside a namespace through the gateway: the answer to its `CONNECT`, and what came through the tunnel.
fn through(host: &Netns, proxy: &str, url: &str) -> (String, String) {
    let header = format!("Proxy-Authorization: Bearer {MASTER_KEY}");
    let arguments = ["-k", "-x", proxy, "--proxy-header", &header, "-w", "%{http_connect}", "-D", "/dev/stderr", url];
    let output = host.curl(&arguments);
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn a_name_that_changes_its_address_gains_nothing() {
    let Some(host) = Netns::new("rbhost") else { return };
    let (Some(middle), Some(world)) = (Netns::new("rbgw"), Netns::new("rbworld")) else { return };
    host.link(&middle, "10.77.3");
    middle.link(&world, "198.18.79");
    // The second answer is the gateway's own machine, the third a mesh node.
    middle.name_server("198.18.79.2");
    let _names = world.impostor(&["dns", "198.18.79.2:53", "198.18.79.2,127.0.0.1,100.64.0.9"]);
    let ca = TestCa::new();
    let (certificate, private) = ca.server_files(&["rebind.test"]);
    let (certificate, private) = (certificate.display().to_string(), private.display().to_string());
    let _server = world.peer(&["198.18.79.2:443", &certificate, &private]);
    let _victim = middle.peer(&["127.0.0.1:443", &certificate, &private]);
    let egress = json!({"dangerously_allow_networks": ["198.18.79.0/24"]});
    let _gateway =
        Gateway::start(|c| c.inside(middle.name()).listen("10.77.3.2:4000").set("fleetgate", "egress", egress)).await;
    let (seen, head) = through(&host, "http://10.77.3.2:4000", "https://rebind.test/");
    assert_eq!(seen, "198.18.79.1\n200", "asked a second time, it would have been the gateway's machine: {head}");
    for class in ["loopback", "mesh"] {
        let (seen, head) = through(&host, "http://10.77.3.2:4000", "https://rebind.test/");
        assert_eq!(seen, "403", "{head}");
        assert!(head.contains(&format!("x-fleetgate-reason: destination_{class}")), "{head}");
    }
}

/// Two nodes of a mesh whose rules keep them apart, and the gateway, which reaches both.
#[tokio::test]
async fn a_mesh_node_reaches_no_other_through_the_gateway() {
    let Some(one) = Netns::new("msone") else { return };
    let (Some(middle), Some(other)) = (Netns::new("msgw"), Netns::new("msother")) else { return };
    one.link(&middle, "100.64.7");
    middle.link(&other, "100.64.8");
    let ca = TestCa::new();
    let (certificate, private) = ca.server_files(&["100.64.8.2"]);
    let (certificate, private) = (certificate.display().to_string(), private.display().to_string());
    let _server = other.peer(&["100.64.8.2:443", &certificate, &private]);
    middle.name_server("100.64.8.2");
    let _names = other.impostor(&["dns", "100.64.8.2:53", "100.64.8.2"]);
    let proxy = json!({
        "listen": "100.64.7.2:8888", "trust": ["100.64.0.0/10"], "socks5": true, "plain_http": true,
        "plain_http_ports": [443],
    });
    let _gateway =
        Gateway::start(|c| c.inside(middle.name()).listen("100.64.7.2:4000").set("fleetgate", "forward_proxy", proxy))
            .await;
    assert!(middle.curl(&["-k", "https://100.64.8.2/"]).status.success(), "the gateway's machine itself reaches it");
    for proxy in ["http://100.64.7.2:4000", "http://100.64.7.2:8888"] {
        for destination in ["100.64.8.2", "other-node.test", "[::ffff:100.64.8.2]", "[64:ff9b::6440:802]"] {
            let (seen, head) = through(&one, proxy, &format!("https://{destination}/"));
            assert_eq!(seen, "403", "{proxy} {destination}: {head}");
            assert!(head.contains("x-fleetgate-reason: destination_"), "{proxy} {destination}: {head}");
            // Plain http has the same answer, in the place where the destination's would be.
            let header = format!("Proxy-Authorization: Bearer {MASTER_KEY}");
            let url = format!("http://{destination}:443/");
            let plain = one.curl(&["-x", proxy, "-H", &header, "-D", "/dev/stderr", &url]);
            let head = String::from_utf8_lossy(&plain.stderr);
            assert!(head.contains("HTTP/1.1 403") && head.contains("destination_"), "{proxy} {url}: {head}");
        }
    }
    for destination in ["100.64.8.2", "other-node.test", "[::ffff:100.64.8.2]"] {
        let seen = one.curl(&["-k", "-v", "-x", "socks5h://100.64.7.2:8888", &format!("https://{destination}/")]);
        let said = String::from_utf8_lossy(&seen.stderr);
        assert!(!seen.status.success() && said.contains("SOCKS5"), "{destination}: {said}");
        assert!(seen.stdout.is_empty(), "{destination}");
    }
}

fn in_namespace_key(middle: &Netns) -> String {
    let bearer = format!("Authorization: Bearer {MASTER_KEY}");
    let body = r#"{"key_alias":"vk-mac","host":"mac"}"#;
    let made = middle.curl(&["-H", &bearer, "--json", body, "http://10.77.1.2:4000/key/generate"]);
    let made: Value = serde_json::from_slice(&made.stdout).expect("the gateway answers with JSON");
    made["key"].as_str().expect("the answer holds the key").to_owned()
}

#[tokio::test]
async fn curl_goes_through_the_sidecar_to_a_tls_server() {
    let ca = TestCa::new();
    let server = Upstream::start_tls(&ca).await;
    let port = server.address().port();
    let gw = Gateway::start(|c| c.tunnels_to_loopback(&[port])).await;
    let key = gw.key(&json!({"key_alias": "vk-mac", "host": "mac"})).await;
    let sidecar = Sidecar::for_host("mac").gateway(&gw).key(&key).start().await;
    let (proxy, url) = (sidecar.url(), format!("https://127.0.0.1:{port}/v1/messages/count_tokens"));
    let ca_file = ca.file();
    let output = tokio::task::spawn_blocking(move || {
        let mut command = Command::new("curl");
        command.args(["-q", "-sS", "--max-time", "20", "-x", &proxy, "--noproxy", "", "-d", "{}", "--cacert"]);
        command.arg(ca_file).arg(url).env_clear().output().expect("curl runs")
    });
    let output = output.await.expect("curl ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("2095"));
    assert!(!server.only_request().everything().contains(&key), "the key stays between sidecar and gateway");
}

#[tokio::test]
async fn a_client_that_leaves_while_the_destination_is_dialled_leaves_a_row() {
    // A full backlog: the kernel answers no further connection, so dialling takes its time.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let full = socket.listen(1).expect("it listens");
    let address = full.local_addr().expect("it is bound");
    let mut filling = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(std::time::Duration::from_millis(200), tokio::net::TcpStream::connect(address)).await
    {
        filling.push(stream);
    }
    let gw = Gateway::start(|c| c.tunnels_to_loopback(&[address.port()])).await;
    let mut client = tokio::net::TcpStream::connect(gw.address()).await.expect("the gateway listens");
    let headers = authorization(MASTER_KEY);
    let request = format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n{headers}\r\n");
    client.write_all(request.as_bytes()).await.expect("the gateway reads");
    dialling(address).await;
    drop(client);
    let row = tunnel_row(&gw).await;
    assert_eq!((row.status.as_str(), row.destination), ("client_gone", Some(address.to_string())));
}
