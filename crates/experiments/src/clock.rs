//! Where the time of training goes.

use std::time::Instant;

/// A part of training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Batches put together: waiting for data.
    Data,
    /// From inputs to logits.
    Forward,
    /// From logits to the loss.
    Loss,
    /// From the loss to gradients.
    Backward,
    /// From gradients to parameters.
    Optimiser,
    /// Scores on val.
    Validation,
}

const PARTS: [(Part, &str); 6] = [
    (Part::Data, "data"),
    (Part::Forward, "forward"),
    (Part::Loss, "loss"),
    (Part::Backward, "backward"),
    (Part::Optimiser, "optimiser"),
    (Part::Validation, "validation"),
];

/// Sums up the time between one call and the next.
#[derive(Debug)]
pub struct Clock {
    last: Instant,
    seconds: [f64; PARTS.len()],
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { last: Instant::now(), seconds: [0.0; PARTS.len()] }
    }

    /// Since the last call, `part` has run.
    pub fn ran(&mut self, part: Part) {
        let now = Instant::now();
        self.seconds[part as usize] += (now - self.last).as_secs_f64();
        self.last = now;
    }

    /// One line: the share of every part.
    pub fn shares(&self) -> String {
        let total: f64 = self.seconds.iter().sum();
        let share = |(part, name): &(Part, &str)| {
            let percent = 100.0 * self.seconds[*part as usize] / total.max(f64::MIN_POSITIVE);
            format!("{name} {percent:.0} %")
        };
        PARTS.iter().map(share).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_the_parts_that_ran() {
        let mut clock = Clock::start();
        clock.seconds = [1.0, 2.0, 0.0, 4.0, 0.0, 1.0];
        assert_eq!(
            clock.shares(),
            "data 12 %, forward 25 %, loss 0 %, backward 50 %, optimiser 0 %, validation 12 %"
        );
        std::thread::sleep(std::time::Duration::from_millis(2));
        clock.ran(Part::Loss);
        assert!(clock.seconds[Part::Loss as usize] >= 2e-3);
        assert_eq!([clock.seconds[0], clock.seconds[1], clock.seconds[3]], [1.0, 2.0, 4.0]);
    }
}
