//! How leaders and replicas are spread over the stores.

use serde_json::Value;

use crate::arena::number;

/// So far from the mean a store may be in any case.
const SLACK_MIN: f64 = 2.0;
/// And so far as a share of the mean.
const SLACK_SHARE: f64 = 0.1;

/// What each store that is up has, by its id.
#[derive(Clone, Debug)]
pub(crate) struct Spread {
    pub(crate) leaders: Vec<u64>,
    pub(crate) replicas: Vec<u64>,
}

impl Spread {
    /// From the answer to `/pd/api/v1/stores`.
    pub(crate) fn read(answer: &Value) -> Self {
        let stores = answer["stores"].as_array().expect("a list");
        let mut up: Vec<&Value> =
            stores.iter().filter(|store| store["store"]["state_name"] == "Up").collect();
        up.sort_by_key(|store| number(&store["store"]["id"]));
        let figures = |name: &str| up.iter().map(|store| number(&store["status"][name])).collect();
        Self { leaders: figures("leader_count"), replicas: figures("region_count") }
    }

    pub(crate) fn stores(&self) -> usize {
        self.replicas.len()
    }

    pub(crate) fn replicas_are_balanced(&self) -> bool {
        are_even(&self.replicas)
    }

    pub(crate) fn is_balanced(&self) -> bool {
        are_even(&self.leaders) && are_even(&self.replicas)
    }

    /// Smallest, middle and largest, as cells of a table.
    pub(crate) fn row(&self, label: &str) -> String {
        let cells = |figures: &[u64]| {
            let mut sorted = figures.to_vec();
            sorted.sort_unstable();
            let [least, middle, most] =
                [0, sorted.len() / 2, sorted.len() - 1].map(|it| sorted[it]);
            format!("{least:>6} {middle:>6} {most:>6}")
        };
        format!(
            "{label:<8} {:>6}   {}   {}",
            self.stores(),
            cells(&self.leaders),
            cells(&self.replicas)
        )
    }

    /// What stands above the rows.
    pub(crate) fn head() -> String {
        format!("{:<8} {:>6}   leaders: min median max   replicas: min median max", "", "stores")
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of regions are small")]
fn are_even(figures: &[u64]) -> bool {
    let mean = figures.iter().sum::<u64>() as f64 / figures.len() as f64;
    let slack = SLACK_MIN.max(mean * SLACK_SHARE);
    figures.iter().all(|figure| (*figure as f64 - mean).abs() <= slack)
}

#[test]
fn two_or_a_tenth_are_even_and_no_more() {
    for (figures, expected) in [
        (&[5, 5, 5][..], true),
        (&[3, 5, 7], true),
        (&[2, 5, 8], false),
        (&[90, 100, 110], true),
        (&[89, 100, 111], false),
        (&[60, 60, 60, 0], false),
    ] {
        assert_eq!(are_even(figures), expected, "{figures:?}");
    }
}
