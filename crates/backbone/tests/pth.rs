//! Files of `torch.save`: what is read from them, what is refused, and that no bytes do harm.
//!
//! `benches/peers/fixtures.py` wrote the fixtures: element i of tensor number t is (i + 10·t) / 8.

use std::fs;
use std::path::{Path, PathBuf};

use backbone::{Error, Weights, load_pth, load_safetensors, load_weights};
use proptest::prelude::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Shape and elements of a tensor.
fn tensor(weights: &Weights, name: &str) -> (Vec<usize>, Vec<f32>) {
    let tensor = &weights.tensors[name];
    let flat = tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("f32 numbers");
    (tensor.dims().to_vec(), flat)
}

/// The elements of tensor number `t` at these places of its storage.
fn at(t: usize, places: impl IntoIterator<Item = usize>) -> Vec<f32> {
    places.into_iter().map(|i| (i + 10 * t) as f32 / 8.0).collect()
}

/// Reads these bytes as a file.
fn load(bytes: &[u8]) -> Result<Weights, Error> {
    let folder = tempfile::tempdir().expect("a writable folder");
    let file = folder.path().join("w.pth");
    fs::write(&file, bytes).expect("a writable folder");
    load_pth(&file)
}

/// What is said about these bytes, without the file's name.
fn reason(bytes: &[u8]) -> String {
    let error = load(bytes).expect_err("a file that is refused");
    assert!(matches!(error, Error::Malformed { .. }), "{error}");
    let text = error.to_string();
    let (_, reason) = text.split_once("not a usable PyTorch file: ").expect("the file's format");
    reason.to_owned()
}

/// What the earlier form begins with: the magic number, the protocol, the machine.
fn head() -> Vec<u8> {
    let stream = fs::read(fixture("command.stream.pth")).expect("a fixture");
    let end = stream.windows(6).position(|bytes| bytes == b"cposix").expect("a name");
    let start = stream[..end].iter().rposition(|&byte| byte == 0x80).expect("a pickle");
    stream[..start].to_vec()
}

/// The earlier form with this pickle and what follows it.
fn stream(pickle: &[u8], rest: &[u8]) -> Vec<u8> {
    [&head(), &b"\x80\x02"[..], pickle, rest].concat()
}

#[test]
fn both_forms_give_the_same_tensors() {
    for name in ["state.zip.pth", "state.stream.pth"] {
        let weights = load_weights(&fixture(name)).unwrap();
        let names: Vec<&str> = weights.tensors.keys().map(String::as_str).collect();
        let expected = [
            "bn.bias",
            "bn.running_var",
            "bn.weight",
            "columns",
            "conv.bias",
            "conv.weight",
            "every_second",
            "rows",
            "scalar",
            "transposed",
        ];
        assert_eq!(names, expected, "{name}");
        let of = |name: &str| tensor(&weights, name);
        assert_eq!(of("conv.weight"), (vec![2, 3, 3, 3], at(0, 0..54)));
        assert_eq!(of("conv.bias"), (vec![2], at(1, 0..2)));
        assert_eq!(of("bn.weight"), (vec![5], at(2, 0..5)));
        assert_eq!(of("bn.bias"), (vec![5], at(3, 0..5)));
        assert_eq!(of("bn.running_var"), (vec![5], at(4, 0..5)));
        let transposed = [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11];
        assert_eq!(of("transposed"), (vec![4, 3], at(5, transposed)));
        assert_eq!(of("every_second"), (vec![2, 3], at(6, [1, 3, 5, 7, 9, 11])));
        assert_eq!(of("rows"), (vec![2, 6], at(7, 6..18)));
        let columns = (0..4).flat_map(|row| (2..5).map(move |column| 6 * row + column));
        assert_eq!(of("columns"), (vec![4, 3], at(7, columns)));
        assert_eq!(of("scalar"), (vec![], at(8, [0])));
        assert_eq!(weights.sha256.len(), 64);
    }
}

#[test]
fn files_are_told_apart_by_what_is_in_them() {
    let folder = tempfile::tempdir().unwrap();
    let as_other = folder.path().join("state.safetensors");
    for form in ["state.zip.pth", "state.stream.pth"] {
        fs::copy(fixture(form), &as_other).unwrap();
        assert_eq!(load_weights(&as_other).unwrap().tensors.len(), 10);
        let error = load_safetensors(&as_other).unwrap_err().to_string();
        assert!(error.contains("not a usable safetensors file"), "{error}");
    }
    let text = "neither a zip archive nor a stream of pickles as torch.save writes them";
    for foreign in [&b"\x89PNG\r\n\x1a\n"[..], b"", b"\x08\0\0\0\0\0\0\0{}      "] {
        assert_eq!(reason(foreign), format!("{text}; it has {} bytes", foreign.len()));
    }
}

#[test]
fn pickles_that_ask_for_anything_but_tensors_are_named() {
    let cases = [
        ("command.zip.pth", "the pickle asks for posix.system, and weights are tensors only"),
        ("command.stream.pth", "the pickle asks for posix.system, and weights are tensors only"),
        ("module.zip.pth", "the pickle asks for torch.nn.modules.linear.Linear, and weights"),
        ("list.zip.pth", "it holds a list, expected a dictionary of tensors"),
        ("integers.zip.pth", "weight holds I64; weights are F32, F16, BF16 or F64"),
    ];
    for (name, expected) in cases {
        let text = reason(&fs::read(fixture(name)).unwrap());
        assert!(text.starts_with(expected), "{name}: {text}");
    }
    let cases: [(&[u8], &str); 8] = [
        (b"cbuiltins\neval\n.", "the pickle asks for builtins.eval, and"),
        (b"ctorch\nload\n.", "the pickle asks for torch.load, and"),
        (b"X\x01\0\0\0a)R.", "a call of the text \"a\""),
        (b"ctorch\nFloatStorage\n)R.", "a call of the class of storages of F32"),
        (b"}X\x01\0\0\0aK\x03s.", "a is the number 3, expected a tensor"),
        (b"}K\x01K\x02s.", "a tensor's name is the number 1, expected a text"),
        (b"i", "byte 2 of the pickle is the instruction 0x69, which no state dict needs"),
        (b"X\x01\0\0\0a)b.", "attributes of the text \"a\""),
    ];
    for (pickle, expected) in cases {
        let text = reason(&stream(pickle, b""));
        assert!(text.starts_with(expected), "{text}");
    }
}

/// The archive of `fixture` with its folder called `folder`, as `torch.save` writes it: entries as they
/// are, and behind the directory its end in both the long and the short form.
fn archive(content: &[u8], folder: &str) -> Vec<u8> {
    let mut old = zip::ZipArchive::new(std::io::Cursor::new(content)).expect("an archive");
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for at in 0..old.len() {
        let mut entry = old.by_index(at).expect("an entry");
        let old_name = entry.name().expect("a name").into_owned();
        let (_, rest) = old_name.split_once('/').expect("a folder");
        let name = format!("{folder}/{rest}");
        let mut data = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut data).expect("an entry that is whole");
        let size = (data.len() as u32).to_le_bytes();
        // Version, flags, method, time and date; sums and sizes; lengths of name and extra field.
        let length = (name.len() as u16).to_le_bytes();
        let common = [&[0, 0, 0, 8, 0, 0, 0, 0, 0, 0][..], &entry.crc32().to_le_bytes(), &size];
        let common = [&common.concat()[..], &size, &length, &[0; 2]].concat();
        let start = (bytes.len() as u32).to_le_bytes();
        bytes.extend([b"PK\x03\x04", &common[..], name.as_bytes(), &data].concat());
        let behind = [&[0; 10][..], &start, name.as_bytes()].concat();
        directory.extend([b"PK\x01\x02\0\0", &common[..], &behind].concat());
    }
    let (count, start, size) = (old.len() as u64, bytes.len() as u64, directory.len() as u64);
    let end = start + size;
    bytes.extend(directory);
    bytes.extend(b"PK\x06\x06");
    bytes.extend(44u64.to_le_bytes());
    bytes.extend([0x1e, 3, 0x2d, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend([count, count, size, start].map(u64::to_le_bytes).concat());
    bytes.extend(b"PK\x06\x07\0\0\0\0");
    bytes.extend(end.to_le_bytes());
    bytes.extend([1, 0, 0, 0]);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend([count, count].map(|n| (n as u16).to_le_bytes()).concat());
    bytes.extend([size, start].map(|n| (n as u32).to_le_bytes()).concat());
    bytes.extend([0, 0]);
    bytes
}

/// A folder's name of 21 characters (torchvision's own `mobilenet_v2-b0353104`) makes the directory's
/// first entry as long as what lies between the directory and its end.
#[test]
fn archives_are_read_whatever_their_folder_is_called() {
    let content = fs::read(fixture("state.zip.pth")).unwrap();
    let expected = load(&content).unwrap();
    for length in 1..=64 {
        let weights = load(&archive(&content, &"m".repeat(length)));
        let weights = weights.unwrap_or_else(|error| panic!("{length} characters: {error}"));
        for name in expected.tensors.keys() {
            assert_eq!(tensor(&weights, name), tensor(&expected, name), "{length} characters");
        }
        assert_eq!(weights.tensors.len(), expected.tensors.len());
    }
}

/// A key of a dictionary, and the name of the tensor in the dictionary under it, if it is one.
type Entry = (&'static str, Option<&'static str>);

/// A stream whose pickle is a dictionary: under each key a dictionary of one tensor, called after its
/// storage, or with no name the number 3.
fn nested(entries: &[Entry]) -> Vec<u8> {
    let text = |text: &str| [&[b'U', text.len() as u8], text.as_bytes()].concat();
    let mut pickle = b"}(".to_vec();
    for (key, storage) in entries {
        pickle.extend(text(key));
        let Some(storage) = storage else {
            pickle.extend(b"K\x03");
            continue;
        };
        pickle.extend([b"}", &text(storage)[..]].concat());
        pickle.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nFloatStorage\n");
        pickle.extend(text(storage));
        pickle.extend(b"U\x03cpuK\x02NtQK\x00K\x02\x85K\x01\x85\x89}tRs");
    }
    pickle.extend(b"u.");
    let storages: Vec<&str> = entries.iter().filter_map(|(_, storage)| *storage).collect();
    let mut rest = b"\x80\x02](".to_vec();
    storages.iter().for_each(|storage| rest.extend(text(storage)));
    rest.extend(b"e.");
    for at in 0..storages.len() {
        rest.extend(2u64.to_le_bytes());
        rest.extend([at as f32, 0.5].map(f32::to_le_bytes).concat());
    }
    stream(&pickle, &rest)
}

#[test]
fn a_state_dict_beside_other_things_is_opened() {
    let weights = load(&fs::read(fixture("checkpoint.zip.pth")).unwrap()).unwrap();
    assert_eq!(tensor(&weights, "w"), (vec![2], at(0, 0..2)));
    // What is kept of an optimizer is passed over, and known names go first.
    let cases: [(&[Entry], &str, f32); 4] = [
        (&[("anything", Some("a")), ("epoch", None)], "a", 0.0),
        (&[("ema", Some("a")), ("model", Some("b"))], "b", 1.0),
        (&[("optimizer", Some("a")), ("model_state", Some("b")), ("step", None)], "b", 1.0),
        (&[("model", Some("a")), ("ema", Some("b")), ("state_dict", Some("c"))], "c", 2.0),
    ];
    for (entries, name, first) in cases {
        let weights = load(&nested(entries)).unwrap();
        assert_eq!(weights.tensors.len(), 1, "{entries:?}");
        assert_eq!(tensor(&weights, name), (vec![2], vec![first, 0.5]), "{entries:?}");
    }
    let text = reason(&nested(&[("generator", Some("a")), ("critic", Some("b"))]));
    let expected = "several of its entries are state dicts: generator, critic; save the one";
    assert!(text.starts_with(expected), "{text}");
    let text = reason(&nested(&[("epoch", None)]));
    assert!(text.starts_with("epoch is the number 3, expected a tensor"), "{text}");
}

/// A state dict as Python 2 and PyTorch 0.1 wrote it: short strings, `_rebuild_tensor`, a
/// `Parameter` with attributes, an ordered dictionary of pairs, and a part of a storage.
#[test]
fn files_of_the_first_years_are_read() {
    let pickle: [&[u8]; 10] = [
        b"ccollections\nOrderedDict\n]](U\x01w",
        b"ctorch.nn.parameter\nParameter\n",
        b"ctorch._utils\n_rebuild_tensor\n(",
        // The elements from 1 on, 4 of them, of a storage of 5.
        b"(U\x07storagectorch\nFloatStorage\nU\x0210U\x03cpuK\x05(U\x0211K\x01K\x04ttQ",
        // From 1 on again, of shape [2, 1].
        b"K\x01K\x02K\x01\x86K\x01K\x01\x86tR",
        b"\x85\x81",
        // Whether it wants gradients, is volatile, has hooks.
        b"(\x88\x89}tb",
        b"ea",
        b"\x85R",
        b".",
    ];
    let mut rest = b"\x80\x02]U\x0210a.".to_vec();
    rest.extend(5u64.to_le_bytes());
    rest.extend([0.0f32, 1.0, 2.0, 3.0, 4.0].iter().flat_map(|x| x.to_le_bytes()));
    let weights = load(&stream(&pickle.concat(), &rest)).unwrap();
    assert_eq!(tensor(&weights, "w"), (vec![2, 1], vec![2.0, 3.0]));
}

#[test]
fn tensors_beyond_their_storage_are_refused() {
    // A dictionary with one tensor of a storage of `count` elements: its offset, sizes, strides.
    let file = |count: u8, offset: u8, size: &[u8], stride: &[u8]| {
        let numbers = |numbers: &[u8]| -> Vec<u8> {
            let each = numbers.iter().flat_map(|&n| [b'K', n]);
            [b'('].into_iter().chain(each).chain([b't']).collect()
        };
        let mut pickle = b"}U\x01wctorch._utils\n_rebuild_tensor_v2\n((U\x07storage".to_vec();
        pickle.extend(b"ctorch\nFloatStorage\nU\x010U\x03cpuK");
        pickle.extend([count, b'N', b't', b'Q', b'K', offset]);
        pickle.extend(numbers(size).into_iter().chain(numbers(stride)));
        pickle.extend(b"\x89}tRs.");
        let mut rest = b"\x80\x02]U\x010a.".to_vec();
        rest.extend(u64::from(count).to_le_bytes());
        rest.extend((0..count).flat_map(|i| f32::from(i).to_le_bytes()));
        stream(&pickle, &rest)
    };
    let read = load(&file(6, 1, &[2, 2], &[3, 1])).unwrap();
    assert_eq!(tensor(&read, "w"), (vec![2, 2], vec![1.0, 2.0, 4.0, 5.0]));
    // Repeated by a stride of zero.
    let read = load(&file(2, 1, &[3], &[0])).unwrap();
    assert_eq!(tensor(&read, "w"), (vec![3], vec![1.0; 3]));
    let cases: [(Vec<u8>, &str); 5] = [
        (file(6, 2, &[2, 2], &[3, 1]), "w of shape [2, 2] reaches beyond the 6 elements of its"),
        (file(2, 0, &[255; 8], &[255; 8]), "w of shape [255, 255, 255, 255, 255, 255, 255, 255]"),
        (file(2, 0, &[255, 255], &[0, 0]), "its tensors have more elements than it has bytes"),
        (file(2, 0, &[1, 1], &[1]), "a tensor with other axes than strides"),
        (file(2, 0, &[0, 3], &[3, 1]), "w has no elements"),
    ];
    for (bytes, expected) in cases {
        let text = reason(&bytes);
        assert!(text.starts_with(expected), "{text}");
    }
}

#[test]
fn promises_of_much_are_not_believed() {
    // A text of 4 GB; a storage of 2⁶³ elements; strings of instructions without an end.
    assert!(reason(&stream(b"X\xff\xff\xff\xffabc", b"")).contains("ends in the middle"));
    let mut bytes = fs::read(fixture("state.stream.pth")).unwrap();
    let counts = 24u64.to_le_bytes();
    let at = bytes.windows(8).rposition(|window| window == counts).expect("a storage of 24");
    bytes[at..at + 8].copy_from_slice(&(1u64 << 62).to_le_bytes());
    let text = reason(&bytes);
    assert!(text.contains("cannot have 4611686018427387904 elements"), "{text}");
    let text = reason(&stream(&b"N".repeat(2 << 20), b""));
    assert!(text.starts_with("a pickle of more than 1048576 instructions"), "{text}");
    let text = reason(&stream(&b"(".repeat(2 << 20), b""));
    assert!(text.starts_with("a pickle of more than 1048576 instructions"), "{text}");
}

#[test]
fn files_that_are_cut_off_are_refused() {
    for (name, step) in [("state.zip.pth", 29), ("state.stream.pth", 5)] {
        let whole = fs::read(fixture(name)).unwrap();
        for len in (0..whole.len()).step_by(step) {
            let text = reason(&whole[..len]);
            assert!(text.ends_with(&format!("it has {len} bytes")), "{text}");
        }
    }
    let mut longer = fs::read(fixture("state.stream.pth")).unwrap();
    longer.push(0);
    assert!(reason(&longer).starts_with("1 bytes behind the last storage"), "{}", reason(&longer));
}

proptest! {
    #[test]
    fn changed_bytes_do_no_harm(
        is_zip: bool,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let name = if is_zip { "state.zip.pth" } else { "state.stream.pth" };
        let mut bytes = fs::read(fixture(name)).expect("a fixture");
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        // Values may have changed, or what says where they are: then it is an error.
        if let Ok(weights) = load(&bytes) {
            let elements = weights.tensors.values().map(|tensor| tensor.elem_count());
            prop_assert!(elements.sum::<usize>() <= bytes.len());
        }
    }

    #[test]
    fn any_instructions_do_no_harm(
        pickle in prop::collection::vec(
            prop::sample::select(b".\x80(N\x88\x89KMJ\x8aGXTU)\x85\x86\x87t]ae}suqrhjcQR\x81b\0\x01\x02a\n".to_vec()),
            0..200,
        ),
    ) {
        let bytes = stream(&pickle, b"");
        let is_malformed = matches!(load(&bytes), Err(Error::Malformed { .. }));
        prop_assert!(is_malformed);
    }
}
