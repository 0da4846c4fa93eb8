//! `fleetgate key set|show|forget|rotate`: this machine's own keys.

use std::io::{self, BufRead, IsTerminal, Read};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use fleetgate_wire::virtual_key::VirtualKey;
use fleetgate_wire::workload::Workload;
use fleetgate_wire::{ExposeSecret, SecretString};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde_json::{Value, json};

use super::whoami::HostArgs;
use super::{CliError, gateway_or_enrolled, print};
use crate::admin::{Admin, AdminError};
use crate::forward::GatewayUrl;
use crate::identity;
use crate::keystore::{Enrolment, HostKeys, KeySlot, Matched, Place};
use crate::places;

/// Longer than any key.
const MAX_INPUT: u64 = 4096;
/// So many digits of a key's SHA-256 name it, as the gateway's messages do.
const PREFIX: usize = 8;

#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Store a key, read from standard input or typed unseen
    Set(SetArgs),
    /// Say where this machine's keys lie and whether the gateway accepts them; never the keys
    Show(ShowArgs),
    /// Remove a key from this machine; the gateway still knows it
    Forget(OneArgs),
    /// Replace a key by a new one with the same settings, while calls go on
    Rotate(RotateArgs),
}

#[derive(Debug, Args)]
struct OneArgs {
    /// The key of this workload, instead of the host's
    #[arg(long, value_name = "NAME", value_parser = Workload::parse)]
    workload: Option<Workload>,
    #[command(flatten)]
    host: HostArgs,
}

#[derive(Debug, Args)]
struct SetArgs {
    #[command(flatten)]
    one: OneArgs,
    /// Where it goes: keyring, file, or the path of a file (default: where it is, else the keyring where it works, else a file)
    #[arg(long, value_name = "PLACE")]
    store: Option<String>,
}

#[derive(Debug, Args)]
struct ShowArgs {
    #[command(flatten)]
    host: HostArgs,
    /// The gateway: http://host:port
    #[arg(long, env = "FLEETGATE_GATEWAY", value_name = "URL", value_delimiter = ',')]
    gateway: Vec<GatewayUrl>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct RotateArgs {
    #[command(flatten)]
    one: OneArgs,
    /// The gateway: http://host:port
    #[arg(long, env = "FLEETGATE_GATEWAY", value_name = "URL", value_delimiter = ',')]
    gateway: Vec<GatewayUrl>,
    /// How long the old key stays good, for whoever still uses it
    #[arg(long, value_name = "TIME", default_value = "10m")]
    grace: String,
}

/// This machine's keys and where its own settings lie.
struct Here {
    keys: HostKeys,
    label: fleetgate_wire::host::HostLabel,
    directory: PathBuf,
}

impl Here {
    async fn find(host: &HostArgs) -> Result<Self, CliError> {
        let directory = places::config_directory().ok_or(CliError::NoDirectory)?;
        let label = identity::find(host.label(), places::state_directory().as_deref()).await?.label;
        let keys = HostKeys::load(&host.hosts_file()?, &label).await?;
        Ok(Self { keys, label, directory })
    }

    /// The key that is used now. The fallback is not this machine's.
    fn slot(&self, workload: Option<&Workload>) -> Option<&KeySlot> {
        self.keys.slot_of(workload).filter(|_| workload.is_some() || self.keys.matched != Matched::Fallback)
    }

    fn required(&self, workload: Option<&Workload>) -> Result<&KeySlot, CliError> {
        match (self.slot(workload), workload) {
            (Some(slot), _) => Ok(slot),
            (None, Some(workload)) => Err(CliError::NoWorkloadKey(workload.clone())),
            (None, None) => Err(self.keys.credential(None).err().map_or(CliError::NoDirectory, CliError::NoKey)),
        }
    }

    /// Writes down where a key lies, or that there is none. Sidecars that run read their keys again, whatever changed.
    fn note(&self, workload: Option<&Workload>, place: Option<&Place>) -> Result<(), CliError> {
        let mut enrolment = Enrolment::read(&self.directory)?;
        let reference = place.map(Place::reference);
        match (workload, reference) {
            (None, reference) => enrolment.key = reference,
            (Some(workload), Some(reference)) => drop(enrolment.workloads.insert(workload.clone(), reference)),
            (Some(workload), None) => drop(enrolment.workloads.remove(workload)),
        }
        self.save(&enrolment)
    }

    fn save(&self, enrolment: &Enrolment) -> Result<(), CliError> {
        let path = Enrolment::path(&self.directory);
        let failed = |source| CliError::KeyFile { path: path.display().to_string(), source };
        std::fs::create_dir_all(&self.directory).and_then(|()| enrolment.write(&self.directory)).map_err(failed)
    }

    /// Whether `hosts.toml` says where this key lies.
    fn is_named(&self, slot: &KeySlot, workload: Option<&Workload>) -> Result<bool, CliError> {
        let enrolment = Enrolment::read(&self.directory)?;
        let own = workload.map_or(enrolment.key.as_ref(), |workload| enrolment.workloads.get(workload));
        Ok(matches!(self.keys.matched, Matched::Entry { .. }) && own != Some(&slot.reference))
    }
}

pub(super) async fn run(args: KeyArgs) -> Result<(), CliError> {
    match args.command {
        KeyCommand::Set(args) => set(args).await,
        KeyCommand::Show(args) => show(args).await,
        KeyCommand::Forget(args) => forget(args).await,
        KeyCommand::Rotate(args) => rotate(args).await,
    }
}

async fn set(args: SetArgs) -> Result<(), CliError> {
    let here = Here::find(&args.one.host).await?;
    let workload = args.one.workload.as_ref();
    let used = here.slot(workload);
    let named = used.map(|slot| here.is_named(slot, workload)).transpose()?.unwrap_or(false);
    let place = match (args.store.as_deref(), used) {
        // What hosts.toml says counts: a key elsewhere would not be used.
        (None, Some(slot)) => slot.place()?,
        (_, Some(slot)) if named => slot.place()?,
        (None, None) => Place::best(&here.directory, &here.label, workload).await,
        (Some("keyring"), _) => Place::in_keyring(&here.label, workload),
        (Some("file"), _) => Place::in_directory(&here.directory, workload),
        (Some(path), _) => Place::File(std::path::absolute(path)?),
    };
    place.prepare().await?;
    let key = VirtualKey::parse(type_key()?.expose_secret())?;
    place.write(&key).await?;
    if named {
        here.save(&Enrolment::read(&here.directory)?)?;
    } else {
        here.note(workload, Some(&place))?;
    }
    Ok(print(&format!("key {} is stored in {}; see: fleetgate key show\n", short(&key), place.reference()))?)
}

/// A line of standard input; on a terminal it is not shown.
fn type_key() -> Result<SecretString, CliError> {
    let stdin = io::stdin().lock();
    let mut text = String::new();
    if !stdin.is_terminal() {
        stdin.take(MAX_INPUT).read_to_string(&mut text)?;
        return Ok(SecretString::from(text));
    }
    eprint!("key: ");
    let before = tcgetattr(&stdin).map_err(io::Error::from)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &silent).map_err(io::Error::from)?;
    let mut limited = stdin.take(MAX_INPUT);
    let read = limited.read_line(&mut text);
    let restored = tcsetattr(limited.get_ref(), OptionalActions::Now, &before);
    eprintln!();
    read?;
    restored.map_err(io::Error::from)?;
    Ok(SecretString::from(text))
}

async fn show(args: ShowArgs) -> Result<(), CliError> {
    let here = Here::find(&args.host).await?;
    let gateway = gateway_or_enrolled(args.gateway).ok();
    let mut lines = String::new();
    let host = here.keys.slot.iter().map(|slot| (None, slot));
    for (workload, slot) in host.chain(here.keys.workloads.iter().map(|(name, slot)| (Some(name), slot))) {
        let line = describe(workload, slot, gateway.as_ref(), here.keys.is_fallback()).await;
        lines.push_str(&if args.json { format!("{line}\n") } else { for_people(&line) });
    }
    if here.keys.slot.is_none() {
        print(&lines)?;
        here.keys.credential(None)?;
    }
    Ok(print(&lines)?)
}

async fn describe(workload: Option<&Workload>, slot: &KeySlot, gateway: Option<&GatewayUrl>, fallback: bool) -> Value {
    let mut line = json!({
        "workload": workload, "place": slot.reference.to_string(), "fallback": fallback && workload.is_none(),
    });
    let key = match slot.read().await {
        Ok(key) => key,
        Err(problem) => {
            line["state"] = "missing".into();
            line["problem"] = problem.to_string().into();
            return line;
        }
    };
    line["hash"] = short(&key).into();
    let Some(gateway) = gateway else {
        line["state"] = "stored".into();
        return line;
    };
    match Admin::of_key(gateway.clone(), &key).own_key().await {
        Ok(info) => {
            line["alias"] = info.key_alias.or(info.key_name).into();
            line["state"] = info.status.unwrap_or_else(|| "active".to_owned()).into();
        }
        Err(AdminError::Refused { message, .. }) => {
            line["state"] = "refused".into();
            line["problem"] = message.into();
        }
        Err(problem) => {
            line["state"] = "stored".into();
            line["problem"] = problem.to_string().into();
        }
    }
    line
}

fn for_people(line: &Value) -> String {
    let text = |name: &str| line[name].as_str().unwrap_or("-");
    let whose = line["workload"].as_str().map_or_else(|| "host".to_owned(), |name| format!("workload {name}"));
    let fallback = if line["fallback"] == true { " (the FALLBACK key)" } else { "" };
    let problem = line["problem"].as_str().map_or_else(String::new, |problem| format!("\n  {problem}"));
    format!("{whose}: {}{fallback}, {}, {}, {}{problem}\n", text("place"), text("alias"), text("hash"), text("state"))
}

async fn forget(args: OneArgs) -> Result<(), CliError> {
    let here = Here::find(&args.host).await?;
    let workload = args.workload.as_ref();
    let place = here.required(workload)?.place()?;
    let gone = place.forget().await?;
    here.note(workload, None)?;
    let what = if gone { "is removed" } else { "held no key" };
    Ok(print(&format!(
        "{} {what}; the gateway still knows the key until an administrator deletes it\n",
        place.reference()
    ))?)
}

async fn rotate(args: RotateArgs) -> Result<(), CliError> {
    let here = Here::find(&args.one.host).await?;
    let gateway = gateway_or_enrolled(args.gateway)?;
    let slot = here.required(args.one.workload.as_ref())?;
    let place = slot.place()?;
    let old = slot.read().await?;
    place.prepare().await?;
    let minted = Admin::of_key(gateway.clone(), &old).rotate_own_key().await?;
    let own = Admin::of_key(gateway, &minted.key);
    if let Err(why) = place.write(&minted.key).await {
        // Only what surely did not arrive may be given back.
        let kept = !why.is_open() && place.read().await.is_ok_and(|key| key.hash() == old.hash());
        let after = match kept {
            true if own.discard_own_key().await.is_ok() => "it is given back, and the old one stays in use",
            _ => "the old one stays good; run this again",
        };
        return Err(CliError::NotStored { why: why.to_string(), after: after.to_owned() });
    }
    // Touched, so that a sidecar that runs looks at its keys also where no file shows that one changed.
    here.save(&Enrolment::read(&here.directory)?)?;
    let confirmed = own.confirm_own_key(&args.grace).await.map_err(|why| CliError::Unconfirmed { why })?;
    let alias = confirmed.key_alias.unwrap_or_default();
    let end = confirmed.old_key_ends_at.map_or_else(|| "is deleted".to_owned(), |end| format!("is good until {end}"));
    Ok(print(&format!(
        "key \"{alias}\" is now {} in {}; the old one, {}, {end}\n",
        short(&minted.key),
        place.reference(),
        short(&old),
    ))?)
}

fn short(key: &VirtualKey) -> String {
    key.hash().to_string().chars().take(PREFIX).collect()
}
