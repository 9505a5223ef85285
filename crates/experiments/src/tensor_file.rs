//! Named tensors in a file that is whole and checked, or an error.

mod parts;

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::Path;

use anyhow::{Context, ensure};
use candle_core::{Device, Tensor};
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{SafeTensors, View};
use sha2::{Digest, Sha256};

pub(crate) use parts::Parts;

/// Tensors by name.
pub(crate) type Tensors = BTreeMap<String, Tensor>;

/// What a file says of itself besides its tensors.
pub(crate) type Notes = BTreeMap<String, String>;

/// The one key of the file's metadata, which keeps several in any order: under it are the notes, as
/// JSON, so that the same tensors and notes are the same bytes.
const NOTES: &str = "scene-rnn";

/// Key of the checksum among the notes in a file.
const SHA256: &str = "sha256";

/// Larger heads are not this program's: the largest has a few hundred names.
const MAX_HEADER_BYTES: u64 = 16 << 20;

/// The most that a file of tensors may have.
pub(crate) const MAX_BYTES: u64 = 16 << 30;

/// Writes safetensors with `notes` as metadata, whole or not at all.
///
/// # Errors
///
/// A folder that is missing or cannot be written, a full disk; what was there before stays.
pub(crate) fn write(file: &Path, tensors: &Tensors, notes: &Notes) -> anyhow::Result<()> {
    let (head, ordered) = head_of(tensors, notes)?;
    // Tensor by tensor: a state of training is not held in memory a second time.
    Ok(whole_files::write_with(file, |out| {
        out.write_all(&head)?;
        ordered.iter().try_for_each(|tensor| out.write_all(&tensor.data()))
    })?)
}

/// The bytes of a file of [`write`].
///
/// # Errors
///
/// None that a user can cause.
pub(crate) fn bytes(tensors: &Tensors, notes: &Notes) -> anyhow::Result<Vec<u8>> {
    let (mut bytes, ordered) = head_of(tensors, notes)?;
    ordered.iter().for_each(|tensor| bytes.extend_from_slice(&tensor.data()));
    Ok(bytes)
}

/// What comes before the values, the checksum in it, and the tensors in the order of their values.
fn head_of<'t>(tensors: &'t Tensors, notes: &Notes) -> anyhow::Result<(Vec<u8>, Vec<&'t Tensor>)> {
    let mut sum = Checksum::of(notes);
    for (name, tensor) in tensors {
        sum.add(name, tensor.dims(), &tensor.data());
    }
    let mut notes = notes.clone();
    notes.insert(SHA256.to_owned(), sum.hex());
    let metadata = HashMap::from([(NOTES.to_owned(), serde_json::to_string(&notes)?)]);
    // The order of the format's own library, which writes files with another mode than the umask's.
    let mut ordered: Vec<(&String, &Tensor)> = tensors.iter().collect();
    ordered.sort_by_key(|(_, tensor)| std::cmp::Reverse(View::dtype(*tensor)));
    let mut end = 0;
    let info = |(name, tensor): &(&String, &Tensor)| {
        let start = end;
        end += View::data_len(*tensor);
        let (dtype, shape) = (View::dtype(*tensor), tensor.dims().to_vec());
        ((*name).clone(), TensorInfo { dtype, shape, data_offsets: (start, end) })
    };
    let infos = ordered.iter().map(info).collect();
    let json = serde_json::to_vec(&Metadata::new(Some(metadata), infos)?)?;
    // Values are aligned to eight bytes.
    let length = json.len().next_multiple_of(8);
    let mut head = (length as u64).to_le_bytes().to_vec();
    head.extend(json);
    head.resize(8 + length, b' ');
    Ok((head, ordered.into_iter().map(|(_, tensor)| tensor).collect()))
}

/// Reads a file of [`write`].
///
/// # Errors
///
/// A file that is missing, cut off, changed since it was written, or another program's.
pub(crate) fn read(file: &Path) -> anyhow::Result<(Tensors, Notes)> {
    let bytes = whole_files::read(file, MAX_BYTES)?;
    of_bytes(&bytes).with_context(|| file.display().to_string())
}

/// Whether a file says of itself that this program wrote it; only its head is read.
///
/// # Errors
///
/// A file that is missing or cannot be read.
pub(crate) fn is_one(file: &Path) -> anyhow::Result<bool> {
    let context = || file.display().to_string();
    let mut from = whole_files::open(file)?;
    let mut head = Vec::new();
    from.by_ref().take(size_of::<u64>() as u64).read_to_end(&mut head).with_context(context)?;
    let Ok(length) = head.as_slice().try_into().map(u64::from_le_bytes) else { return Ok(false) };
    let mut header = Vec::new();
    from.take(length.min(MAX_HEADER_BYTES)).read_to_end(&mut header).with_context(context)?;
    let header: serde_json::Value = serde_json::from_slice(&header).unwrap_or_default();
    Ok(header["__metadata__"][NOTES].is_string())
}

fn of_bytes(bytes: &[u8]) -> anyhow::Result<(Tensors, Notes)> {
    let (_, header) = SafeTensors::read_metadata(bytes).context("it is damaged or cut off")?;
    let views = SafeTensors::deserialize(bytes).context("it is damaged or cut off")?;
    let notes = header.metadata().as_ref().and_then(|metadata| metadata.get(NOTES));
    let notes = notes.context("it was not written by this program")?;
    let mut notes: Notes = serde_json::from_str(notes).context("it is damaged")?;
    let expected = notes.remove(SHA256).context("it is damaged: it has no checksum")?;
    let views: BTreeMap<String, _> = views.tensors().into_iter().collect();
    let mut sum = Checksum::of(&notes);
    for (name, view) in &views {
        sum.add(name, view.shape(), view.data());
    }
    ensure!(sum.hex() == expected, "it is damaged: its checksum differs");
    let tensors = candle_core::safetensors::load_buffer(bytes, &Device::Cpu)?;
    Ok((tensors.into_iter().collect(), notes))
}

/// SHA-256, in hexadecimal, over names, shapes and values.
pub(crate) fn sha256(tensors: &Tensors) -> String {
    let mut sum = Checksum::of(&Notes::new());
    for (name, tensor) in tensors {
        sum.add(name, tensor.dims(), &tensor.data());
    }
    sum.hex()
}

/// SHA-256 over notes, names, shapes and values, in the order of the names.
struct Checksum(Sha256);

impl Checksum {
    fn of(notes: &Notes) -> Self {
        let mut sum = Self(Sha256::new());
        for (key, value) in notes {
            sum.part(key.as_bytes());
            sum.part(value.as_bytes());
        }
        sum
    }

    fn add(&mut self, name: &str, shape: &[usize], values: &[u8]) {
        self.part(name.as_bytes());
        let shape: Vec<u8> = shape.iter().flat_map(|n| (*n as u64).to_le_bytes()).collect();
        self.part(&shape);
        self.part(values);
    }

    /// With its length, so that no two sequences of parts are the same bytes.
    fn part(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    fn hex(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn some() -> (Tensors, Notes) {
        let tensor =
            Tensor::new(&[[1.5f32, -2.0], [f32::MIN_POSITIVE, 0.0]], &Device::Cpu).unwrap();
        let tensors = [("b.weight".to_owned(), tensor.clone()), ("a".to_owned(), tensor)].into();
        (tensors, [("cell".to_owned(), "x".to_owned())].into())
    }

    #[test]
    fn a_file_reads_back_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f.safetensors");
        let (tensors, notes) = some();
        write(&file, &tensors, &notes).unwrap();
        let (again, notes_again) = read(&file).unwrap();
        assert_eq!(notes, notes_again);
        let values = |t: &Tensor| t.to_vec2::<f32>().unwrap();
        assert_eq!(tensors.len(), again.len());
        assert!(tensors.iter().all(|(name, t)| values(t) == values(&again[name])));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
        assert!(is_one(&file).unwrap());
    }

    #[test]
    fn files_of_others_are_told_apart_by_their_heads() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f.safetensors");
        candle_core::safetensors::save(&some().0.into_iter().collect(), &file).unwrap();
        assert!(!is_one(&file).unwrap());
        for foreign in [&b""[..], b"PK\x03\x04", &[0xff; 64], b"\x02\0\0\0\0\0\0\0[]"] {
            fs::write(&file, foreign).unwrap();
            assert!(!is_one(&file).unwrap());
        }
        assert!(is_one(dir.path()).is_err());
    }

    #[test]
    fn a_file_is_that_of_the_format_s_own_library() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f.safetensors");
        let (mut tensors, notes) = some();
        let device = Device::Cpu;
        tensors.insert("c".to_owned(), Tensor::new(&[1u8, 2, 3], &device).unwrap());
        tensors.insert("d".to_owned(), Tensor::new(&[0.5f64], &device).unwrap());
        write(&file, &tensors, &notes).unwrap();
        let written = fs::read(&file).unwrap();
        assert_eq!(written, bytes(&tensors, &notes).unwrap());
        let (_, header) = SafeTensors::read_metadata(&written).unwrap();
        let theirs = safetensors::serialize(&tensors, header.metadata().clone()).unwrap();
        assert_eq!(written, theirs);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_has_the_mode_of_any_other() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let (ours, plain) = (dir.path().join("f.safetensors"), dir.path().join("plain"));
        let (tensors, notes) = some();
        write(&ours, &tensors, &notes).unwrap();
        fs::write(&plain, "").unwrap();
        let mode = |file: &Path| fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }

    #[test]
    fn every_changed_or_missing_byte_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f.safetensors");
        let (tensors, notes) = some();
        write(&file, &tensors, &notes).unwrap();
        let whole = fs::read(&file).unwrap();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert!(of_bytes(&changed).is_err(), "byte {at}");
            assert!(of_bytes(&whole[..at]).is_err(), "{at} bytes");
        }
        assert!(of_bytes(&whole).is_ok());
    }

    #[test]
    fn what_cannot_be_written_is_named_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("no-such-folder/f.safetensors");
        let (tensors, notes) = some();
        let message = format!("{:#}", write(&file, &tensors, &notes).unwrap_err());
        assert!(message.contains("no-such-folder/f.safetensors"), "{message}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
