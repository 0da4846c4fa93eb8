//! Installing and uninstalling the block in a person's files, and saying how they stand.

use std::fs::File;
use std::path::Path;

use super::block::Notes;
use super::copies::{Copies, CopyProblem, CopyState};
use super::dialect::Shell;
use super::difference::unified;
use super::edit::{Judged, Standing, apply};
use super::file::{FileProblem, Seen};
use super::home::{Home, Place};

/// What was done to a file, or would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It got the block.
    Added,
    /// It had one of another version.
    Renewed,
    /// The block was taken out.
    TakenOut,
    /// It held nothing but the block, and was made for it.
    FileRemoved,
    /// Nothing to do.
    None,
    /// Somebody has to look first; nothing was changed.
    Refused,
}

/// One file, and what became of it.
#[derive(Debug)]
pub struct Done {
    /// Which.
    pub place: Place,
    /// How it stood before.
    pub standing: Standing,
    /// The block's first line, from 1.
    pub line: Option<usize>,
    /// What was done.
    pub action: Action,
    /// The change as a unified diff; of a refusal, what would bring the file into order.
    pub difference: Vec<u8>,
}

/// The outcome for one file.
pub type Outcome = Result<Done, (Place, FileProblem)>;

/// A person's files with their blocks.
#[derive(Debug)]
pub struct Work {
    home: Home,
    copies: Copies,
    /// Only look.
    is_dry: bool,
    /// Two of us at once would each write what it had read. Others do not know of this lock, and are noticed before the rename.
    _lock: Option<File>,
}

impl Work {
    /// Work in this home; with `is_dry`, nothing is changed.
    #[must_use]
    pub fn new(home: Home, is_dry: bool) -> Self {
        let lock = (!is_dry).then(|| File::open(&home.directory).ok()).flatten();
        // Some network file systems know no locks.
        let lock = lock.filter(|directory| directory.lock().is_ok());
        Self { copies: Copies::new(home.copies()), home, is_dry, _lock: lock }
    }

    /// The synced files.
    #[must_use]
    pub fn copies(&self) -> &Copies {
        &self.copies
    }

    /// Puts the synced files in place, whether they changed, and the block into each of these files.
    ///
    /// # Errors
    /// When the synced files cannot be written; then no block was added.
    pub fn install(&self, places: Vec<Place>) -> Result<(bool, Vec<Outcome>), CopyProblem> {
        let are_renewed =
            if self.is_dry { self.copies.state() != CopyState::Current } else { self.copies.refresh()? };
        let mut outcomes = Vec::new();
        for place in places {
            outcomes.push(self.install_one(&place).map_err(|problem| (place, problem)));
        }
        self.tidy()?;
        Ok((are_renewed, outcomes))
    }

    fn install_one(&self, place: &Place) -> Result<Done, FileProblem> {
        let seen = look(place)?;
        let judged = Judged::new(seen.text(), place.shell);
        let new_directories = u8::try_from(seen.missing_directories.len()).unwrap_or(u8::MAX);
        let created = Notes { new_file: seen.before.is_none(), new_directories, ..Notes::default() };
        let changes = judged.put_in_order(created);
        let action = match judged.standing {
            Standing::Absent => Action::Added,
            Standing::Current => Action::None,
            Standing::Outdated => Action::Renewed,
            _ => Action::Refused,
        };
        let difference = unified(&self.home.short(&place.file), seen.text(), &changes, seen.before.is_none());
        if matches!(action, Action::Added | Action::Renewed) {
            seen.check_writable()?;
            if !self.is_dry {
                if seen.before.is_some() {
                    self.copies.back_up(&place.file, seen.text())?;
                }
                let replaced = seen.replace(&apply(seen.text(), &changes));
                if replaced.is_err() {
                    self.copies.forget(&place.file);
                }
                replaced?;
            }
        }
        if !self.is_dry && action != Action::Refused {
            self.copies.note_block(&place.file, true)?;
        }
        Ok(Done { place: place.clone(), standing: judged.standing, line: judged.line(), action, difference })
    }

    /// Takes the block out of each of these files. When none is left anywhere, the synced files go too.
    ///
    /// # Errors
    /// When the synced files cannot be removed.
    pub fn uninstall(&self, places: Vec<Place>) -> Result<Vec<Outcome>, CopyProblem> {
        let mut outcomes = Vec::new();
        for place in places {
            let outcome = self.uninstall_one(&place);
            if !self.is_dry && matches!(&outcome, Ok(done) if done.action != Action::Refused) {
                self.copies.forget(&place.file);
                if self.copies.blocks().contains(&place.file) {
                    self.copies.note_block(&place.file, false)?;
                }
            }
            outcomes.push(outcome.map_err(|problem| (place, problem)));
        }
        self.tidy()?;
        Ok(outcomes)
    }

    fn uninstall_one(&self, place: &Place) -> Result<Done, FileProblem> {
        let seen = Seen::read(&place.file)?;
        let name = self.home.short(&place.file);
        let judged = Judged::new(seen.text(), place.shell);
        let done = |action, difference| Done {
            place: place.clone(),
            standing: judged.standing,
            line: judged.line(),
            action,
            difference,
        };
        let Some((change, notes)) = judged.take_out() else {
            let (action, changes) = match judged.standing {
                Standing::Absent => (Action::None, Vec::new()),
                _ => (Action::Refused, judged.put_in_order(Notes::default())),
            };
            return Ok(done(action, unified(&name, seen.text(), &changes, false)));
        };
        seen.check_writable()?;
        let changes = [change];
        let text = apply(seen.text(), &changes);
        let action = if text.is_empty() && notes.new_file { Action::FileRemoved } else { Action::TakenOut };
        if !self.is_dry && action == Action::FileRemoved {
            seen.remove(notes.new_directories)?;
        } else if !self.is_dry {
            seen.replace(&text)?;
        }
        Ok(done(action, unified(&name, seen.text(), &changes, false)))
    }

    /// How each of these files stands.
    #[must_use]
    pub fn look(&self, places: Vec<Place>) -> Vec<Outcome> {
        let one = |place: Place| match look(&place) {
            Ok(seen) => {
                let judged = Judged::new(seen.text(), place.shell);
                let (standing, line) = (judged.standing, judged.line());
                Ok(Done { place, standing, line, action: Action::None, difference: Vec::new() })
            }
            Err(problem) => Err((place, problem)),
        };
        places.into_iter().map(one).collect()
    }

    /// Everywhere in this home where there is a block, or something that looks like one, and every file on our list that cannot be read.
    #[must_use]
    pub fn places_with_blocks(&self) -> Vec<Place> {
        let listed = self.copies.blocks();
        let mut places = self.home.all_places();
        for file in &listed {
            if places.iter().all(|place| place.file != *file) {
                places.push(Place::named(shell_of(file), file.clone()));
            }
        }
        places.retain(|place| match Seen::read(&place.file) {
            Ok(seen) => Judged::new(seen.text(), place.shell).standing != Standing::Absent,
            Err(_) => listed.contains(&place.file),
        });
        places
    }

    /// Copies that no block reads are of no use to anybody.
    fn tidy(&self) -> Result<(), CopyProblem> {
        if self.is_dry || !self.places_with_blocks().is_empty() {
            return Ok(());
        }
        self.copies.remove(&self.home.directory)
    }
}

fn look(place: &Place) -> Result<Seen, FileProblem> {
    let seen = Seen::read(&place.file)?;
    match seen.missing_directories.first() {
        Some(missing) if !place.makes_directories => Err(FileProblem::NoDirectory(missing.clone())),
        _ => Ok(seen),
    }
}

/// By the name alone.
#[must_use]
pub fn shell_of(file: &Path) -> Shell {
    let name = file.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    match name.as_str() {
        name if name.ends_with(".fish") => Shell::Fish,
        name if name.contains("zsh") || name.contains("zprofile") || name.contains("zlogin") => Shell::Zsh,
        name if name.contains("bash") => Shell::Bash,
        _ => Shell::Sh,
    }
}
