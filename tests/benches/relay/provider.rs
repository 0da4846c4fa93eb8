//! A provider that costs next to nothing: it answers fixed bytes to every request, on a thread of its own.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;

use fleetgate_tests::upstream::openai::{chat_events, usage};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

use crate::http1::{find, request_length};

/// Events of a streamed answer, besides its first, last and usage ones.
pub(crate) const CHUNKS: usize = 100;
const BODY_LENGTH: usize = 600;

/// Starts it and says where it listens.
pub(crate) fn start() -> SocketAddr {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            sender.send(listener.local_addr().expect("it is bound")).expect("the benchmark waits");
            let answers: &'static Answers = Box::leak(Box::new(Answers::new()));
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answers));
            }
        });
    });
    receiver.recv().expect("the provider starts")
}

struct Answers {
    whole: Vec<u8>,
    stream: Vec<Vec<u8>>,
    stream_with_usage: Vec<Vec<u8>>,
}

impl Answers {
    fn new() -> Self {
        let mut answer = json!({
            "id": "chatcmpl-bench", "object": "chat.completion", "created": 1_790_000_000, "model": "gpt-4.1-mini",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "stop"}],
            "usage": usage(),
        });
        let padding = BODY_LENGTH - answer.to_string().len();
        answer["choices"][0]["message"]["content"] = "x".repeat(padding).into();
        // The header makes it pass for a gateway, so that the sidecar can be measured alone.
        let head = "HTTP/1.1 200 OK\r\nx-fleetgate-gateway: bench\r\ncontent-type: application/json\r\n";
        let whole = format!("{head}content-length: {BODY_LENGTH}\r\n\r\n{answer}").into_bytes();
        let pieces = ["a dozen bytes"; CHUNKS];
        let [stream, stream_with_usage] = [false, true].map(|usage_wanted| {
            let head = "HTTP/1.1 200 OK\r\nx-fleetgate-gateway: bench\r\ncontent-type: text/event-stream\r\n";
            let mut writes = vec![format!("{head}transfer-encoding: chunked\r\n\r\n").into_bytes()];
            for event in chat_events("gpt-4.1-mini", &pieces, usage_wanted) {
                writes.push(format!("{:x}\r\n{event}\r\n", event.len()).into_bytes());
            }
            writes.push(b"0\r\n\r\n".to_vec());
            writes
        });
        Self { whole, stream, stream_with_usage }
    }
}

async fn serve(mut stream: TcpStream, answers: &Answers) {
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::with_capacity(16 << 10);
    loop {
        let length = loop {
            match request_length(&buffer) {
                Some(length) if buffer.len() >= length => break length,
                _ => match stream.read_buf(&mut buffer).await {
                    Ok(1..) => {}
                    _ => return,
                },
            }
        };
        let request = &buffer[..length];
        let sent = if find(request, b"\"include_usage\":true").is_some() {
            write_all(&mut stream, &answers.stream_with_usage).await
        } else if find(request, b"\"stream\":true").is_some() {
            write_all(&mut stream, &answers.stream).await
        } else {
            stream.write_all(&answers.whole).await
        };
        if sent.is_err() {
            return;
        }
        buffer.drain(..length);
    }
}

/// One write for each event: as a provider sends them.
async fn write_all(stream: &mut TcpStream, writes: &[Vec<u8>]) -> std::io::Result<()> {
    for write in writes {
        stream.write_all(write).await?;
    }
    Ok(())
}
