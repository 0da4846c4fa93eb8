//! `fleetgate shell`

use std::fmt::Write;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::print;
use crate::VERSION;
use crate::shell::{
    self, Action, Checked, CopyProblem, CopyState, Done, Home, Interpreter, NoPlace, Outcome, Place, Shell,
    UnknownShell, Work,
};

#[derive(Debug, Args)]
pub(super) struct ShellArgs {
    #[command(subcommand)]
    command: ShellCommand,
}

#[derive(Debug, Subcommand)]
enum ShellCommand {
    /// Put the block into the files that your shells read
    Install(InstallArgs),
    /// Take the block out again
    Uninstall(InstallArgs),
    /// Say where the block is, and whether it is as it should be
    Status(StatusArgs),
    /// Show what install would change, as a unified diff
    Diff(PlaceArgs),
    /// Try each block of these files alone, in the shells that read it
    Check(CheckArgs),
}

/// Which files.
#[derive(Debug, Args)]
struct PlaceArgs {
    /// bash, zsh, fish or sh; several with commas. Without it: those that you use
    #[arg(long, value_name = "SHELL", value_delimiter = ',')]
    shell: Vec<Shell>,
    /// This file instead of the one that the shell reads
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct InstallArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
struct StatusArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// As one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// Files with a block
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// bash, zsh, fish, sh, dash, busybox, ksh or mksh; several with commas. Without it: those that read a file of that name
    #[arg(long, value_name = "SHELL", value_delimiter = ',', value_parser = Interpreter::named)]
    shell: Vec<Interpreter>,
}

/// Why `fleetgate shell` failed.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// No file to edit.
    #[error(transparent)]
    NoPlace(#[from] NoPlace),
    /// The synced files.
    #[error(transparent)]
    Copies(#[from] CopyProblem),
    /// Some of the files were left alone, and it was said why.
    #[error("shell: see above for what was left alone")]
    LeftAlone,
    /// `status` or `check` found something, and has told it.
    #[error("shell: see above for what is not in order")]
    NotInOrder,
    /// `diff` found a difference.
    #[error("shell: this is not what `fleetgate shell install` writes")]
    Differs,
    /// A file could not be looked at.
    #[error("shell: see above for what could not be read")]
    Unreadable,
    /// A shell's name.
    #[error(transparent)]
    Shell(#[from] UnknownShell),
    /// The current directory, standard output.
    #[error(transparent)]
    System(#[from] io::Error),
}

impl ShellError {
    /// Whether nothing could be said, as with a wrong flag.
    pub(super) fn is_trouble(&self) -> bool {
        !matches!(self, Self::LeftAlone | Self::NotInOrder | Self::Differs | Self::Copies(_))
    }
}

/// Starts no runtime: this is about files, and quick.
pub(super) fn run(args: &ShellArgs) -> Result<(), ShellError> {
    match &args.command {
        ShellCommand::Install(args) => install(args),
        ShellCommand::Uninstall(args) => uninstall(args),
        ShellCommand::Status(args) => status(args),
        ShellCommand::Diff(args) => diff(args),
        ShellCommand::Check(args) => check(args),
    }
}

impl PlaceArgs {
    /// `None`: nobody said.
    fn named(&self, home: &Home) -> Result<Option<Vec<Place>>, ShellError> {
        if let Some(file) = &self.file {
            let file = std::path::absolute(file)?;
            let shell = self.shell.first().copied().unwrap_or_else(|| shell::shell_of(&file));
            return Ok(Some(vec![Place::named(shell, file)]));
        }
        if self.shell.is_empty() {
            return Ok(None);
        }
        Ok(Some(places_of(home, &self.shell)?))
    }

    fn named_or_used(&self, home: &Home) -> Result<Vec<Place>, ShellError> {
        match self.named(home)? {
            Some(places) => Ok(places),
            None => Ok(places_of(home, &home.shells()?)?),
        }
    }
}

fn places_of(home: &Home, shells: &[Shell]) -> Result<Vec<Place>, NoPlace> {
    let places: Result<Vec<_>, _> = shells.iter().map(|shell| home.places(*shell)).collect();
    Ok(places?.concat())
}

fn install(args: &InstallArgs) -> Result<(), ShellError> {
    let home = Home::of_this_process()?;
    let places = args.place.named_or_used(&home)?;
    let work = Work::new(home.clone(), args.dry_run);
    let (are_renewed, outcomes) = work.install(places)?;
    let mut text = String::new();
    if are_renewed {
        let verb = if args.dry_run { "would be written" } else { "written" };
        // Writing into a string cannot fail.
        let _ = writeln!(
            text,
            "{}: fleetgate.sh, fleetgate.fish and modes.toml {verb}",
            home.short(work.copies().directory())
        );
    }
    print(&text)?;
    tell(&home, &work, &outcomes, args.dry_run)
}

fn uninstall(args: &InstallArgs) -> Result<(), ShellError> {
    let home = Home::of_this_process()?;
    let work = Work::new(home.clone(), args.dry_run);
    let places = match args.place.named(&home)? {
        Some(places) => places,
        None => work.places_with_blocks(),
    };
    if places.is_empty() {
        print("no file here holds a block\n")?;
    }
    let outcomes = work.uninstall(places)?;
    tell(&home, &work, &outcomes, args.dry_run)
}

/// One line a file; of a refusal or a dry run also the difference.
fn tell(home: &Home, work: &Work, outcomes: &[Outcome], is_dry: bool) -> Result<(), ShellError> {
    let mut is_whole = true;
    for outcome in outcomes {
        match outcome {
            Ok(done) => {
                let is_refused = done.action == Action::Refused;
                is_whole &= !is_refused;
                print(&format!("{}: {}\n", home.short(&done.place.file), words(done, is_dry)))?;
                if is_refused || is_dry {
                    write_out(&done.difference)?;
                }
                let backup = work.copies().backup_path(&done.place.file);
                if matches!(done.action, Action::Added | Action::Renewed) && !is_dry && backup.exists() {
                    print(&format!("  the file as it was: {}\n", home.short(&backup)))?;
                }
            }
            Err((_, problem)) => {
                is_whole = false;
                print(&format!("{problem}\n"))?;
            }
        }
    }
    if is_whole { Ok(()) } else { Err(ShellError::LeftAlone) }
}

fn words(done: &Done, is_dry: bool) -> String {
    let would = |words: &str| if is_dry { format!("would be changed: {words}") } else { words.to_owned() };
    match done.action {
        Action::Added => would("block added; a new shell has the launchers"),
        Action::Renewed => would("block renewed"),
        Action::TakenOut => would("block taken out"),
        Action::FileRemoved => would("file removed, it held nothing but the block"),
        Action::None if done.standing == shell::Standing::Absent => "no block there".to_owned(),
        Action::None => "as it should be".to_owned(),
        Action::Refused => refusal(done),
    }
}

fn refusal(done: &Done) -> String {
    use shell::Standing;
    let line = done.line.unwrap_or_default();
    let why = match done.standing {
        Standing::Edited => "was edited; put your own lines outside of it, and delete the block or undo the edit",
        Standing::Handwritten => "was written by hand; delete it with its two marker lines",
        Standing::Half => "is one marker without the other; delete it, and what is left of the block",
        Standing::Doubled { .. } => "is not the only one; delete all but one",
        Standing::Newer { .. } => "is of a newer version; use the newer fleetgate",
        Standing::Absent | Standing::Current | Standing::Outdated => "stays",
    };
    let all = if let Standing::Doubled { count } = done.standing { format!("{count} blocks; ") } else { String::new() };
    format!("left as it is: {all}the block at line {line} {why}")
}

fn status(args: &StatusArgs) -> Result<(), ShellError> {
    let home = Home::of_this_process()?;
    let work = Work::new(home.clone(), true);
    let mut places = match args.place.named(&home)? {
        Some(places) => places,
        None => home.shells().and_then(|shells| places_of(&home, &shells)).unwrap_or_default(),
    };
    if args.place.file.is_none() && args.place.shell.is_empty() {
        let known: Vec<PathBuf> = places.iter().map(|place| place.file.clone()).collect();
        places.extend(work.places_with_blocks().into_iter().filter(|place| !known.contains(&place.file)));
    }
    let outcomes = work.look(places);
    let copies = work.copies().state();
    let has_block = outcomes.iter().any(|one| one.as_ref().is_ok_and(|done| done.standing != shell::Standing::Absent));
    let is_file_wrong = outcomes.iter().any(|one| match one {
        Ok(done) => done.standing.is_refused() || done.standing == shell::Standing::Outdated,
        Err(_) => true,
    });
    let copies_path = work.copies().directory();
    let text = match args.json {
        true => format!("{}\n", status_json(&outcomes, copies, copies_path)),
        false => status_text(&home, &outcomes, copies, copies_path),
    };
    print(&text)?;
    let is_wrong = is_file_wrong || has_block && copies != CopyState::Current;
    if is_wrong { Err(ShellError::NotInOrder) } else { Ok(()) }
}

fn status_text(home: &Home, outcomes: &[Outcome], copies: CopyState, directory: &Path) -> String {
    let mut text = String::new();
    let about = match copies {
        CopyState::Missing => "not there",
        CopyState::Current => "as this program would write them",
        CopyState::Different => "of another version, or edited: `fleetgate shell install` writes them anew",
    };
    // Writing into a string cannot fail.
    let _ = writeln!(text, "{}: {about}", home.short(directory));
    for outcome in outcomes {
        let _ = match outcome {
            Ok(done) => {
                let line = done.line.map(|line| format!(", line {line}")).unwrap_or_default();
                writeln!(text, "{}: {}, {}{line}", home.short(&done.place.file), done.place.shell, done.standing.word())
            }
            Err((_, problem)) => writeln!(text, "{problem}"),
        };
    }
    text
}

fn status_json(outcomes: &[Outcome], copies: CopyState, directory: &Path) -> Value {
    let files: Vec<Value> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Ok(done) => json!({"shell": done.place.shell.name(), "file": done.place.file.to_string_lossy(),
                               "state": done.standing.word(), "line": done.line}),
            Err((place, problem)) => json!({"shell": place.shell.name(), "file": place.file.to_string_lossy(),
                                            "state": "unreadable", "problem": problem.to_string()}),
        })
        .collect();
    json!({"version": VERSION, "block_version": shell::VERSION, "files": files,
           "copies": {"directory": directory.to_string_lossy(), "state": copies.word()}})
}

fn diff(args: &PlaceArgs) -> Result<(), ShellError> {
    let home = Home::of_this_process()?;
    let places = args.named_or_used(&home)?;
    let (_, outcomes) = Work::new(home, true).install(places)?;
    let mut result = Ok(());
    for outcome in outcomes {
        match outcome {
            Ok(done) if done.difference.is_empty() => {}
            Ok(done) => {
                write_out(&done.difference)?;
                result = result.and(Err(ShellError::Differs));
            }
            Err((_, problem)) => {
                eprintln!("{problem}");
                result = Err(ShellError::Unreadable);
            }
        }
    }
    result
}

fn check(args: &CheckArgs) -> Result<(), ShellError> {
    let interpreters = (!args.shell.is_empty()).then_some(args.shell.as_slice());
    let mut result = Ok(());
    for file in &args.files {
        match shell::check(file, interpreters) {
            Ok(checked) => {
                print(&check_text(&checked))?;
                if checked.has_fault() {
                    result = result.and(Err(ShellError::NotInOrder));
                }
            }
            Err(problem) => {
                eprintln!("{problem}");
                result = Err(ShellError::Unreadable);
            }
        }
    }
    result
}

fn check_text(checked: &Checked) -> String {
    let file = checked.file.display();
    if checked.blocks.is_empty() {
        return format!("{file}: no block, nothing to check\n");
    }
    let mut text = String::new();
    for block in &checked.blocks {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{file}: block at line {}, {}", block.line, block.what);
        for (interpreter, verdict) in &block.verdicts {
            let _ = match verdict {
                None => writeln!(text, "  {}: skipped, it is not installed here", interpreter.name),
                Some(Ok(())) => writeln!(text, "  {}: fine", interpreter.name),
                Some(Err(fault)) => writeln!(text, "  {}: {fault}", interpreter.name),
            };
        }
    }
    if checked.blocks.len() > 1 {
        let _ = writeln!(text, "{file}: {} blocks; one is enough", checked.blocks.len());
    }
    text
}

/// A person's bytes may be anything.
fn write_out(bytes: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
