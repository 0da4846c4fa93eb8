//! Which file each shell reads, in this person's home.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::dialect::Shell;

/// A file for the block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Who reads it.
    pub shell: Shell,
    /// As a person would name it: it may be a link.
    pub file: PathBuf,
    /// fish's directory for such files is made if it is not there.
    pub(super) makes_directories: bool,
}

impl Place {
    /// The file that a person named.
    #[must_use]
    pub fn named(shell: Shell, file: PathBuf) -> Self {
        Self { shell, file, makes_directories: false }
    }
}

/// Why a shell has no file here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// Nobody's home.
    #[error("HOME is not set to a directory's absolute path; set it, or say --file FILE and XDG_DATA_HOME")]
    NoHome,
    /// As with `sudo` that keeps `HOME`: what root puts there, its owner could not change.
    #[error("{home} is the home of user {owner}, and this runs as root; run it as that user, without sudo")]
    ForeignHome {
        /// The home.
        home: PathBuf,
        /// Whose.
        owner: u32,
    },
    /// zsh reads another directory than the one that this process knows of.
    #[error("{0} mentions ZDOTDIR, which is not set here: run this from zsh, or say --shell zsh --file FILE")]
    Zdotdir(PathBuf),
    /// POSIX shells read what `ENV` names, and nothing without it.
    #[error(
        "ENV is not set, so dash, busybox sh and ksh read no file when they start. Put this into ~/.profile: ENV=$HOME/.shrc; export ENV \
         -- log in again, and repeat; or say --file FILE"
    )]
    NoEnv,
    /// It is for the shell to expand.
    #[error("ENV is \"{0}\", which a shell would expand; say --file FILE")]
    EnvExpands(String),
    /// No shell was named, and none of them left a trace.
    #[error(
        "no start-up file of bash, zsh or fish is in {0}, and SHELL names none of them; say --shell bash, zsh, fish or sh"
    )]
    NoShell(PathBuf),
}

/// A person's home and what of the environment says where its files are.
#[derive(Debug, Clone)]
pub struct Home {
    /// The home directory.
    pub directory: PathBuf,
    zdotdir: Option<PathBuf>,
    config: PathBuf,
    data: PathBuf,
    env: Option<OsString>,
    login_shell: Option<Shell>,
}

impl Home {
    /// That of whoever runs this.
    ///
    /// # Errors
    /// Without `HOME`, and for root in somebody else's.
    pub fn of_this_process() -> Result<Self, NoPlace> {
        let home = Self::from_variables(|name| env::var_os(name))?;
        match fs::metadata(&home.directory).map(|metadata| metadata.uid()) {
            Ok(owner) if owner != 0 && rustix::process::geteuid().is_root() => {
                Err(NoPlace::ForeignHome { home: home.directory, owner })
            }
            _ => Ok(home),
        }
    }

    fn from_variables(get: impl Fn(&str) -> Option<OsString>) -> Result<Self, NoPlace> {
        // XDG's specification has relative paths ignored.
        let path = |name: &str| get(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let directory = path("HOME").ok_or(NoPlace::NoHome)?;
        let login_shell = path("SHELL").and_then(|path| path.file_name()?.to_str()?.parse().ok());
        Ok(Self {
            zdotdir: path("ZDOTDIR"),
            config: path("XDG_CONFIG_HOME").unwrap_or_else(|| directory.join(".config")),
            data: path("XDG_DATA_HOME").unwrap_or_else(|| directory.join(".local/share")),
            env: get("ENV").filter(|value| !value.is_empty()),
            login_shell,
            directory,
        })
    }

    /// Where the synced files are put: the place that the block's line names.
    #[must_use]
    pub fn copies(&self) -> PathBuf {
        self.data.join("fleetgate")
    }

    /// Below the home with `~`, as people know it.
    #[must_use]
    pub fn short(&self, path: &Path) -> String {
        match path.strip_prefix(&self.directory) {
            Ok(rest) => format!("~/{}", rest.display()),
            Err(_) => path.display().to_string(),
        }
    }

    /// The files that this shell reads when a person opens a terminal or logs in.
    ///
    /// # Errors
    /// When it cannot be told, or there is none.
    pub fn places(&self, shell: Shell) -> Result<Vec<Place>, NoPlace> {
        let file = |file: PathBuf| Place::named(shell, file);
        Ok(match shell {
            Shell::Bash => {
                let interactive = file(self.directory.join(".bashrc"));
                [Some(interactive), self.bash_login().map(file)].into_iter().flatten().collect()
            }
            Shell::Zsh => vec![file(self.zsh_directory()?.join(".zshrc"))],
            Shell::Fish => {
                let file = self.config.join("fish/conf.d/fleetgate.fish");
                vec![Place { shell, file, makes_directories: true }]
            }
            Shell::Sh => vec![file(self.env_file()?)],
        })
    }

    /// Everywhere a block could have been put, for taking it out: without guessing which of bash's files it was.
    pub fn all_places(&self) -> Vec<Place> {
        let bash = [".bashrc", ".bash_profile", ".bash_login", ".profile"];
        let bash = bash.map(|name| Place::named(Shell::Bash, self.directory.join(name)));
        let others =
            [Shell::Zsh, Shell::Fish, Shell::Sh].into_iter().filter_map(|shell| self.places(shell).ok()).flatten();
        let mut all: Vec<Place> = Vec::new();
        for place in bash.into_iter().chain(others) {
            if all.iter().all(|known| known.file != place.file) {
                all.push(place);
            }
        }
        all
    }

    /// The shells that this person seems to use: the login shell, and those with a start-up file.
    ///
    /// # Errors
    /// When there is no sign of any.
    pub fn shells(&self) -> Result<Vec<Shell>, NoPlace> {
        let has = |path: PathBuf| path.symlink_metadata().is_ok();
        let used: Vec<Shell> = Shell::ALL
            .into_iter()
            .filter(|shell| {
                self.login_shell == Some(*shell) && *shell != Shell::Sh
                    || match shell {
                        Shell::Bash => has(self.directory.join(".bashrc")),
                        Shell::Zsh => has(self.zdotdir.as_ref().unwrap_or(&self.directory).join(".zshrc")),
                        Shell::Fish => has(self.config.join("fish")),
                        Shell::Sh => self.env.is_some(),
                    }
            })
            .collect();
        if used.is_empty() { Err(NoPlace::NoShell(self.directory.clone())) } else { Ok(used) }
    }

    /// A login shell (`ssh`, a terminal of macOS) reads the first of these and no `.bashrc`, unless that file does. Of one that mentions
    /// `.bashrc` we believe it; a missing one is made as `.profile`, since a new `.bash_profile` would hide a `.profile` that comes later.
    fn bash_login(&self) -> Option<PathBuf> {
        let candidates = [".bash_profile", ".bash_login", ".profile"].map(|name| self.directory.join(name));
        let Some(first) = candidates.iter().find(|file| file.symlink_metadata().is_ok()) else {
            return Some(self.directory.join(".profile"));
        };
        let text = fs::metadata(first).ok().filter(fs::Metadata::is_file).and_then(|_| fs::read(first).ok());
        let reads_bashrc = text.is_some_and(|text| text.windows(6).any(|part| part == b"bashrc"));
        (!reads_bashrc).then(|| first.clone())
    }

    fn zsh_directory(&self) -> Result<PathBuf, NoPlace> {
        if let Some(directory) = &self.zdotdir {
            return Ok(directory.clone());
        }
        let first = self.directory.join(".zshenv");
        let text = fs::metadata(&first).ok().filter(fs::Metadata::is_file).and_then(|_| fs::read(&first).ok());
        let mentions = text.is_some_and(|text| text.windows(7).any(|part| part == b"ZDOTDIR"));
        if mentions { Err(NoPlace::Zdotdir(first)) } else { Ok(self.directory.clone()) }
    }

    fn env_file(&self) -> Result<PathBuf, NoPlace> {
        let value = self.env.as_ref().ok_or(NoPlace::NoEnv)?;
        let expands = || NoPlace::EnvExpands(value.display().to_string());
        let text = value.to_str().ok_or_else(expands)?;
        let below_home = ["$HOME/", "${HOME}/", "~/"].iter().find_map(|start| text.strip_prefix(start));
        let path = below_home.map_or_else(|| PathBuf::from(text), |rest| self.directory.join(rest));
        let is_plain = path.is_absolute() && !below_home.unwrap_or(text).contains(['$', '`', '~']);
        if is_plain { Ok(path) } else { Err(expands()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(directory: &Path, variables: &[(&str, &str)]) -> Home {
        let get = |name: &str| match name {
            "HOME" => Some(directory.into()),
            _ => variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into()),
        };
        Home::from_variables(get).expect("a home")
    }

    fn names(home: &Home, shell: Shell) -> Vec<String> {
        home.places(shell).expect("places").iter().map(|place| home.short(&place.file)).collect()
    }

    #[test]
    fn bash_also_gets_the_login_file_that_does_not_read_bashrc() {
        let directory = tempfile::tempdir().expect("a directory");
        let home = home(directory.path(), &[]);
        assert_eq!(names(&home, Shell::Bash), ["~/.bashrc", "~/.profile"]);
        fs::write(directory.path().join(".profile"), ". ~/.bashrc").expect("written");
        assert_eq!(names(&home, Shell::Bash), ["~/.bashrc"]);
        fs::write(directory.path().join(".bash_profile"), "export A=1").expect("written");
        assert_eq!(names(&home, Shell::Bash), ["~/.bashrc", "~/.bash_profile"], "bash reads no .profile beside it");
    }

    #[test]
    fn zsh_goes_by_zdotdir_and_does_not_guess_it() {
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(names(&home(directory.path(), &[]), Shell::Zsh), ["~/.zshrc"]);
        assert_eq!(names(&home(directory.path(), &[("ZDOTDIR", "/z")]), Shell::Zsh), ["/z/.zshrc"]);
        fs::write(directory.path().join(".zshenv"), "ZDOTDIR=~/.zsh").expect("written");
        assert!(matches!(home(directory.path(), &[]).places(Shell::Zsh), Err(NoPlace::Zdotdir(_))));
    }

    #[test]
    fn env_names_the_file_of_posix_shells() {
        let directory = Path::new("/h");
        for (value, file) in
            [("/etc/shrc", "/etc/shrc"), ("$HOME/.shrc", "~/.shrc"), ("${HOME}/a b", "~/a b"), ("~/.x", "~/.x")]
        {
            assert_eq!(names(&home(directory, &[("ENV", value)]), Shell::Sh), [file]);
        }
        for value in ["$XDG/x", "${HOME}x", "`id`", "shrc", "$HOME/$(id)"] {
            assert!(
                matches!(home(directory, &[("ENV", value)]).places(Shell::Sh), Err(NoPlace::EnvExpands(_))),
                "{value}"
            );
        }
        assert_eq!(home(directory, &[]).places(Shell::Sh), Err(NoPlace::NoEnv));
    }

    #[test]
    fn shells_are_those_with_a_trace() {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(matches!(home(directory.path(), &[("SHELL", "/bin/sh")]).shells(), Err(NoPlace::NoShell(_))));
        assert_eq!(home(directory.path(), &[("SHELL", "/usr/bin/zsh")]).shells(), Ok(vec![Shell::Zsh]));
        fs::create_dir_all(directory.path().join(".config/fish")).expect("made");
        fs::write(directory.path().join(".bashrc"), "").expect("written");
        assert_eq!(home(directory.path(), &[("ENV", "/x")]).shells(), Ok(vec![Shell::Bash, Shell::Fish, Shell::Sh]));
    }
}
