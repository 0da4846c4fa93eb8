//! Shell completions and man pages, made from the definition of a program's command line: they cannot say anything else than it does.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Command};
pub use clap_complete::Shell;

/// What `PROGRAM completions` takes.
#[derive(Debug, Clone, Copy, Args)]
pub struct CompletionsArgs {
    /// The shell that shall read them
    shell: Shell,
}

/// What `PROGRAM man` takes.
#[derive(Debug, Clone, Args)]
pub struct ManArgs {
    /// Write one page for the program and one for each subcommand into this directory, which is made if it is not there
    #[arg(long, value_name = "DIR")]
    directory: PathBuf,
}

/// Prints a program's completions. Whoever closed the output early (`| head`) has seen enough.
///
/// # Errors
/// When the output takes nothing.
pub fn print_completions(program: &Command, args: CompletionsArgs, out: &mut impl Write) -> io::Result<()> {
    let mut program = without_hidden(program);
    let name = program.get_name().to_owned();
    let hyphenated = name.clone();
    // Made in memory: the generator panics where it cannot write.
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut program, name, &mut text);
    if args.shell == Shell::Bash {
        // The generator names the branches of a program with a hyphen in two ways, so that its subcommands would complete nothing.
        let written = String::from_utf8_lossy(&text);
        text = written.replace(&hyphenated.replace('-', "__subcmd__"), &hyphenated.replace('-', "__")).into_bytes();
    }
    match out.write_all(&text).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// The same command line without what is hidden in it: the generators for zsh and fish would offer that too. What is left out here of
/// the program itself stands in no completion.
fn without_hidden(program: &Command) -> Command {
    // For as long as the program runs, and it ends after this.
    let lasting = |text: &str| -> &'static str { Box::leak(text.into()) };
    let shown = Command::new(lasting(program.get_name()))
        .args(program.get_arguments().cloned())
        .subcommands(program.get_subcommands().filter(|command| !command.is_hide_set()).cloned());
    match program.get_version() {
        Some(version) => shown.version(lasting(version)),
        None => shown,
    }
}

/// Writes a program's man pages: `PROGRAM.1`, `PROGRAM-SUBCOMMAND.1` and so on. Hidden subcommands have none.
///
/// # Errors
/// Names the directory or the file that cannot be written.
pub fn write_pages(program: Command, args: &ManArgs) -> io::Result<()> {
    let directory = &args.directory;
    fs::create_dir_all(directory).map_err(|error| at(directory, &error))?;
    let mut program = program.disable_help_subcommand(true);
    program.build();
    let source = format!("Fleetgate {}", program.get_version().unwrap_or_default());
    write_page(program, &source, directory)
}

fn write_page(command: Command, source: &str, directory: &Path) -> io::Result<()> {
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        write_page(subcommand.clone(), source, directory)?;
    }
    let page = clap_mangen::Man::new(command);
    let name = page.get_filename();
    let mut text = Vec::new();
    page.render(&mut text)?;
    let path = directory.join(&name);
    fs::write(&path, with_heading(&text, &name, source)).map_err(|error| at(&path, &error))
}

/// The generator leaves the empty date out, and readers take what follows for it. There is none: the same source makes the same page.
fn with_heading(page: &[u8], name: &str, source: &str) -> String {
    let title = name.trim_end_matches(".1").to_uppercase();
    let heading = format!(r#".TH "{title}" "1" "" "{source}" "Fleetgate""#);
    let lines = String::from_utf8_lossy(page);
    lines.lines().map(|line| if line.starts_with(".TH ") { &heading } else { line }).fold(
        String::new(),
        |mut all, line| {
            all.push_str(line);
            all.push('\n');
            all
        },
    )
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
