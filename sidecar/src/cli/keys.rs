//! `fleetgate keys create|list|invite|invites|uninvite`

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use fleetgate_wire::ExposeSecret;
use fleetgate_wire::host::HostLabel;
use fleetgate_wire::virtual_key::VirtualKey;
use serde::Deserialize;

use super::table::Table;
use super::{AdminArgs, CliError, invites, print};
use crate::admin::{KeyInfo, NewKey};

#[derive(Debug, Args)]
pub(super) struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Mint a key; it is shown once, or written to a file
    Create(CreateArgs),
    /// List all keys
    List(ListArgs),
    /// Invite machines: makes a token with which they enroll; it is shown once
    Invite(invites::InviteArgs),
    /// List invitations
    Invites(invites::InvitesArgs),
    /// Withdraw an invitation
    Uninvite(invites::UninviteArgs),
}

#[derive(Debug, Args)]
struct CreateArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// The key's name in the ledger
    #[arg(long, value_name = "NAME")]
    alias: String,
    /// The host that it belongs to
    #[arg(long, value_name = "LABEL", value_parser = HostLabel::parse)]
    host: Option<HostLabel>,
    /// The models that it may call (default: all)
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    models: Vec<String>,
    /// Write the key to this new file (mode 0600) instead of showing it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: KeysArgs) -> Result<(), CliError> {
    match args.command {
        KeysCommand::Create(args) => create(args).await,
        KeysCommand::List(args) => list(args).await,
        KeysCommand::Invite(args) => invites::invite(args).await,
        KeysCommand::Invites(args) => invites::list(args).await,
        KeysCommand::Uninvite(args) => invites::withdraw(args).await,
    }
}

async fn create(args: CreateArgs) -> Result<(), CliError> {
    let admin = args.admin.open()?;
    let new = NewKey { key_alias: args.alias, models: args.models, host: args.host };
    let Some(path) = args.out else {
        let key = admin.create_key(&new).await?;
        return Ok(print(&format!("{}\n", key.expose_secret()))?);
    };
    // The file comes first: a key that cannot be kept must not be minted.
    let failed = |source| CliError::KeyFile { path: path.display().to_string(), source };
    let draft = Draft::begin(&path).map_err(failed)?;
    let key = admin.create_key(&new).await?;
    draft.finish(&key).map_err(failed)?;
    Ok(print(&format!("key \"{}\" written to {}\n", new.key_alias, path.display()))?)
}

/// A key file that nobody sees half-written.
struct Draft<'a> {
    target: &'a Path,
    draft: PathBuf,
}

impl<'a> Draft<'a> {
    fn begin(target: &'a Path) -> io::Result<Self> {
        if target.symlink_metadata().is_ok() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "exists already and is not overwritten"));
        }
        let mut name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        name.push(format!(".{}.new", std::process::id()));
        let draft = target.with_file_name(name);
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        Ok(Self { target, draft })
    }

    /// A hard link, unlike a rename, fails when somebody else made the target meanwhile.
    fn finish(&self, key: &VirtualKey) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(&self.draft)?;
        file.write_all(format!("{}\n", key.expose_secret()).as_bytes())?;
        file.sync_all()?;
        fs::hard_link(&self.draft, self.target)
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        // Nothing can be done about a draft that cannot be removed; it is private.
        let _ = fs::remove_file(&self.draft);
    }
}

async fn list(args: ListArgs) -> Result<(), CliError> {
    let keys = args.admin.open()?.list_keys().await?;
    if args.json {
        return Ok(print(&keys.iter().map(|key| format!("{key}\n")).collect::<String>())?);
    }
    let mut table = Table::new(["alias", "key", "host", "models", "spend"]);
    for key in &keys {
        let info = KeyInfo::deserialize(key).unwrap_or_default();
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let models = if info.models.is_empty() { "all".to_owned() } else { info.models.join(",") };
        let spend = info.spend.map_or_else(|| "-".to_owned(), |dollars| format!("${dollars:.4}"));
        table.push([or_dash(info.key_alias), or_dash(info.key_name), or_dash(info.host), models, spend]);
    }
    Ok(print(&table.to_string())?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_file_is_private_from_its_first_moment_and_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("mac.key");
        let key = VirtualKey::mint().unwrap();

        let draft = Draft::begin(&target).unwrap();
        assert!(!target.exists());
        draft.finish(&key).unwrap();
        drop(draft);
        assert_eq!(fs::read_to_string(&target).unwrap().trim(), key.expose_secret());
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(Draft::begin(&target).is_err());

        let raced = directory.path().join("raced.key");
        let draft = Draft::begin(&raced).unwrap();
        fs::write(&raced, "another's").unwrap();
        assert!(draft.finish(&key).is_err());
        assert_eq!(fs::read_to_string(&raced).unwrap(), "another's");
    }
}
