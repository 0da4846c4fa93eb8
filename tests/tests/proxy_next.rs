//! Through a next proxy: which destinations, what it is told, and that all rules hold before it.

#![allow(clippy::expect_used, reason = "a broken expectation is a failed test")]

use std::net::SocketAddr;

use fleetgate_tests::client::Tunnel;
use fleetgate_tests::wait::soon;
use fleetgate_tests::{ClosedPort, Gateway, MASTER_KEY, Postgres, eventually};
use fleetgate_wire::row::Row;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

/// A server on loopback that sends back what it gets.
async fn echo() -> u16 {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reads, mut writes) = stream.split();
                drop(tokio::io::copy(&mut reads, &mut writes).await);
                drop(writes.shutdown().await);
            });
        }
    });
    address.port()
}

fn bearer() -> String {
    format!("Proxy-Authorization: Bearer {MASTER_KEY}\r\n")
}

async fn gateway(ports: &[u16], upstream: &Value) -> Gateway {
    let egress = json!({"dangerously_allow_networks": ["127.0.0.0/8"], "ports": ports, "deny": ["refused.test"]});
    let proxy = json!({"plain_http": true, "plain_http_ports": ports, "upstream": upstream});
    Gateway::start(|c| c.set("fleetgate", "egress", egress).set("fleetgate", "forward_proxy", proxy)).await
}

/// The gateway that is the other's next proxy, on all three of its doors.
async fn other(port: u16) -> Gateway {
    let proxy = json!({"listen": "127.0.0.1:0", "socks5_listen": "127.0.0.1:0"});
    Gateway::start(|c| c.tunnels_to_loopback(&[port]).set("fleetgate", "forward_proxy", proxy)).await
}

async fn there_and_back(gw: &Gateway, to: &str) {
    let mut tunnel = Tunnel::open(gw.address(), to, &bearer()).await;
    assert_eq!(tunnel.status(), 200, "{}\n{}", tunnel.head, gw.stderr());
    tunnel.stream.write_all(b"hello").await.expect("the tunnel takes bytes");
    tunnel.stream.shutdown().await.expect("half-close");
    let mut back = Vec::new();
    soon("the echo", tunnel.stream.read_to_end(&mut back)).await.expect("the tunnel gives bytes");
    assert_eq!(back, b"hello");
}

/// The rows, the oldest first.
async fn rows(gw: &Gateway, count: usize) -> Vec<Row> {
    let mut rows = eventually("the rows", async || Some(gw.rows().await).filter(|rows| rows.len() == count)).await;
    rows.reverse();
    rows
}

async fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(text) {
        let count = soon("bytes", stream.read_buf(&mut seen)).await.expect("they come");
        assert!(count > 0, "it ended before {text:?}: {}", String::from_utf8_lossy(&seen));
    }
    String::from_utf8_lossy(&seen).into_owned()
}

#[tokio::test]
async fn the_next_proxy_gets_a_connect_with_its_credentials_and_what_comes_early_is_not_lost() {
    let (next, address) = listener().await;
    let upstream = json!([{"proxy": format!("http://anna:sEc%40Ret@{address}")}]);
    let gw = gateway(&[443], &upstream).await;
    let open = async { Tunnel::open(gw.address(), "127.0.0.9:443", &bearer()).await };
    let serve = async {
        let (mut stream, _) = soon("the gateway", next.accept()).await.expect("it comes");
        let head = read_until(&mut stream, "\r\n\r\n").await;
        // An answer's length means nothing here.
        let answer = "HTTP/1.1 200 Connection established\r\nContent-Length: 99\r\nVia: 1.1 next\r\n\r\nearly";
        stream.write_all(answer.as_bytes()).await.expect("it reads");
        (stream, head)
    };
    let (mut tunnel, (mut stream, head)) = tokio::join!(open, serve);
    // base64 of `anna:sEc@Ret`
    let expected =
        "CONNECT 127.0.0.9:443 HTTP/1.1\r\nhost: 127.0.0.9:443\r\nproxy-authorization: Basic YW5uYTpzRWNAUmV0\r\n\r\n";
    assert_eq!(head, expected);
    assert_eq!(tunnel.status(), 200, "{}", tunnel.head);
    let mut early = [0; 5];
    soon("what came early", tunnel.stream.read_exact(&mut early)).await.expect("it comes");
    assert_eq!(&early, b"early");
    tunnel.stream.write_all(b"hello").await.expect("the tunnel takes bytes");
    tunnel.stream.shutdown().await.expect("half-close");
    let mut seen = Vec::new();
    soon("the bytes", stream.read_to_end(&mut seen)).await.expect("they come");
    assert_eq!(seen, b"hello");
    drop(stream);
    let row = rows(&gw, 1).await.remove(0);
    assert_eq!((row.status.as_str(), row.bytes_up, row.bytes_down), ("closed", Some(5), Some(5)));
    assert_eq!(row.next_proxy, Some(format!("http://{address}")));
    assert_eq!(row.address.as_deref(), Some("127.0.0.9:443"));
    let shown = gw.admin_get("/api/config").await;
    let log = gw.stderr();
    assert!(log.contains(&format!("\"next_proxy\":\"http://{address}\"")), "{log}");
    assert!(!log.contains("sEc") && !format!("{shown}{row:?}").contains("sEc"), "{shown}");
}

#[tokio::test]
async fn the_closest_domain_decides_and_the_next_proxy_gets_the_judged_address() {
    let port = echo().await;
    let next = other(port).await;
    let key = next.key(&json!({"key_alias": "vk-first"})).await;
    let [_, http, socks] = next.addresses()[..] else { panic!("three doors: {:?}", next.addresses()) };
    for (proxy, endpoint) in
        [(format!("http://any:{key}@{http}"), "connect"), (format!("socks5://any:{key}@{socks}"), "socks5")]
    {
        for (resolves, told) in [(false, format!("127.0.0.1:{port}")), (true, format!("localhost:{port}"))] {
            let upstream = json!([
                {"proxy": "direct"},
                {"proxy": proxy, "domains": ["localhost"], "dangerously_resolve_there": resolves},
            ]);
            let gw = gateway(&[port], &upstream).await;
            let before = next.rows().await.len();
            there_and_back(&gw, &format!("127.0.0.1:{port}")).await;
            there_and_back(&gw, &format!("LOCALHOST.:{port}")).await;
            let rows_here = rows(&gw, 2).await;
            let shown = proxy.replace(&format!("any:{key}@"), "");
            assert_eq!(rows_here[0].next_proxy, None);
            assert_eq!(rows_here[1].next_proxy, Some(shown.clone()));
            assert_eq!(rows_here[1].destination, Some(format!("localhost:{port}")));
            assert_eq!(rows_here[1].address, (!resolves).then(|| format!("127.0.0.1:{port}")));
            let rows_there = rows(&next, before + 1).await;
            let there = rows_there.last().expect("one row");
            assert_eq!((there.endpoint.as_str(), there.key_alias.as_str()), (endpoint, "vk-first"));
            assert_eq!(there.destination.as_deref(), Some(told.as_str()));

            let explained = gw.admin_get(&format!("/api/egress/explain?to=localhost:{port}")).await;
            assert_eq!((&explained["next_proxy"], &explained["allowed"]), (&json!(shown), &json!(true)));
            assert_eq!(explained["addresses"].as_array().map(Vec::is_empty), Some(resolves), "{explained}");
            let said = gw.fleetgate(&["egress", "explain", &format!("localhost:{port}")]).await;
            assert!(said.stdout.contains(&shown), "{}", said.said());
            let direct = gw.admin_get(&format!("/api/egress/explain?to=127.0.0.1:{port}")).await;
            assert_eq!(direct["next_proxy"], Value::Null);
        }
    }
}

#[tokio::test]
async fn what_is_refused_directly_is_refused_before_a_next_proxy_hears_of_it() {
    let (next, address) = listener().await;
    for resolves in [false, true] {
        let upstream = json!([{"proxy": format!("http://{address}"), "dangerously_resolve_there": resolves}]);
        let gw = gateway(&[443], &upstream).await;
        let own = gw.address();
        for (to, reason) in [
            ("10.0.0.1:443", "destination_private"),
            ("100.64.0.1:443", "destination_mesh"),
            ("[64:ff9b::a00:1]:443", "destination_embedded_ipv4"),
            ("169.254.169.254:443", "destination_metadata"),
            ("refused.test:443", "domain_denied"),
            ("example.com:22", "port_not_allowed"),
        ] {
            let tunnel = Tunnel::open(own, to, &bearer()).await;
            assert_eq!((tunnel.status(), tunnel.header("x-fleetgate-reason")), (403, reason), "{to}: {}", tunnel.head);
        }
    }
    // Nobody knocked: the first that does is this test.
    let (knock, came) = tokio::join!(TcpStream::connect(address), next.accept());
    let peer = came.expect("somebody comes").1;
    assert_eq!(knock.expect("it listens").local_addr().expect("it is bound"), peer);
}

#[tokio::test]
async fn a_next_proxy_that_does_not_let_it_through_is_named_with_its_answer() {
    let nobody = ClosedPort::new().expect("a free port");
    for (scheme, answer, word) in [
        ("http", "HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno!", "it answered 403 Forbidden"),
        ("http", "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", "(407)"),
        ("http", "SSH-2.0-OpenSSH\r\n", ""),
        ("http", "", ""),
        ("socks5", "HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak SOCKS5"),
        ("socks5", "\u{5}\u{2}", "wants a user and password"),
        ("socks5", "\u{5}\u{0}\u{5}\u{2}\u{0}\u{1}", "not allowed by its rules (2)"),
        ("nobody", "", "cannot connect to it"),
    ] {
        let (next, mut address) = listener().await;
        if scheme == "nobody" {
            address = nobody.address();
        }
        let scheme = if scheme == "socks5" { scheme } else { "http" };
        let gw = gateway(&[443], &json!([{"proxy": format!("{scheme}://{address}")}])).await;
        let serving = tokio::spawn(async move {
            while let Ok((mut stream, _)) = next.accept().await {
                let _some = stream.read(&mut [0; 100]).await;
                let _gone = stream.write_all(answer.as_bytes()).await;
                let _gone = stream.shutdown().await;
                let _gone = stream.read_to_end(&mut Vec::new()).await;
            }
        });
        let tunnel = Tunnel::open(gw.address(), "127.0.0.1:443", &bearer()).await;
        serving.abort();
        assert_eq!((tunnel.status(), tunnel.header("x-fleetgate-reason")), (502, "next_proxy_failed"), "{answer:?}");
        let row = rows(&gw, 1).await.remove(0);
        let error = row.error.as_deref().unwrap_or_default();
        assert!(error.contains(word) && error.contains(&address.to_string()), "{answer:?}: {error}");
        assert_eq!((row.status.as_str(), row.next_proxy), ("refused", Some(format!("{scheme}://{address}"))));
    }
}

#[tokio::test]
async fn plain_http_goes_through_a_tunnel_of_the_next_proxy() {
    let (server, address) = listener().await;
    let next = other(address.port()).await;
    let upstream = json!([{"proxy": format!("http://any:{MASTER_KEY}@{}", next.address())}]);
    let gw = gateway(&[address.port()], &upstream).await;
    let mut client = TcpStream::connect(gw.address()).await.expect("the gateway listens");
    let request = format!("GET http://{address}/path HTTP/1.1\r\nHost: x\r\n{}\r\n", bearer());
    client.write_all(request.as_bytes()).await.expect("the gateway reads");
    let (mut stream, _) = soon("the other gateway", server.accept()).await.expect("it comes");
    let head = read_until(&mut stream, "\r\n\r\n").await;
    assert!(head.starts_with("GET /path HTTP/1.1\r\n") && !head.contains(MASTER_KEY), "{head}");
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await.expect("it reads");
    read_until(&mut client, "hello").await;
    drop((client, stream));
    let (here, there) = (rows(&gw, 1).await.remove(0), rows(&next, 1).await.remove(0));
    assert_eq!((here.endpoint.as_str(), here.status.as_str(), there.endpoint.as_str()), ("http", "success", "connect"));
    assert_eq!((here.bytes_up, here.bytes_down), (there.bytes_up, there.bytes_down));
    assert_eq!(here.next_proxy, Some(format!("http://{}", next.address())));
}

#[tokio::test]
async fn a_gateway_that_names_itself_as_its_next_proxy_calls_nobody() {
    // A loopback address of this process alone: its port is known before, and nobody else's.
    let process = std::process::id();
    let own = format!("127.{}.{}.8:4000", 64 + process / 250 % 64, process % 250);
    let proxy = json!({"upstream": [{"proxy": format!("http://any:{MASTER_KEY}@{own}")}]});
    let gw =
        Gateway::start(|c| c.listen(&own).tunnels_to_loopback(&[443]).set("fleetgate", "forward_proxy", proxy)).await;
    let tunnel = Tunnel::open(gw.address(), "127.0.0.1:443", &bearer()).await;
    assert_eq!(tunnel.header("x-fleetgate-reason"), "next_proxy_failed", "{}", tunnel.head);
    assert!(rows(&gw, 1).await[0].error.as_deref().is_some_and(|error| error.contains("this gateway itself")));
}

#[tokio::test]
async fn a_mistake_in_the_list_stops_the_start_and_shows_no_password() {
    for upstream in [
        json!({"proxy": "http://u:sEcReT@next:3128"}),
        json!([{"proxy": "https://u:sEcReT@next:3128"}]),
        json!([{"proxy": "http://u:sEcReT@next"}]),
        json!([{"proxy": "u:sEcReT@next:3128"}]),
        json!([{"domains": ["example.com"]}]),
        json!([{"proxy": "direct", "domains": ["1.2.3.4"]}]),
        json!([{"proxy": "direct", "domain": ["example.com"]}]),
        json!([{"proxy": "direct", "dangerously_resolve_there": "perhaps"}]),
        json!([{"proxy": "direct", "domains": ["a.test"]}, {"proxy": "http://u:sEcReT@next:3128", "domains": ["A.test."]}]),
        json!(["http://u:sEcReT@next:3128"]),
    ] {
        let refused = Gateway::refuses(|c| c.set("fleetgate", "forward_proxy", json!({"upstream": upstream}))).await;
        assert_eq!(refused.status.code(), Some(2), "{upstream}: {}", refused.said());
        assert!(refused.said().contains("fleetgate.forward_proxy.upstream"), "{}", refused.said());
        assert!(!refused.said().contains("sEcReT"), "{}", refused.said());
    }
}

#[tokio::test]
async fn an_address_from_the_environment_is_used_and_a_row_in_postgresql_names_the_proxy() {
    let port = echo().await;
    let (next, server) = (other(port).await, Postgres::start().await);
    let url = server.database("ledger").await;
    let proxy = json!({"upstream": [{"proxy": "os.environ/NEXT_PROXY"}]});
    let gw = Gateway::start(|c| {
        let c = c.tunnels_to_loopback(&[port]).set("fleetgate", "forward_proxy", proxy).database(&url);
        c.env("NEXT_PROXY", &format!("http://any:{MASTER_KEY}@{}/", next.address()))
    })
    .await;
    there_and_back(&gw, &format!("127.0.0.1:{port}")).await;
    assert_eq!(rows(&gw, 1).await[0].next_proxy, Some(format!("http://{}", next.address())));
}
