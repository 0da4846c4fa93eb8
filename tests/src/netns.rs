//! Network namespaces with veth pairs between them: machines of their own for a test, in which nothing can leave.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::binaries::binary;

/// One network namespace with its loopback up. It is deleted when this is dropped, and its links with it.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Makes one; the process id keeps concurrent tests apart. `None`, with a printed line, where that is not permitted.
    #[must_use]
    pub fn new(purpose: &str) -> Option<Self> {
        let name = format!("fg-{purpose}-{}", std::process::id());
        if let Err(why) = ip(&["netns", "add", &name]) {
            println!("SKIPPED: no network namespaces here: {why}");
            return None;
        }
        let namespace = Self { name };
        if let Err(why) = ip(&["-n", &namespace.name, "link", "set", "lo", "up"]) {
            println!("SKIPPED: no links in network namespaces here: {why}");
            return None;
        }
        Some(namespace)
    }

    /// Its name, for `ip netns exec`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lays a cable to another namespace; `network` is three numbers such as `10.77.1`: this end gets `.1`, the other `.2`.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn link(&self, other: &Self, network: &str) {
        let cable = network.replace('.', "-");
        let (here, there) = (format!("a{cable}"), format!("b{cable}"));
        let run = |arguments: &[&str]| ip(arguments).unwrap_or_else(|why| panic!("ip {arguments:?}: {why}"));
        let peer = ["peer", "name", &there, "netns", &other.name];
        run(&[&["-n", &self.name, "link", "add", &here, "type", "veth"][..], &peer].concat());
        for (namespace, end, number) in [(self, &here, 1), (other, &there, 2)] {
            run(&["-n", &namespace.name, "address", "add", &format!("{network}.{number}/24"), "dev", end]);
            run(&["-n", &namespace.name, "link", "set", end, "up"]);
        }
    }

    /// Gives its loopback another address, such as `100.64.255.1`.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn add_address(&self, address: &str) {
        let added = ip(&["-n", &self.name, "address", "add", &format!("{address}/32"), "dev", "lo"]);
        added.unwrap_or_else(|why| panic!("ip address add {address}: {why}"));
    }

    /// Finds an address behind a neighbour.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn add_route(&self, address: &str, neighbour: &str) {
        let added = ip(&["-n", &self.name, "route", "add", &format!("{address}/32"), "via", neighbour]);
        added.unwrap_or_else(|why| panic!("ip route add {address} via {neighbour}: {why}"));
    }

    /// Runs `ip` on this namespace, for example `["address", "del", …]`.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn ip(&self, arguments: &[&str]) {
        ip(&[&["-n", &self.name], arguments].concat()).unwrap_or_else(|why| panic!("ip {arguments:?}: {why}"));
    }

    /// Runs curl inside, without any configuration or variable of the user's.
    ///
    /// # Panics
    /// When curl is missing.
    #[must_use]
    pub fn curl(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, "curl", "-q", "-sS", "--max-time", "20"]).args(arguments);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).output().expect("curl runs")
    }

    /// Starts the TLS server that answers with its client's address.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn peer(&self, arguments: &[&str]) -> Peer {
        self.serve("fleetgate-peer", arguments)
    }

    /// Starts somebody who answers where a gateway is expected, or a name server that fails.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn impostor(&self, arguments: &[&str]) -> Peer {
        self.serve("fleetgate-impostor", arguments)
    }

    /// Runs a program of the system inside, to its end.
    ///
    /// # Panics
    /// When it fails.
    pub fn run(&self, program: &str, arguments: &[&str]) {
        let mut command = Command::new("ip");
        let output = command.args(["netns", "exec", &self.name, program]).args(arguments).output().expect("ip runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {said}");
    }

    /// Loads rules of nftables into a chain at this hook: `input`, `output` or `forward`.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn firewall(&self, hook: &str, rules: &str) {
        let chain = format!("chain {hook} {{ type filter hook {hook} priority 0; {rules} }}");
        self.run("nft", &[&format!("table inet test {{\n{chain}\n}}")]);
    }

    /// Sets the name server that programs inside ask.
    ///
    /// # Panics
    /// When `/etc/netns` is not writable.
    pub fn name_server(&self, address: &str) {
        let directory = self.settings();
        fs::create_dir_all(&directory).expect("/etc/netns is writable");
        fs::write(directory.join("resolv.conf"), format!("nameserver {address}\n")).expect("/etc/netns is writable");
    }

    /// `ip netns exec` lays what is there over `/etc`.
    fn settings(&self) -> PathBuf {
        Path::new("/etc/netns").join(&self.name)
    }

    fn serve(&self, program: &str, arguments: &[&str]) -> Peer {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(binary(program)).args(arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the server starts");
        // It prints one line once it listens.
        let mut ready = [0u8; 6];
        let mut stdout = child.stdout.take().expect("stdout is piped");
        std::io::Read::read_exact(&mut stdout, &mut ready).expect("the server becomes ready");
        assert_eq!(&ready, b"ready\n");
        Peer(child)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // Best effort: a namespace that is gone already is what we want.
        drop(ip(&["netns", "delete", &self.name]));
        drop(fs::remove_dir_all(self.settings()));
    }
}

/// A server in a namespace; killed when dropped.
#[derive(Debug)]
pub struct Peer(std::process::Child);

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| format!("ip: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}
