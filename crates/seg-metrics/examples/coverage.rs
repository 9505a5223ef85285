//! How often the intervals hold the truth: `cargo run --release -p seg-metrics --example coverage`.
//!
//! Prints the tables of this crate's README; an argument is the number of experiments a row.
#![allow(clippy::print_stdout, reason = "it prints what it found")]

#[path = "../tests/simulation/mod.rs"]
mod simulation;

use seg_metrics::AbsentClass;
use simulation::drives::Drives;
use simulation::{Effects, Population};

fn main() {
    let times = std::env::args().nth(1).map_or(4000, |n| n.parse().expect("a number"));
    let of =
        |advantage, images, seeds, interaction| Effects { advantage, images, seeds, interaction };
    let populations = [
        ("both alike", of(0.15, 0.5, 0.05, 0.5)),
        ("images prevail", of(0.15, 0.8, 0.01, 0.2)),
        ("seeds prevail", of(0.15, 0.1, 0.2, 0.1)),
        ("no difference", of(0.0, 0.0, 0.02, 0.6)),
    ];
    let columns = ["truth", "seeds", "images", "seeds' share", "± points"];
    let inside = ["inside", "all classes inside", "by images alone"];
    println!("| what varies | {} | {} |", columns.join(" | "), inside.join(" | "));
    println!("|{}", "---|".repeat(1 + columns.len() + inside.len()));
    for (name, effects) in populations {
        let population = Population::new(effects, AbsentClass::Skip, 1);
        let truth = population.truth();
        for seeds in [3, 5, 10] {
            for images in [100, 500] {
                let found = population.experiments(seeds, images, times, 200);
                println!(
                    "| {name} | {truth:+.2} | {seeds} | {images} | {:.0} % | {:.2} | {:.1} % | {:.1} % | {:.1} % |",
                    100.0 * found.seed_share,
                    found.half_width,
                    100.0 * found.covered,
                    100.0 * found.all_classes_covered,
                    100.0 * found.covered_by_images,
                );
            }
        }
    }
    println!();
    stills(times);
}

/// Stills of drives, in blocks and one by one.
fn stills(times: u64) {
    let columns = ["stills", "memory", "seeds", "block", "± points", "inside"];
    let more = ["all classes inside", "one by one: ± points", "inside"];
    println!("| {} | {} |", columns.join(" | "), more.join(" | "));
    println!("|{}", "---|".repeat(columns.len() + more.len()));
    let effects = Effects { advantage: 0.0, images: 0.5, seeds: 0.05, interaction: 0.5 };
    for (of_drives, stills) in [("62 + 171", &[62, 171][..]), ("233", &[233]), ("1000", &[1000])] {
        for memory in [0.0, 0.5, 0.7, 0.9] {
            for seeds in [1, 3, 5] {
                let found = Drives { stills, memory, effects }.experiments(seeds, times, 200);
                println!(
                    "| {of_drives} | {memory} | {seeds} | {:.1} | {:.2} | {:.1} % | {:.1} % | {:.2} | {:.1} % |",
                    found.length,
                    found.half_widths[0],
                    100.0 * found.covered,
                    100.0 * found.all_classes_covered,
                    found.half_widths[1],
                    100.0 * found.covered_one_by_one,
                );
            }
        }
    }
}
