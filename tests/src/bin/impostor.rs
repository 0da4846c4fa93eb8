//! Whoever else may answer where a gateway is expected, and name servers that fail: for tests in network namespaces.
//!
//! ```text
//! fleetgate-impostor http ADDRESS:PORT ANSWER     answers each request with these literal bytes
//! fleetgate-impostor banner ADDRESS:PORT GREETING greets before it is asked
//! fleetgate-impostor mute ADDRESS:PORT            takes connections and says nothing
//! fleetgate-impostor dns ADDRESS:PORT REPLY       an IPv4 address, a response code, or `silent`; of several with commas, each question for an IPv4 address gets the next
//! ```

use std::error::Error;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::thread;

const HEADER: usize = 12;
/// An answer that points back to the question's name: type A, class IN, 60 seconds, four bytes.
const ANSWER: [u8; 12] = [0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["dns", address, reply] => name_server(&bound(UdpSocket::bind(address)?)?, reply),
        [kind @ ("http" | "banner"), address, text] => {
            let listener = bound(TcpListener::bind(address)?)?;
            for stream in listener.incoming() {
                let (stream, text, asked) = (stream?, (*text).to_owned(), *kind == "http");
                thread::spawn(move || drop(answer(stream, &text, asked)));
            }
            Ok(())
        }
        ["mute", address] => {
            let listener = bound(TcpListener::bind(address)?)?;
            let mut kept = Vec::new();
            for stream in listener.incoming() {
                kept.push(stream?);
            }
            Ok(())
        }
        _ => Err("usage: fleetgate-impostor http|banner|mute|dns ADDRESS:PORT [TEXT]".into()),
    }
}

/// Says that it is there.
fn bound<S>(socket: S) -> std::io::Result<S> {
    std::io::stdout().write_all(b"ready\n")?;
    std::io::stdout().flush()?;
    Ok(socket)
}

fn answer(mut stream: TcpStream, text: &str, asked: bool) -> std::io::Result<()> {
    let mut seen = Vec::new();
    let mut byte = [0u8; 1];
    while asked && !seen.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Ok(());
        }
        seen.push(byte[0]);
    }
    stream.write_all(text.as_bytes())?;
    stream.shutdown(std::net::Shutdown::Write)?;
    // Closing with unread bytes would reset the connection, and the answer could be lost.
    while stream.read(&mut byte)? > 0 {}
    Ok(())
}

fn name_server(socket: &UdpSocket, reply: &str) -> Result<(), Box<dyn Error>> {
    let mut packet = [0u8; 512];
    let mut replies = reply.split(',').cycle().peekable();
    loop {
        let (length, client) = socket.recv_from(&mut packet)?;
        let reply = *replies.peek().ok_or("no reply")?;
        if reply == "silent" || length < HEADER {
            continue;
        }
        let question = &packet[HEADER..length];
        let Some(end) = question.iter().position(|byte| *byte == 0).map(|at| at + 5) else { continue };
        let Some(question) = question.get(..end) else { continue };
        let is_ipv4 = question[end - 3] == 1;
        if is_ipv4 {
            replies.next();
        }
        let address: Option<Ipv4Addr> = reply.parse().ok();
        let code: u8 = if address.is_some() { 0 } else { reply.parse()? };
        let answers = address.filter(|_| is_ipv4);
        let mut out = packet[..2].to_vec();
        out.extend_from_slice(&[0x81, 0x80 | code, 0, 1, 0, u8::from(answers.is_some()), 0, 0, 0, 0]);
        out.extend_from_slice(question);
        if let Some(address) = answers {
            out.extend_from_slice(&ANSWER);
            out.extend_from_slice(&address.octets());
        }
        socket.send_to(&out, client)?;
    }
}
