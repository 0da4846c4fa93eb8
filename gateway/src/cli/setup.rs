//! `setup`: a first configuration, a fresh master key, and what to do next. It asks nothing and overwrites nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use directories::ProjectDirs;

use super::backup::configuration;
use crate::config::{Config, Overrides};
use crate::front::{MeshPlace, NoMesh, find_mesh};

const CONFIG: &str = include_str!("../../../install/config.example.yaml");
const ENVIRONMENT: &str = include_str!("../../../install/gateway.example.env");
/// What the example says of the address, which is known by now.
const LISTEN: &str = "  listen: 127.0.0.1:4100\n";
const LISTEN_COMMENT: &str = "  # This machine's address in the mesh,";
const DATABASE: &str = "  database: sqlite:/var/lib/fleetgate/ledger.db\n";
const MASTER_KEY: &str = "LITELLM_MASTER_KEY=";
/// Where a system's service expects its configuration.
const SYSTEM: &str = "/etc/fleetgate";
/// The account of the system's service, which has to read the configuration.
const GROUP: &str = "fleetgate";

/// Writes what is missing in a folder, and says what was done and what comes next.
///
/// # Errors
/// When a file cannot be written, or one that was there cannot be loaded.
pub(super) fn run(folder: Option<&Path>, out: &mut impl Write) -> anyhow::Result<()> {
    let is_system = folder.is_none() && rustix::process::geteuid().is_root();
    let (folder, state) = match folder {
        Some(folder) => (std::path::absolute(folder)?, None),
        None if is_system => (PathBuf::from(SYSTEM), None),
        None => {
            let Some(own) = ProjectDirs::from("dev", "fleetgate", "fleetgate") else {
                bail!("there is no home directory; name a folder with --dir");
            };
            let state = own.state_dir().unwrap_or_else(|| own.data_local_dir());
            (own.config_dir().to_owned(), Some(state.to_owned()))
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mesh = runtime.block_on(find_mesh(None, None));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    let file = folder.join("config.yaml");
    let environment = environment_file(&folder, is_system);
    // The service's own account reads the one, root alone the other.
    let group = if is_system { group_of(GROUP) } else { None };
    let mode = if group.is_some() { 0o640 } else { 0o600 };
    let database = if is_system { None } else { Some(state.unwrap_or_else(|| folder.clone())) };
    keep(&file, &config(mesh.is_ok(), database.as_deref()), mode, group, out)?;
    keep(&environment, &variables()?, 0o600, None, out)?;
    let overrides = Overrides { config: Some(file.clone()), ..Overrides::default() };
    let (loaded, _) = configuration(&overrides)?;
    report_mesh(&loaded, &mesh, out)?;
    next_steps(&file, &environment, &loaded, mesh.ok().as_ref(), out)?;
    Ok(())
}

/// A service reads `gateway.env` as root before it starts the gateway; without one the gateway itself reads `.env` beside its
/// configuration.
fn environment_file(folder: &Path, is_system: bool) -> PathBuf {
    let service = folder.join("gateway.env");
    if is_system || cfg!(target_os = "macos") || service.exists() { service } else { folder.join(".env") }
}

/// The example, listening in the mesh if there is one.
fn config(in_mesh: bool, state: Option<&Path>) -> String {
    let mut text = CONFIG.to_owned();
    if in_mesh {
        let listen = "  # This machine's address in the mesh, wherever that is, and 127.0.0.1:4100 for its own programs.\n  listen: mesh\n";
        text = text.replacen(LISTEN, listen, 1);
        text = text.lines().filter(|line| !is_old_comment(line)).map(|line| format!("{line}\n")).collect();
    }
    match state {
        Some(state) => {
            let path = serde_json::Value::from(format!("sqlite:{}", state.join("ledger.db").display()));
            text.replacen(DATABASE, &format!("  database: {path}\n"), 1)
        }
        None => text,
    }
}

fn is_old_comment(line: &str) -> bool {
    line.starts_with(LISTEN_COMMENT) && !line.contains("wherever that is")
}

/// The example with a key that nobody else has.
fn variables() -> anyhow::Result<String> {
    let mut random = [0_u8; 24];
    getrandom::fill(&mut random).context("the operating system gives no randomness")?;
    let key: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(ENVIRONMENT.replacen(&format!("{MASTER_KEY}\n"), &format!("{MASTER_KEY}sk-{key}\n"), 1))
}

/// Writes a file that is not there yet.
fn keep(path: &Path, text: &str, mode: u32, group: Option<u32>, out: &mut impl Write) -> anyhow::Result<()> {
    // Nobody may read it before its owner is right.
    let made = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path);
    let written = made.and_then(|mut file: File| {
        fchown(&file, None, group)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    match written {
        Ok(()) => writeln!(out, "wrote {} (mode {mode:04o})", path.display())?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            writeln!(out, "kept  {} as it is", path.display())?;
        }
        Err(error) => bail!("cannot write {}: {error}; run this as root, or name a folder with --dir", path.display()),
    }
    Ok(())
}

/// A group's number, from the system's own list.
fn group_of(name: &str) -> Option<u32> {
    let groups = fs::read_to_string("/etc/group").ok()?;
    let mut lines = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines.find(|fields| fields.first() == Some(&name)).and_then(|fields| fields.get(2)?.parse().ok())
}

fn report_mesh(config: &Config, mesh: &Result<MeshPlace, NoMesh>, out: &mut impl Write) -> io::Result<()> {
    let fixed: Vec<_> = config.listen.iter().map(SocketAddr::to_string).collect();
    let fixed = fixed.join(", ");
    match (mesh, &config.mesh_door) {
        (Ok(place), Some(door)) => {
            let places: Vec<_> = place.addresses.iter().map(|ip| SocketAddr::new(*ip, door.port).to_string()).collect();
            writeln!(out, "mesh  {}: the gateway listens at {}, and at {fixed}", place.interface, places.join(", "))
        }
        (Err(missing), Some(door)) => {
            let seconds = door.wait.as_secs();
            writeln!(
                out,
                "mesh  {missing}\n      The gateway waits for it at its start, up to {seconds} s, and then listens at {fixed} too"
            )
        }
        (Ok(place), None) => writeln!(
            out,
            "mesh  {} has {}, and the gateway listens at {fixed}; 'listen: mesh' in fleetgate: serves the mesh",
            place.interface, place.addresses[0]
        ),
        (Err(missing), None) => writeln!(
            out,
            "mesh  {missing}\n      The gateway listens at {fixed} alone; once the mesh is up, set 'listen: mesh' in fleetgate:"
        ),
    }
}

/// The commands that follow, with the real places in them.
fn next_steps(
    file: &Path,
    environment: &Path,
    config: &Config,
    mesh: Option<&MeshPlace>,
    out: &mut impl Write,
) -> io::Result<()> {
    let here = config.listen.iter().find(|address| address.ip().is_loopback()).copied();
    let there = mesh.zip(config.mesh_door.as_ref()).map(|(place, door)| SocketAddr::new(place.addresses[0], door.port));
    let url = |address: Option<SocketAddr>| {
        address.map_or_else(|| "http://GATEWAY:4000".to_owned(), |address| format!("http://{address}"))
    };
    let (file, secrets) = (file.display(), environment.display());
    let is_service = environment.ends_with("gateway.env") && Path::new("/run/systemd/system").exists();
    writeln!(out, "\nNext:")?;
    writeln!(out, "  1. Providers' keys into {secrets}, models into {file}. A model 'mock' answers without any.")?;
    writeln!(out, "       fleetgate-gateway config check --config {file}")?;
    writeln!(out, "  2. Start it:")?;
    if is_service {
        writeln!(out, "       systemctl enable --now fleetgate-gateway")?;
    } else if environment.ends_with(".env") {
        writeln!(out, "       fleetgate-gateway serve --config {file}")?;
    } else {
        writeln!(out, "       (set -a; . '{secrets}'; exec fleetgate-gateway serve --config '{file}')")?;
    }
    writeln!(out, "  3. Invite a machine; the token is shown once:")?;
    writeln!(out, "       export FLEETGATE_ADMIN_KEY=$(sed -n 's/^{MASTER_KEY}//p' '{secrets}')")?;
    writeln!(out, "       fleetgate keys invite --gateway {}", url(here.or(there)))?;
    writeln!(out, "  4. On that machine:")?;
    writeln!(out, "       fleetgate enroll {} --token -", url(there.or(here)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_takes_what_is_known_by_now() {
        let plain = config(false, None);
        assert_eq!(plain, CONFIG);
        let mesh = config(true, Some(Path::new("/home/a b/state")));
        assert!(mesh.contains("\n  listen: mesh\n") && !mesh.contains(LISTEN), "{mesh}");
        assert!(mesh.contains("\n  database: \"sqlite:/home/a b/state/ledger.db\"\n"), "{mesh}");
        assert_eq!(mesh.lines().filter(|line| line.starts_with(LISTEN_COMMENT)).count(), 1, "{mesh}");
        assert_eq!(mesh.lines().count(), CONFIG.lines().count());
    }

    #[test]
    fn each_set_up_has_a_key_of_its_own() {
        let (one, other) = (variables().unwrap(), variables().unwrap());
        let key = |text: &str| text.lines().find_map(|line| line.strip_prefix(MASTER_KEY)).unwrap().to_owned();
        assert!(key(&one).starts_with("sk-") && key(&one).len() == 51);
        assert_ne!(key(&one), key(&other));
        assert_eq!(one.lines().count(), ENVIRONMENT.lines().count());
    }
}
