//! SOCKS5 on a port of its own and on the forward proxy's, as literal bytes and with a real client.

#![allow(clippy::expect_used, reason = "a broken expectation is a failed test")]

use std::net::SocketAddr;

use fleetgate_tests::client::{Tunnel, raw};
use fleetgate_tests::wait::soon;
use fleetgate_tests::{Gateway, eventually};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A server on loopback that sends back what it gets.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reads, mut writes) = stream.split();
                drop(tokio::io::copy(&mut reads, &mut writes).await);
                drop(writes.shutdown().await);
            });
        }
    });
    address
}

async fn gateway(port: u16, trust: &Value) -> Gateway {
    let mut proxy = json!({"socks5_listen": "127.0.0.1:0"});
    if !trust.is_null() {
        proxy["trust"] = trust.clone();
    }
    Gateway::start(|c| c.tunnels_to_loopback(&[port]).set("fleetgate", "forward_proxy", proxy)).await
}

/// Sends messages in turn and reads each answer, of so many bytes. Shorter answers are the connection's end.
async fn talk(gw: &Gateway, messages: &[(&[u8], usize)]) -> (Vec<Vec<u8>>, TcpStream) {
    let mut stream = TcpStream::connect(gw.proxy()).await.expect("the gateway listens");
    let mut answers = Vec::new();
    for (message, length) in messages {
        stream.write_all(message).await.expect("it reads");
        let mut answer = vec![0; *length];
        let mut have = 0;
        while have < *length {
            match soon("an answer", stream.read(&mut answer[have..])).await {
                Ok(0) | Err(_) => break,
                Ok(more) => have += more,
            }
        }
        answer.truncate(have);
        answers.push(answer);
    }
    (answers, stream)
}

fn password(key: &str) -> Vec<u8> {
    let length = u8::try_from(key.len()).expect("a short key");
    [&[1, 3][..], b"any", &[length], key.as_bytes()].concat()
}

fn to_name(name: &str, port: u16) -> Vec<u8> {
    let length = u8::try_from(name.len()).expect("a short name");
    [&[5, 1, 0, 3, length][..], name.as_bytes(), &port.to_be_bytes()].concat()
}

fn to_v4(address: [u8; 4], port: u16) -> Vec<u8> {
    [&[5, 1, 0, 1][..], &address, &port.to_be_bytes()].concat()
}

const HELLO: &[u8] = &[5, 2, 0, 2];
const OPEN: [u8; 10] = [5, 0, 0, 1, 0, 0, 0, 0, 0, 0];

#[tokio::test]
async fn a_key_as_the_password_opens_a_tunnel_with_its_row() {
    let server = echo().await;
    let gw = gateway(server.port(), &Value::Null).await;
    let key = gw.key(&json!({"key_alias": "vk-mac", "host": "mac"})).await;
    let request = to_name("localhost", server.port());
    // The first bytes come along with the request.
    let messages = [(HELLO, 2), (&password(&key), 2), (&[&request[..], b"early "].concat(), 10)];
    let (answers, mut stream) = talk(&gw, &messages).await;
    assert_eq!(answers, [&[5, 2][..], &[1, 0], &OPEN]);
    stream.write_all(b"and late").await.expect("the tunnel takes bytes");
    stream.shutdown().await.expect("half-close");
    let mut back = Vec::new();
    soon("the echo", stream.read_to_end(&mut back)).await.expect("the tunnel gives bytes");
    assert_eq!(back, b"early and late");
    let row = eventually("the tunnel's row", async || gw.rows().await.pop()).await;
    assert_eq!((row.key_alias.as_str(), row.host.as_str(), row.endpoint.as_str()), ("vk-mac", "mac", "socks5"));
    assert_eq!((row.bytes_up, row.bytes_down, row.status.as_str()), (Some(14), Some(14), "closed"));
    assert_eq!(row.destination, Some(format!("localhost:{}", server.port())));
}

#[tokio::test]
async fn each_refusal_has_the_protocols_own_word() {
    let server = echo().await;
    let gw = gateway(server.port(), &Value::Null).await;
    let key = password(&gw.key(&json!({})).await);
    let six = [&[5, 1, 0, 4][..], &[0; 16], &server.port().to_be_bytes()].concat();
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    drop(closed);
    for (request, code) in [
        (to_v4([10, 0, 0, 1], server.port()), 2),
        (to_v4([127, 0, 0, 1], 22), 2),
        (six, 2),
        (to_name("127.1", server.port()), 1),
        (to_name("no-such-name.invalid", server.port()), 4),
        (to_v4([127, 0, 0, 99], server.port()), 5),
        (vec![5, 2, 0, 1, 127, 0, 0, 1, 1, 187], 7),
        (vec![5, 3, 0, 1, 127, 0, 0, 1, 1, 187], 7),
        (vec![5, 1, 0, 9, 127, 0, 0, 1, 1, 187], 8),
    ] {
        let (answers, mut stream) = talk(&gw, &[(HELLO, 2), (&key, 2), (&request, 10)]).await;
        assert_eq!(answers[2].get(..2), Some(&[5, code][..]), "{request:?}");
        assert!(matches!(soon("the end", stream.read(&mut [0])).await, Ok(0) | Err(_)), "{request:?}");
    }
}

#[tokio::test]
async fn without_a_good_key_there_is_no_tunnel() {
    let server = echo().await;
    let gw = gateway(server.port(), &Value::Null).await;
    let request = to_v4([127, 0, 0, 1], server.port());
    let (answers, mut stream) = talk(&gw, &[(HELLO, 2), (&password("sk-nobody-knows-this-one"), 2)]).await;
    assert_eq!(answers[1], [1, 1]);
    assert!(matches!(soon("the end", stream.read(&mut [0])).await, Ok(0) | Err(_)));
    let (answers, _) = talk(&gw, &[(&[5, 1, 0], 2), (&request, 10)]).await;
    assert_eq!((answers[0].as_slice(), answers[1].get(..2)), (&[5, 0][..], Some(&[5, 2][..])));
    for nonsense in [&[5, 1, 9][..], &[4, 1, 0, 80, 1, 1, 1, 1, 0], b"GET / HTTP/1.1\r\n\r\n"] {
        let (answers, _) = talk(&gw, &[(nonsense, 2)]).await;
        assert_eq!(answers[0], [5, 255], "{nonsense:?}");
    }
    assert!(gw.rows().await.is_empty());
}

#[tokio::test]
async fn a_trusted_address_needs_no_password() {
    let server = echo().await;
    let gw = gateway(server.port(), &json!(["127.0.0.0/8"])).await;
    let request = to_v4([127, 0, 0, 1], server.port());
    let (answers, stream) = talk(&gw, &[(&[5, 1, 0], 2), (&request, 10)]).await;
    assert_eq!(answers, [&[5, 0][..], &OPEN]);
    drop(stream);
    let row = eventually("the tunnel's row", async || gw.rows().await.pop()).await;
    assert_eq!((row.key_alias.as_str(), row.host.as_str()), ("trusted-address", "127.0.0.1"));
}

#[tokio::test]
async fn curl_goes_out_by_socks_and_its_names_are_resolved_by_the_gateway() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            drop(stream.read(&mut [0; 1024]).await);
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await);
        }
    });
    let gw = gateway(port, &Value::Null).await;
    let key = gw.key(&json!({"key_alias": "vk-curl"})).await;
    let proxy = format!("socks5h://any:{key}@{}", gw.proxy());
    let url = format!("http://localhost:{port}/");
    let run = tokio::process::Command::new("curl").args(["-sS", "-m", "20", "--proxy", &proxy, &url]).output().await;
    let done = run.expect("curl is installed");
    assert_eq!(String::from_utf8_lossy(&done.stdout), "hi", "{}", String::from_utf8_lossy(&done.stderr));
    let row = eventually("the tunnel's row", async || gw.rows().await.pop()).await;
    assert_eq!(row.destination, Some(format!("localhost:{port}")));
}

#[tokio::test]
async fn one_port_takes_socks5_and_connect_where_both_are_wanted() {
    let server = echo().await;
    let proxy = |socks5| json!({"listen": "127.0.0.1:0", "socks5": socks5});
    let start = async |socks5| {
        let proxy = proxy(socks5);
        Gateway::start(|c| c.tunnels_to_loopback(&[server.port()]).set("fleetgate", "forward_proxy", proxy)).await
    };
    let mut gw = start(true).await;
    let key = gw.key(&json!({"key_alias": "vk-mac"})).await;
    // A greeting in two pieces, of which the first is a byte.
    let request = to_v4([127, 0, 0, 1], server.port());
    let messages = [(&HELLO[..1], 0), (&HELLO[1..], 2), (&password(&key), 2), (&request, 10)];
    let (answers, stream) = talk(&gw, &messages).await;
    assert_eq!(answers[1..], [&[5, 2][..], &[1, 0], &OPEN]);
    drop(stream);
    let headers = format!("Proxy-Authorization: Bearer {key}\r\n");
    let tunnel = Tunnel::open(gw.proxy(), &server.to_string(), &headers).await;
    assert_eq!(tunnel.status(), 200, "{}", tunnel.head);
    drop(tunnel);
    let rows = eventually("both rows", async || Some(gw.rows().await).filter(|rows| rows.len() == 2)).await;
    let mut endpoints: Vec<_> = rows.iter().map(|row| row.endpoint.as_str()).collect();
    endpoints.sort_unstable();
    assert_eq!(endpoints, ["connect", "socks5"]);
    let answer = raw(gw.proxy(), b"\x04\x01\0\x50\x01\x01\x01\x01\0").await;
    assert!(!answer.starts_with('\u{5}'), "SOCKS4 is not spoken: {answer}");

    // Whoever has said nothing yet holds up no end.
    let mut silent = TcpStream::connect(gw.proxy()).await.expect("the gateway listens");
    gw.terminate().await;
    assert!(matches!(soon("the end", silent.read(&mut [0])).await, Ok(0) | Err(_)));

    let gw = start(false).await;
    let answer = raw(gw.proxy(), HELLO).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}
