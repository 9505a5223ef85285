//! What processes that were killed left in a sweep's folder; never what a living one is at.

use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::lock;
use crate::states::with_ending;

/// Ending of the folders in which earlier versions wrote tensors.
const PART: &str = "part";

/// Clears the folder of a sweep: half-written files, and the states of cells that have their record.
///
/// # Errors
///
/// A folder that cannot be read or written.
pub(crate) fn clear(out_dir: &Path) -> anyhow::Result<()> {
    whole_files::clear_leftovers(out_dir)?;
    // Only folders of a sweep's own: an output folder may hold other things as well.
    for own in ["cells", "checkpoints", "pictures", "running", "slurm"] {
        let folder = out_dir.join(own);
        if folder.is_dir() {
            clear_temporaries(&folder)?;
        }
    }
    let running = out_dir.join("running");
    for stem in stems(&running)? {
        if !out_dir.join("cells").join(format!("{stem}.json")).is_file() {
            continue;
        }
        // Killed between record and clean-up, unless another process is just there.
        let locks = out_dir.join("locks");
        fs::create_dir_all(&locks).with_context(|| locks.display().to_string())?;
        let Some(_lock) = lock::take(&locks.join(&stem))? else { continue };
        for file in with_ending(&running.join(&stem), "safetensors")? {
            fs::remove_file(&file).with_context(|| file.display().to_string())?;
        }
        clear_parts(&running.join(&stem))?;
    }
    Ok(())
}

/// Removes the folders that end in `.part` from one whose cell is locked.
pub(crate) fn clear_parts(folder: &Path) -> anyhow::Result<()> {
    for left in with_ending(folder, PART)? {
        fs::remove_dir_all(&left).with_context(|| left.display().to_string())?;
    }
    Ok(())
}

/// Clears temporary files of a folder and of all below it; links are not followed.
fn clear_temporaries(folder: &Path) -> anyhow::Result<()> {
    whole_files::clear_leftovers(folder)?;
    let context = || folder.display().to_string();
    for entry in fs::read_dir(folder).with_context(context)? {
        let entry = entry.with_context(context)?;
        if entry.file_type().with_context(context)?.is_dir() {
            clear_temporaries(&entry.path())?;
        }
    }
    Ok(())
}

/// The names of the folders of states.
fn stems(running: &Path) -> anyhow::Result<Vec<String>> {
    if !running.is_dir() {
        return Ok(Vec::new());
    }
    let context = || running.display().to_string();
    let mut stems = Vec::new();
    for entry in fs::read_dir(running).with_context(context)? {
        stems.extend(entry.with_context(context)?.file_name().into_string());
    }
    stems.sort();
    Ok(stems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kill_left_is_cleared_and_what_is_under_way_stays() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path();
        let file = |name: &str| {
            let file = out.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, "half").unwrap();
            file
        };
        for stem in ["done", "held", "under-way"] {
            file(&format!("running/{stem}/step-000000001.safetensors"));
            file(&format!("locks/{stem}"));
        }
        for stem in ["done", "held"] {
            file(&format!("cells/{stem}.json"));
        }
        let left = [".plan.999999999.tmp", "cells/.done.999999999.tmp", "pictures/a/.x.7.tmp"];
        let left = left.map(file);
        file("running/done/step.part/whole");
        let others = [file("mine/.x.999999999.tmp"), file("cells/.hidden")];
        let held = lock::take(&out.join("locks/held")).unwrap().unwrap();
        clear(out).unwrap();
        assert!(left.iter().all(|file| !file.exists()) && others.iter().all(|file| file.exists()));
        let files = |stem: &str| fs::read_dir(out.join("running").join(stem)).unwrap().count();
        assert_eq!((files("done"), files("held"), files("under-way")), (0, 1, 1));
        drop(held);
        clear(out).unwrap();
        assert_eq!(files("held"), 0);
    }
}
