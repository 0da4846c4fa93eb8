use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
const PATIENCE: Duration = Duration::from_secs(20);

async fn provider() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/chat", listener.local_addr().unwrap());
    (listener, url)
}

/// Reads one request's head and gives back its text.
async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut head).await.unwrap(), 0, "the client closed the connection");
    }
    String::from_utf8(head).unwrap()
}

async fn ask(client: &Client, url: &str) -> Result<Reply, ClientError> {
    client.send(Request::get(url).body(Full::default()).unwrap(), PATIENCE).await
}

async fn read(reply: Reply) -> Bytes {
    reply.body.collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn a_connection_whose_answer_was_read_takes_the_next_request() {
    let (listener, url) = provider().await;
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        for _ in 0..3 {
            let head = read_head(&mut stream).await;
            let host = format!("host: {}\r\n", listener.local_addr().unwrap());
            assert!(head.starts_with("GET /v1/chat HTTP/1.1\r\n") && head.contains(&host), "{head}");
            stream.write_all(ANSWER).await.unwrap();
        }
    });
    let client = Client::new().unwrap();
    for _ in 0..3 {
        assert_eq!(read(ask(&client, &url).await.unwrap()).await, "hi");
    }
    serving.await.unwrap();
}

#[tokio::test]
async fn a_kept_connection_that_the_provider_closed_is_replaced() {
    let (listener, url) = provider().await;
    let serving = tokio::spawn(async move {
        for _ in 0..3 {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_head(&mut stream).await;
            stream.write_all(ANSWER).await.unwrap();
        }
    });
    let client = Client::new().unwrap();
    for _ in 0..3 {
        assert_eq!(read(ask(&client, &url).await.unwrap()).await, "hi");
    }
    serving.await.unwrap();
}

#[tokio::test]
async fn an_answer_that_is_not_read_to_its_end_takes_its_connection_with_it() {
    let (listener, url) = provider().await;
    let client = Client::new().unwrap();
    let (reply, mut stream) = tokio::join!(ask(&client, &url), async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi").await.unwrap();
        stream
    });
    drop(reply.unwrap());
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0, "the provider must see that nobody listens");
}

#[tokio::test]
async fn two_clients_have_no_connection_in_common() {
    let (listener, url) = provider().await;
    let serving = tokio::spawn(async move {
        let mut streams = Vec::new();
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_head(&mut stream).await;
            stream.write_all(ANSWER).await.unwrap();
            streams.push(stream);
        }
    });
    let client = Client::new().unwrap();
    for client in [client.apart(), client] {
        assert_eq!(read(ask(&client, &url).await.unwrap()).await, "hi");
    }
    serving.await.unwrap();
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_no_cut() {
    let (listener, url) = provider().await;
    drop(listener);
    let refused = ask(&Client::new().unwrap(), &url).await.unwrap_err();
    assert!(matches!(refused, ClientError::Connect { .. }), "{refused}");
}

/// An answer in pieces, each of them seen by itself.
async fn dribble(stream: &mut TcpStream, answer: &[u8]) {
    for byte in answer {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
}

async fn answers_come_whole_however_they_are_cut() {
    const CONTINUED: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n";
    let (listener, url) = provider().await;
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        for answer in [ANSWER, CONTINUED, CHUNKED] {
            read_head(&mut stream).await;
            stream.write_all(answer).await.unwrap();
            read_head(&mut stream).await;
            dribble(&mut stream, answer).await;
        }
    });
    let client = Client::new().unwrap();
    for expected in ["hi", "hi", "hi", "hi", "onetwo", "onetwo"] {
        assert_eq!(read(ask(&client, &url).await.unwrap()).await, expected);
    }
    serving.await.unwrap();
}

#[tokio::test]
async fn on_one_thread_answers_come_whole_however_they_are_cut() {
    answers_come_whole_however_they_are_cut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_two_threads_answers_come_whole_however_they_are_cut() {
    answers_come_whole_however_they_are_cut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_at_once_each_get_their_own_answer() {
    let (listener, url) = provider().await;
    drop(tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            drop(tokio::spawn(async move {
                loop {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        if stream.read_buf(&mut head).await.unwrap() == 0 {
                            return;
                        }
                    }
                    let number = String::from_utf8(head).unwrap();
                    let number = number.split(['?', ' ']).nth(2).unwrap().to_owned();
                    let length = number.len();
                    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{number}");
                    dribble(&mut stream, answer.as_bytes()).await;
                }
            }));
        }
    }));
    let client = Client::new().unwrap();
    let calls = (0..500).map(|number| {
        let (client, url) = (client.clone(), format!("{url}?{number}"));
        tokio::spawn(async move {
            let answer = read(ask(&client, &url).await.unwrap()).await;
            assert_eq!(answer, number.to_string());
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
}

#[tokio::test]
async fn what_a_provider_says_unasked_ends_a_kept_connection_and_no_call() {
    let (listener, url) = provider().await;
    let (said, heard) = tokio::sync::oneshot::channel();
    let serving = tokio::spawn(async move {
        let (mut kept, _) = listener.accept().await.unwrap();
        read_head(&mut kept).await;
        kept.write_all(ANSWER).await.unwrap();
        kept.write_all(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        said.send(()).unwrap();
        let (mut next, _) = listener.accept().await.unwrap();
        read_head(&mut next).await;
        next.write_all(ANSWER).await.unwrap();
        kept
    });
    let client = Client::new().unwrap();
    let first = ask(&client, &url).await.unwrap();
    assert_eq!(read(first).await, "hi");
    heard.await.unwrap();
    assert_eq!(read(ask(&client, &url).await.unwrap()).await, "hi");
    serving.await.unwrap();
}

#[tokio::test]
async fn an_answer_may_end_with_its_connection() {
    let (listener, url) = provider().await;
    let serving = tokio::spawn(async move {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_head(&mut stream).await;
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nto the end").await.unwrap();
        }
    });
    let client = Client::new().unwrap();
    for _ in 0..2 {
        assert_eq!(read(ask(&client, &url).await.unwrap()).await, "to the end");
    }
    serving.await.unwrap();
}

/// The rest of a request may still be on its way when its answer is there.
#[tokio::test]
async fn an_answer_to_the_half_of_a_request_is_passed_on() {
    let (listener, url) = provider().await;
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut [0; 1000]).await.unwrap();
        stream.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig").await.unwrap();
        stream
    });
    let client = Client::new().unwrap();
    let request = Request::post(&url).body(Full::from(vec![b'x'; 32 << 20])).unwrap();
    let reply = client.send(request, PATIENCE).await.unwrap();
    assert_eq!(reply.head.status, 413);
    assert_eq!(read(reply).await, "big");
    serving.await.unwrap();
}

#[tokio::test]
async fn a_request_larger_than_every_buffer_arrives_whole() {
    const SIZE: usize = 8 << 20;
    let (listener, url) = provider().await;
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut come, mut buffer) = (0, vec![0; 64 << 10]);
        while come < SIZE {
            let read = stream.read(&mut buffer).await.unwrap();
            // No head has such a byte.
            come += buffer[..read].iter().filter(|byte| **byte == 0xFF).count();
        }
        stream.write_all(ANSWER).await.unwrap();
    });
    let client = Client::new().unwrap();
    let request = Request::post(&url).body(Full::from(vec![0xFF; SIZE])).unwrap();
    assert_eq!(read(client.send(request, PATIENCE).await.unwrap()).await, "hi");
    serving.await.unwrap();
}

#[tokio::test]
async fn a_kept_connection_that_nobody_uses_is_let_go_when_its_provider_closes_it() {
    let (listener, url) = provider().await;
    let client = Client::new().unwrap();
    let (reply, mut stream) = tokio::join!(ask(&client, &url), async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        stream.write_all(ANSWER).await.unwrap();
        stream
    });
    assert_eq!(read(reply.unwrap()).await, "hi");
    assert!(client.pool.let_go().is_some(), "it is kept");
    stream.shutdown().await.unwrap();
    let let_go = async {
        while client.pool.let_go().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, let_go).await.expect("the sweep sees that it was closed");
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0, "and closes it, too");
}

#[tokio::test]
async fn an_answer_that_is_cut_says_how() {
    const CUTS: [(&[u8], &str); 4] = [
        (b"", "connection closed before message completed"),
        (b"HTTP/1.1 20", "connection closed before message completed"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi", "body"),
        (b"nonsense\r\n\r\n", "invalid HTTP version"),
    ];
    let (listener, url) = provider().await;
    let serving = tokio::spawn(async move {
        for (cut, _) in CUTS {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_head(&mut stream).await;
            stream.write_all(cut).await.unwrap();
        }
    });
    let client = Client::new().unwrap();
    for (_, expected) in CUTS {
        let said = match ask(&client, &url).await {
            Ok(reply) => reply.body.collect().await.unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        assert!(said.contains(expected), "{said}");
    }
    serving.await.unwrap();
}

#[tokio::test]
async fn a_call_that_is_given_up_closes_its_connection() {
    let (listener, url) = provider().await;
    let client = Client::new().unwrap();
    let request = Request::get(&url).body(Full::default()).unwrap();
    let (given_up, mut stream) = tokio::join!(client.send(request, Duration::from_millis(50)), async {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        stream
    });
    assert!(matches!(given_up.unwrap_err(), ClientError::Timeout { .. }));
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0, "the provider must see that nobody waits");
}
