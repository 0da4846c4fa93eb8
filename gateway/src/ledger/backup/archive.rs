//! The file of a backup: a tar archive, compressed with zstd, its manifest first. Anything of it that is missing or different is
//! noticed before it is used.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use zstd::stream::{read::Decoder, write::Encoder};

use super::RestoreError;
use super::manifest::{FileSum, Manifest};

const MANIFEST: &str = "manifest.json";
/// A manifest has a line for each file; more is none.
const LARGEST_MANIFEST: u64 = 16 << 20;
/// What zstd advises for speed with a fair size.
const LEVEL: i32 = 3;

/// A file that is about to be packed: its name in the archive, and where it lies.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// Where a person finds it, if that is not a place of the ledger's.
    pub(super) origin: Option<PathBuf>,
}

impl Piece {
    /// Its size and checksum.
    pub(super) fn sum(&self) -> io::Result<FileSum> {
        let (size, sha256) = copy(&mut File::open(&self.path)?, &mut io::sink())?;
        let origin = self.origin.as_ref().map(|origin| origin.display().to_string());
        Ok(FileSum { name: self.name.clone(), size, sha256, origin })
    }
}

/// Writes a new file, readable by its owner alone, and waits until the disk has it.
pub(super) fn write(target: &Path, manifest: &Manifest, pieces: &[Piece]) -> io::Result<()> {
    let file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(target)?;
    let mut encoder = Encoder::new(file, LEVEL)?;
    encoder.include_checksum(true)?;
    let mut archive = tar::Builder::new(encoder);
    let seconds = u64::try_from(manifest.taken_at.as_second()).unwrap_or(0);
    let json = serde_json::to_vec_pretty(manifest)?;
    archive.append_data(&mut header(json.len() as u64, seconds), MANIFEST, json.as_slice())?;
    for (piece, sum) in pieces.iter().zip(&manifest.files) {
        // Exactly as long as its checksum says: were it longer by now, what follows would be shifted.
        let bytes = File::open(&piece.path)?.take(sum.size);
        archive.append_data(&mut header(sum.size, seconds), &piece.name, bytes)?;
    }
    let file = archive.into_inner()?.finish()?;
    file.sync_all()
}

fn header(size: u64, seconds: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o600);
    header.set_mtime(seconds);
    header
}

/// Reads a file to its end, and gives each piece to `place`, which says where it is to be written; `None` only checks it.
pub(super) fn read(
    file: &Path,
    mut place: impl FnMut(&Manifest, &FileSum) -> io::Result<Option<File>>,
) -> Result<Manifest, RestoreError> {
    let opened = File::open(file).map_err(|cause| RestoreError::Unreadable { path: file.to_owned(), cause })?;
    let decoder = Decoder::new(BufReader::new(opened)).map_err(|_| RestoreError::NoBackup)?;
    let mut archive = tar::Archive::new(decoder);
    let manifest = {
        let mut entries = archive.entries().map_err(|error| torn(&error))?;
        let Some(first) = entries.next() else { return Err(RestoreError::NoBackup) };
        let first = first.map_err(|error| if is_cut(&error) { torn(&error) } else { RestoreError::NoBackup })?;
        if first.path_bytes().as_ref() != MANIFEST.as_bytes() {
            return Err(RestoreError::NoBackup);
        }
        let mut json = Vec::new();
        first.take(LARGEST_MANIFEST).read_to_end(&mut json).map_err(|error| torn(&error))?;
        let manifest = Manifest::parse(&json)?;
        for sum in &manifest.files {
            let name = &sum.name;
            let Some(entry) = entries.next() else { return Err(damaged(format!("{name} is missing"))) };
            let mut entry = entry.map_err(|error| torn(&error))?;
            if entry.path_bytes().as_ref() != name.as_bytes() || !entry.header().entry_type().is_file() {
                return Err(damaged(format!("{name} is not where its manifest says")));
            }
            let to = place(&manifest, sum).map_err(|cause| RestoreError::Unwritable { name: name.clone(), cause })?;
            let (size, sha256) = match to {
                Some(mut file) => {
                    let copied = copy(&mut entry, &mut file).map_err(|error| torn(&error))?;
                    file.sync_all().map_err(|cause| RestoreError::Unwritable { name: name.clone(), cause })?;
                    copied
                }
                None => copy(&mut entry, &mut io::sink()).map_err(|error| torn(&error))?,
            };
            if size != sum.size || sha256 != sum.sha256 {
                return Err(damaged(format!("{name} is not what was backed up: its checksum is another")));
            }
        }
        if entries.next().is_some() {
            return Err(damaged("it holds files that its manifest does not know".to_owned()));
        }
        manifest
    };
    // What follows are zeros, and the checksum of the whole.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(|error| torn(&error))?;
    Ok(manifest)
}

fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<(u64, String)> {
    let mut buffer = vec![0; 256 << 10];
    let (mut size, mut digest) = (0, Sha256::new());
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        digest.update(&buffer[..read]);
        to.write_all(&buffer[..read])?;
        size += read as u64;
    }
    Ok((size, digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
}

fn is_cut(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
}

fn torn(error: &io::Error) -> RestoreError {
    if is_cut(error) { damaged("it is torn: its end is missing".to_owned()) } else { damaged(error.to_string()) }
}

fn damaged(what: String) -> RestoreError {
    RestoreError::Damaged(what)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::backup::manifest::JournalCounts;

    fn packed(folder: &Path, bytes: &[u8]) -> PathBuf {
        let path = folder.join("piece");
        fs::write(&path, bytes).unwrap();
        let pieces = [Piece { name: "a/b.journal".to_owned(), path, origin: None }];
        let journal = JournalCounts { form: 1, rows: 0, cost_nanousd: 0, open_calls: 0 };
        let sums = pieces.iter().map(|piece| piece.sum().unwrap()).collect();
        let target = folder.join("backup.tar.zst");
        write(&target, &Manifest::new(Timestamp::UNIX_EPOCH, None, journal, sums), &pieces).unwrap();
        target
    }

    fn check(file: &Path) -> Result<Manifest, RestoreError> {
        read(file, |_, _| Ok(None))
    }

    #[test]
    fn what_was_packed_comes_out_again() {
        let folder = tempfile::tempdir().unwrap();
        let target = packed(folder.path(), b"bytes");
        let out = folder.path().join("out");
        let manifest = read(&target, |_, _| File::create(&out).map(Some)).unwrap();
        assert_eq!((manifest.files[0].size, fs::read(&out).unwrap().as_slice()), (5, b"bytes".as_slice()));
        assert!(write(&target, &manifest, &[]).is_err(), "an older backup is not overwritten");
    }

    #[test]
    fn something_else_is_no_backup() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x");
        fs::write(&file, b"SQLite format 3\0").unwrap();
        assert!(matches!(check(&file), Err(RestoreError::NoBackup)));
        fs::write(&file, zstd::encode_all(b"hello".as_slice(), 1).unwrap()).unwrap();
        assert!(matches!(check(&file), Err(RestoreError::NoBackup | RestoreError::Damaged(_))));
        assert!(matches!(check(&folder.path().join("y")), Err(RestoreError::Unreadable { .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_file_that_is_cut_or_changed_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..3000), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let folder = tempfile::tempdir().unwrap();
            let target = packed(folder.path(), &bytes);
            let whole = fs::read(&target).unwrap();
            prop_assert!(check(&target).is_ok());
            let at = at.index(whole.len());
            fs::write(&target, &whole[..at]).unwrap();
            prop_assert!(check(&target).is_err(), "cut at {at} of {}", whole.len());
            let mut changed = whole;
            changed[at] ^= 1 << bit;
            fs::write(&target, &changed).unwrap();
            // Some bits of zstd's frame say nothing; then all is as it was.
            if let Ok(manifest) = check(&target) {
                let digest = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
                prop_assert_eq!(&manifest.files[0].sha256, &digest);
            }
        }
    }
}
