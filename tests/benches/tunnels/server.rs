//! The destination: one byte says what is wanted, eight how many bytes. On a thread of its own.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

/// As many bytes from the server.
pub(crate) const DOWN: u8 = b'd';
/// As many bytes to the server, and one back.
pub(crate) const UP: u8 = b'u';
const CHUNK: usize = 256 * 1024;

/// The nine bytes of an order.
pub(crate) fn order(what: u8, bytes: u64) -> [u8; 9] {
    let mut order = [what; 9];
    order[1..].copy_from_slice(&bytes.to_be_bytes());
    order
}

/// Starts it and says where it listens.
pub(crate) fn start() -> SocketAddr {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            sender.send(listener.local_addr().expect("it is bound")).expect("the benchmark waits");
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
    });
    receiver.recv().expect("the server starts")
}

async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut order = [0; 9];
    loop {
        stream.read_exact(&mut order).await?;
        let mut left =
            usize::try_from(u64::from_be_bytes(order[1..].try_into().expect("eight bytes"))).expect("64 bits");
        let mut chunk = vec![0; CHUNK.min(left)];
        while left > 0 {
            let most = left.min(chunk.len());
            left -= match order[0] {
                DOWN => stream.write(&chunk[..most]).await?,
                _ => match stream.read(&mut chunk[..most]).await? {
                    0 => return Ok(()),
                    read => read,
                },
            };
        }
        if order[0] == UP {
            stream.write_all(b".").await?;
        }
    }
}
