//! What an output folder has of the cells of a plan that were made from other inputs: said, so that
//! nobody takes a cell that is trained anew for one that was forgotten.

use run_record::{Cell, FINGERPRINTS, Record, input_differences};

use crate::plan::Plan;
use crate::states;

/// A line for each record or state of training that would be one of these cells, were its inputs
/// the same.
///
/// # Errors
///
/// A folder or record that cannot be read.
pub(crate) fn lines(plan: &Plan, missing: &[&Cell]) -> anyhow::Result<Vec<String>> {
    let records = Record::read_dir(plan.records())?;
    let mut lines = Vec::new();
    for cell in missing {
        let of_records = records.iter().map(|record| ("record", &record.cell));
        let stopped = states::of_others(&plan.out_dir, cell)?;
        let of_states = stopped.iter().map(|cell| ("stopped training", cell));
        for (what, other) in of_records.chain(of_states) {
            if !differ_in_inputs_alone(cell, other) {
                continue;
            }
            let (before, now) = (other.fingerprints(), cell.fingerprints());
            lines.push(format!(
                "{}: the {what} {} is of other inputs ({}), so the cell is trained anew",
                cell.name(),
                other.file_stem(),
                input_differences(&before, &now).join("; ")
            ));
        }
    }
    Ok(lines)
}

fn differ_in_inputs_alone(cell: &Cell, other: &Cell) -> bool {
    let rest = |cell: &Cell| {
        let mut config = cell.config.clone();
        config.as_object_mut().map(|keys| keys.remove(FINGERPRINTS));
        config
    };
    (cell.seed, &cell.arm) == (other.seed, &other.arm)
        && rest(cell) == rest(other)
        && cell.config.get(FINGERPRINTS) != other.config.get(FINGERPRINTS)
}
