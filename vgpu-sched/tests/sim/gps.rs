//! Perfect sharing, which no GPU can do: everybody who has work is served at once, each by its weight.

/// Generalised processor sharing over the same arrivals.
#[derive(Clone, Debug)]
pub struct Gps {
    weights: Vec<f64>,
    left: Vec<f64>,
    arrived: Vec<u64>,
    pub served: Vec<f64>,
    now: f64,
}

impl Gps {
    pub fn new(weights: Vec<f64>) -> Self {
        let zero = vec![0.0; weights.len()];
        Self { left: zero.clone(), arrived: vec![0; weights.len()], served: zero, weights, now: 0.0 }
    }

    /// Serves until `now`, and then takes in what has arrived in all; `u64::MAX` is work without end.
    pub fn step(&mut self, now: u64, arrived: &[u64]) {
        let mut time = now as f64 - self.now;
        while time > 0.0 {
            let active: Vec<usize> = (0..self.left.len()).filter(|at| self.left[*at] > 0.0).collect();
            let all: f64 = active.iter().map(|at| self.weights[*at]).sum();
            let ends = active.iter().map(|at| self.left[*at] * all / self.weights[*at]);
            let step = ends.fold(time, f64::min);
            for at in active {
                let part = step * self.weights[at] / all;
                self.served[at] += part;
                self.left[at] -= part;
                // What is left is less than the sums' rounding.
                if self.left[at] < 1e-3 {
                    self.left[at] = 0.0;
                }
            }
            if all == 0.0 {
                break;
            }
            time -= step;
        }
        self.now = now as f64;
        for (at, arrived) in arrived.iter().enumerate() {
            if *arrived == u64::MAX {
                self.left[at] = f64::INFINITY;
            } else {
                self.left[at] += (*arrived - self.arrived[at]) as f64;
                self.arrived[at] = *arrived;
            }
        }
    }
}
