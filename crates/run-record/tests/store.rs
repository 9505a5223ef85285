//! Records on disk: whole or not at all, and never mistaken for another.

use std::fs;
use std::path::Path;

use run_record::{
    Cell, ClassFacts, ClassTable, DatasetFacts, DistanceBin, EpochPoint, Error, ImageCounts,
    LabelForm, Metrics, Normalisation, Provenance, RECORD_VERSION, Record, Timing,
};
use serde_json::json;

fn record(arm: &str, seed: u64) -> Record {
    // 0.1 + 0.2 and a third need all 17 digits to come back as they were.
    let config = json!({ "training": { "rate": 0.1 + 0.2, "epochs": 3 } });
    let cell = Cell { sweep: "s".into(), arm: arm.into(), seed, config };
    Record {
        version: RECORD_VERSION,
        cell_hash: cell.hash(),
        cell,
        formerly: None,
        dataset: DatasetFacts {
            name: "beacons".into(),
            classes: vec!["a".into(), "b".into()],
            class_table: Some(ClassTable {
                labels: LabelForm::Indices,
                classes: vec![ClassFacts {
                    name: "a".into(),
                    values: vec![7, 9],
                    color: [1, 2, 3],
                }],
                ignored: vec![255],
            }),
            ..DatasetFacts::default()
        },
        // Numbers that are others in single and in double precision.
        normalisation: Some(Normalisation { mean: [0.485, 0.456, 0.406], std: [0.1, 0.2, 0.3] }),
        weights_sha256: None,
        protocol: "beacons".into(),
        parameters: 10,
        total_parameters: 20,
        macs: Some(30),
        checkpoint_sha256: None,
        metrics: Metrics {
            miou_percent: 100.0 / 3.0,
            class_iou_percent: vec![Some(50.0), None],
            ..Metrics::default()
        },
        best_epoch: 2,
        val_miou_percent: 1e-9 / 7.0,
        curve: vec![EpochPoint { epoch: 1, train_loss: 0.7, ..EpochPoint::default() }],
        distance: Vec::new(),
        images: vec![ImageCounts { id: "0".into(), counts: vec![0, 5, 3, 1 << 44] }],
        provenance: Provenance::default(),
        earlier: Vec::new(),
        timing: Timing::default(),
    }
}

fn names(dir: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| {
        entry.expect("an entry").file_name().into_string().expect("a plain name")
    };
    fs::read_dir(dir).expect("the folder").map(name).collect()
}

#[test]
fn a_record_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let written = record("fcn", 0);
    let path = written.write_atomically(dir.path()).unwrap();
    assert_eq!(names(dir.path()), [format!("{}.json", written.cell.file_stem())]);
    assert_eq!(Record::read(&path).unwrap(), written, "to the last bit");
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.find('\n'), Some(text.len() - 1), "one JSON line");
}

#[test]
fn a_record_is_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let first = record("fcn", 0);
    let path = first.write_atomically(dir.path()).unwrap();
    let mut second = first.clone();
    second.best_epoch = 1;
    let error = second.write_atomically(dir.path()).unwrap_err();
    assert!(matches!(error, Error::RecordExists { .. }), "{error}");
    assert_eq!(Record::read(&path).unwrap(), first);
    assert_eq!(names(dir.path()).len(), 1, "nothing is left lying about");
}

#[test]
fn a_folder_is_read_in_order_and_unfinished_files_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    for (arm, seed) in [("b", 0), ("a", 1), ("a", 0)] {
        record(arm, seed).write_atomically(dir.path()).unwrap();
    }
    // What a killed process leaves.
    fs::write(dir.path().join(".a-seed2-0.123.tmp"), "{\"version\":1,").unwrap();
    fs::write(dir.path().join("report.md"), "# Report").unwrap();
    let read = Record::read_dir(dir.path()).unwrap();
    let cells: Vec<_> = read.iter().map(|r| (r.cell.arm.as_str(), r.cell.seed)).collect();
    assert_eq!(cells, [("a", 0), ("a", 1), ("b", 0)]);
}

#[test]
fn records_of_any_name_are_read() {
    use std::os::unix::ffi::OsStringExt;
    let dir = tempfile::tempdir().unwrap();
    let path = record("a", 0).write_atomically(dir.path()).unwrap();
    for name in [b"A.JSON".to_vec(), b"stra\xdfe.json".to_vec()] {
        fs::copy(&path, dir.path().join(std::ffi::OsString::from_vec(name))).unwrap();
    }
    assert_eq!(Record::read_dir(dir.path()).unwrap().len(), 3);
}

#[test]
fn damaged_edited_and_foreign_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(record("fcn", 0).write_atomically(dir.path()).unwrap()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.json");
    for (content, problem) in [
        (String::new(), "not a whole record"),
        (text[..text.len() / 2].to_owned(), "not a whole record"),
        (format!("{text}{text}"), "not a whole record"),
        (text.replace("\"version\":2", "\"version\":9"), "a record of version 9, but this"),
        (text.replace("\"version\":2", "\"version\":1"), "the record was edited"),
        (text.replace("\"protocol\"", "\"protocl\""), "the record was edited"),
        (text.replace("\"epochs\":3", "\"epochs\":4"), "the record was edited"),
        (text.replace("\"seed\":0", "\"seed\":1"), "the record was edited"),
        // A number that only tables show.
        (text.replace("\"miou_percent\":33.3", "\"miou_percent\":93.3"), "the record was edited"),
    ] {
        assert_ne!(content, text);
        fs::write(&path, content).unwrap();
        let message = Record::read_dir(dir.path()).unwrap_err().to_string();
        assert!(message.starts_with(&path.display().to_string()), "{message}");
        assert!(message.contains(problem) && !message.contains('\n'), "{message}");
    }
    // Laid out anew, as by a tool that shows JSON, it says the same.
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    fs::write(&path, serde_json::to_string_pretty(&value).unwrap()).unwrap();
    assert_eq!(Record::read(&path).unwrap(), record("fcn", 0));
}

#[test]
fn records_from_before_checksums_are_read_and_of_unknown_inputs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.json");
    let mut old = record("fcn", 0);
    (old.version, old.normalisation, old.dataset.class_table) = (1, None, None);
    let text = serde_json::to_string(&old).unwrap();
    fs::write(&path, &text).unwrap();
    let read = Record::read(&path).unwrap();
    assert_eq!(read, old);
    assert!(!read.is_of_known_inputs());
    fs::write(&path, text.replace("\"epochs\":3", "\"epochs\":4")).unwrap();
    let message = Record::read(&path).unwrap_err().to_string();
    assert!(message.contains("the record was edited"), "{message}");
    fs::write(&path, text.replace("\"protocol\"", "\"protocl\"")).unwrap();
    let message = Record::read(&path).unwrap_err().to_string();
    assert!(message.contains("unknown field `protocl`"), "{message}");
    fs::remove_file(&path).unwrap();
    let message = old.write_atomically(dir.path()).unwrap_err().to_string();
    assert!(message.contains("a record of version 1 cannot be written"), "{message}");
}

#[test]
fn inputs_are_known_if_the_cells_hash_holds_all_of_them() {
    let mut known = record("fcn", 0);
    let of = |names: &[&str]| -> serde_json::Value {
        names.iter().map(|name| ((*name).to_owned(), json!("00"))).collect()
    };
    known.cell.config["fingerprints"] = of(&["train", "val", "test"]);
    assert!(!known.is_of_known_inputs());
    known.cell.config["fingerprints"] = of(&["train", "val", "test", "classes"]);
    assert!(known.is_of_known_inputs());
    known.weights_sha256 = Some("00".into());
    assert!(!known.is_of_known_inputs(), "its weights' values are not in the hash");
}

#[test]
fn numbers_that_cannot_be_added_up_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let bin = |from_px, to_px, pixels, correct| DistanceBin { from_px, to_px, pixels, correct };
    let changes: [fn(&mut Record, DistanceBin); 7] = [
        |record, _| record.dataset.classes = vec![String::new(); 256],
        |record, _| record.images[0].counts = vec![6, 1],
        |record, _| record.images[0].counts = vec![0, u64::MAX],
        |record, _| record.images[0].counts = vec![0, 1, 2],
        |record, bin| record.distance = vec![DistanceBin { from_px: u64::MAX, ..bin }],
        |record, bin| record.distance = vec![DistanceBin { to_px: u64::MAX, ..bin }],
        |record, bin| record.distance = vec![DistanceBin { pixels: u64::MAX, ..bin }],
    ];
    for (nth, change) in changes.into_iter().enumerate() {
        let mut changed = record("a", nth as u64);
        change(&mut changed, bin(0, 8, 3, 2));
        let message = changed.write_atomically(dir.path()).unwrap_err().to_string();
        assert!(message.contains("a-seed"), "{message}");
        assert_eq!(names(dir.path()), Vec::<String>::new());
        // As whoever crafts one would write it.
        let file = dir.path().join("crafted.json");
        fs::write(&file, serde_json::to_string(&changed).unwrap()).unwrap();
        let refused = Record::read(&file);
        fs::remove_file(&file).unwrap();
        assert!(matches!(refused, Err(Error::Record { .. })), "{nth}: {refused:?}");
    }
}

#[test]
fn a_record_larger_than_any_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("large.json");
    fs::File::create(&file).unwrap().set_len(33 << 20).unwrap();
    let message = Record::read(&file).unwrap_err().to_string();
    assert!(message.contains("large.json has more than the 33554432 bytes"), "{message}");
}

#[test]
fn what_could_not_be_read_back_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut diverged = record("fcn", 0);
    diverged.curve[0].train_loss = f64::NAN;
    let message = diverged.write_atomically(dir.path()).unwrap_err().to_string();
    assert!(message.contains("a number that is not finite?"), "{message}");
    assert!(names(dir.path()).is_empty());
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("none");
    let message = record("fcn", 0).write_atomically(&missing).unwrap_err().to_string();
    assert!(message.starts_with(&missing.display().to_string()), "{message}");
    assert!(Record::read_dir(&missing).is_err());
}

#[test]
fn machine_and_time_are_no_results() {
    let first = record("fcn", 0);
    let mut second = first.clone();
    second.provenance.cpu = "another".into();
    second.timing.training_s = 5.0;
    assert!(first.same_results(&second));
    for change in [
        |r: &mut Record| r.best_epoch += 1,
        |r: &mut Record| r.curve[0].train_loss += 1e-15,
        |r: &mut Record| r.images[0].counts[1] += 1,
        |r: &mut Record| r.metrics.class_iou_percent[1] = Some(0.0),
        |r: &mut Record| r.weights_sha256 = Some("0".into()),
    ] {
        let mut other = second.clone();
        change(&mut other);
        assert!(!first.same_results(&other));
    }
}
