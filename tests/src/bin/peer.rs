//! A TLS server that answers every request with the address it came from: the witness in tests about the fixed address.
//!
//! `fleetgate-peer ADDRESS:PORT CERTIFICATE KEY`

use std::error::Error;
use std::io::Write;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, certificate, key] = &arguments[..] else {
        return Err("usage: fleetgate-peer ADDRESS:PORT CERTIFICATE KEY".into());
    };
    let chain = vec![CertificateDer::from_pem_file(certificate)?];
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    let tls = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(address).await?;
    std::io::stdout().write_all(b"ready\n")?;
    std::io::stdout().flush()?;
    loop {
        let (stream, peer) = listener.accept().await?;
        let answer = format!("{}\n", peer.ip());
        tokio::spawn(serve(tls.clone(), stream, answer));
    }
}

async fn serve(tls: TlsAcceptor, stream: TcpStream, answer: String) -> std::io::Result<()> {
    let mut stream = tls.accept(stream).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let length = answer.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}
