//! State dicts as `torch.save` writes them, without executing anything.
//!
//! Both forms are a pickle that says which part of which storage every tensor is, and the
//! storages' bytes: entries of a zip archive since PyTorch 1.6, before that one stream behind the
//! pickle. Sources: `torch/serialization.py` (`_save`, `_legacy_save`). The state dict may be one of
//! several things in a dictionary, as training programs save it.
//!
//! Memory: the pickle's objects are limited in number, a storage is read once and dropped, and all
//! tensors together may not have more elements than the file has bytes.

mod object;
mod pickle;
mod state;

use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use candle_core::Tensor;
use object::{Object, Pickle};
use state::State;
use zip::ZipArchive;
use zip::read::{ArchiveOffset, Config};

/// What the earlier form begins with: a pickled number.
const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e";

/// The protocol of the earlier form.
const PROTOCOL: i64 = 1001;

const ZIP: &[u8] = b"PK\x03\x04";

/// Whether the file begins as one of the two forms does.
pub(super) fn is_one(bytes: &[u8]) -> bool {
    bytes.starts_with(ZIP) || bytes.starts_with(MAGIC)
}

/// All tensors but counters by name, or what is wrong.
pub(super) fn tensors(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, String> {
    let cut = |reason: String| format!("{reason}; it has {} bytes", bytes.len());
    if bytes.starts_with(ZIP) {
        from_archive(bytes).map_err(cut)
    } else if let Some(rest) = bytes.strip_prefix(MAGIC) {
        from_stream(rest).map_err(cut)
    } else {
        let reason = "neither a zip archive nor a stream of pickles as torch.save writes them";
        Err(cut(reason.to_owned()))
    }
}

fn from_archive(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, String> {
    let broken = |error: zip::result::ZipError| {
        format!("the zip archive cannot be read and may be cut off: {error}")
    };
    // The archive is the whole file. Left to guess where it begins, the reader takes the second
    // entry of the directory for the first where the first is as long as what lies between the
    // directory and its end, which is so for folders with names of 21 characters.
    let config = Config { archive_offset: ArchiveOffset::Known(0) };
    let mut archive = ZipArchive::with_config(config, Cursor::new(bytes)).map_err(broken)?;
    let mut names = Vec::new();
    for name in archive.file_names() {
        names.push(name.map_err(broken)?.into_owned());
    }
    let entry = |end: &str| names.iter().find(|name| name.ends_with(end));
    let pickle_name = entry("/data.pkl").ok_or("a zip archive without data.pkl")?;
    let folder = pickle_name.trim_end_matches("data.pkl");
    let mut read = |name: &str| -> Result<Vec<u8>, String> {
        let file = archive.by_name(name).map_err(|error| format!("{name}: {error}"))?;
        let mut content = Vec::new();
        // An entry is stored as it is: it cannot be longer than the file.
        let limit = bytes.len() as u64 + 1;
        file.take(limit).read_to_end(&mut content).map_err(|error| format!("{name}: {error}"))?;
        Ok(content)
    };
    let order = format!("{folder}byteorder");
    if names.contains(&order) && read(&order)? != b"little" {
        return Err("it was written by a machine whose numbers begin with the highest byte".into());
    }
    let content = read(pickle_name)?;
    let pickle = Pickle::read(&content, &mut 0)?;
    let mut state = State::new(&pickle, bytes.len())?;
    for key in state.keys() {
        let data = read(&format!("{folder}data/{key}"))?;
        state.fill(key, &data)?;
    }
    state.finish()
}

/// `bytes` is what follows the magic number.
fn from_stream(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, String> {
    let mut at = 0;
    let protocol = Pickle::read(bytes, &mut at)?;
    if !matches!(protocol.root(), Object::Int(PROTOCOL)) {
        return Err(format!("expected protocol {PROTOCOL}, found {}", protocol.root().kind()));
    }
    let system = Pickle::read(bytes, &mut at)?;
    let pairs = system.pairs(system.root()).ok_or("no description of the machine")?;
    let is_order = |key: &Object| matches!(key, Object::Text("little_endian"));
    let little = pairs.iter().find(|(key, _)| is_order(key));
    if !matches!(little, Some((_, Object::Bool(true)))) {
        return Err(
            "it was not written by a machine whose numbers begin with the lowest byte".into()
        );
    }
    let pickle = Pickle::read(bytes, &mut at)?;
    let mut state = State::new(&pickle, bytes.len())?;
    let keys = Pickle::read(bytes, &mut at)?;
    let listed = keys.texts(keys.root()).ok_or("no list of storages behind the pickle")?;
    for key in listed {
        let element = state.element(key)?;
        let is_wanted = state.wants(key);
        let count = take(bytes, &mut at, size_of::<u64>(), key)?;
        let count = u64::from_le_bytes(count.try_into().map_err(|_| "eight bytes")?);
        let size = usize::try_from(count).ok().and_then(|n| n.checked_mul(element.size()));
        let size = size.ok_or_else(|| format!("storage {key} cannot have {count} elements"))?;
        let data = take(bytes, &mut at, size, key)?;
        // Those of an optimizer, say.
        if is_wanted {
            state.fill(key, data)?;
        }
    }
    if at != bytes.len() {
        return Err(format!("{} bytes behind the last storage", bytes.len() - at));
    }
    state.finish()
}

fn take<'a>(bytes: &'a [u8], at: &mut usize, size: usize, key: &str) -> Result<&'a [u8], String> {
    let rest = &bytes[*at..];
    let Some(taken) = rest.get(..size) else {
        return Err(format!(
            "storage {key} needs {size} bytes, {} are left: the file may be cut off",
            rest.len()
        ));
    };
    *at += size;
    Ok(taken)
}
