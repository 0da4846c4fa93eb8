//! The floor of the tunnels' benchmark: a relay that does nothing but splice(2). No `CONNECT`, no key, no rules, no counts, no limits.
//!
//! `fleetgate-splice LISTEN DESTINATION`, both as `ADDRESS:PORT`.

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    relay::run()
}

#[cfg(not(target_os = "linux"))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    Err("splice(2) is Linux's".into())
}

#[cfg(target_os = "linux")]
mod relay {
    use std::cell::RefCell;
    use std::error::Error;
    use std::io;
    use std::net::SocketAddr;
    use std::os::fd::OwnedFd;

    use rustix::net::Shutdown;
    use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
    use tokio::io::Interest;
    use tokio::net::{TcpListener, TcpStream};

    const PIPE_SIZE: usize = 256 * 1024;
    const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

    type Pipe = (OwnedFd, OwnedFd);

    thread_local! {
        /// Empty ones: a silent tunnel has none.
        static PIPES: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
    }

    #[tokio::main(flavor = "current_thread")]
    pub(super) async fn run() -> Result<(), Box<dyn Error>> {
        let mut addresses = std::env::args().skip(1).map(|text| text.parse::<SocketAddr>());
        let (Some(listen), Some(destination)) = (addresses.next().transpose()?, addresses.next().transpose()?) else {
            return Err("usage: fleetgate-splice LISTEN DESTINATION".into());
        };
        let listener = TcpListener::bind(listen).await?;
        loop {
            let (client, _) = listener.accept().await?;
            tokio::spawn(async move {
                let destination = TcpStream::connect(destination).await?;
                client.set_nodelay(true)?;
                destination.set_nodelay(true)?;
                tokio::try_join!(one_way(&client, &destination), one_way(&destination, &client))
            });
        }
    }

    async fn one_way(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
        loop {
            from.readable().await?;
            let (out, into) = match PIPES.with_borrow_mut(Vec::pop) {
                Some(pipe) => pipe,
                None => new_pipe()?,
            };
            loop {
                let filling = || Ok(splice(from, None, &into, None, PIPE_SIZE, FLAGS)?);
                let mut held = match from.try_io(Interest::READABLE, filling) {
                    Ok(0) => return Ok(rustix::net::shutdown(to, Shutdown::Write)?),
                    Ok(taken) => taken,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                };
                while held > 0 {
                    match to.try_io(Interest::WRITABLE, || Ok(splice(&out, None, to, None, held, FLAGS)?)) {
                        Ok(given) => held -= given,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => to.writable().await?,
                        Err(error) => return Err(error),
                    }
                }
                tokio::task::consume_budget().await;
            }
            PIPES.with_borrow_mut(|pipes| pipes.push((out, into)));
        }
    }

    fn new_pipe() -> io::Result<Pipe> {
        let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        fcntl_setpipe_size(&into, PIPE_SIZE)?;
        Ok((out, into))
    }
}
