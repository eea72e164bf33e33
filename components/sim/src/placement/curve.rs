//! What stores carry over time, drawn so that a person can read it.

use std::fmt::Write as _;

use flotilla_base::{Moment, Span};

/// Lines of a drawing.
const HEIGHT: u64 = 14;
/// Columns of a drawing at most.
const WIDTH: usize = 72;

/// What one store carried at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// Leads.
    pub leaders: u64,
    /// Replicas.
    pub replicas: u64,
    /// Data in them, MiB.
    pub mib: u64,
    /// What clients cost it.
    pub heat: u64,
}

/// Which of the figures is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// Leads.
    Leaders,
    /// Replicas.
    Replicas,
    /// Data.
    Mib,
    /// What clients cost.
    Heat,
}

impl Figure {
    const fn of(self, point: &Point) -> u64 {
        match self {
            Self::Leaders => point.leaders,
            Self::Replicas => point.replicas,
            Self::Mib => point.mib,
            Self::Heat => point.heat,
        }
    }
}

/// What all stores carried, at regular moments.
#[derive(Clone, Debug, Default)]
pub struct Curve {
    samples: Vec<(Moment, Vec<Point>)>,
}

impl Curve {
    /// A sample, with the stores in the order in which they came.
    pub fn add(&mut self, now: Moment, points: Vec<Point>) {
        self.samples.push((now, points));
    }

    /// Forgets what was seen later than this.
    pub fn cut(&mut self, last: Moment) {
        self.samples.retain(|(at, _)| *at <= last);
    }

    /// Forgets all samples.
    pub fn clear(&mut self) {
        self.samples.clear();
    }

    /// A drawing of one figure: the digits are stores, in the order in which they came. Where several are at one place,
    /// there is a `*`.
    #[must_use]
    pub fn draw(&self, figure: Figure) -> String {
        let Some((first, _)) = self.samples.first() else { return "nothing was seen\n".to_owned() };
        let step = self.samples.len().div_ceil(WIDTH).max(1);
        let columns: Vec<&(Moment, Vec<Point>)> = self.samples.iter().step_by(step).collect();
        let values = columns.iter().flat_map(|(_, points)| points.iter().map(|it| figure.of(it)));
        let most = values.max().unwrap_or(0).max(1);
        let row_of = |value: u64| (value * HEIGHT + most / 2) / most;
        let mut drawing = String::new();
        for row in (0..=HEIGHT).rev() {
            let label = match row {
                0 => "0".to_owned(),
                HEIGHT => most.to_string(),
                _ if row == HEIGHT / 2 => (most / 2).to_string(),
                _ => String::new(),
            };
            let cells = columns.iter().map(|(_, points)| {
                let here = points.iter().enumerate().filter(|(_, it)| row_of(figure.of(it)) == row);
                symbol(here.map(|(place, _)| place).collect())
            });
            let line: String = cells.collect();
            let _never_fails = writeln!(drawing, "{label:>7} |{}", line.trim_end());
        }
        let last = columns.last().map_or(*first, |(at, _)| *at);
        let minutes = |at: Moment| Span(at.0).as_millis() / 60_000;
        let axis = "-".repeat(columns.len());
        let _never_fails = writeln!(drawing, "        +{axis}");
        let _never_fails =
            writeln!(drawing, "         {} to {} min", minutes(*first), minutes(last));
        drawing
    }
}

/// What stands for the stores of these places.
fn symbol(places: Vec<usize>) -> char {
    match places.as_slice() {
        [] => ' ',
        [one] => u32::try_from(one + 1).ok().and_then(|it| char::from_digit(it, 36)).unwrap_or('?'),
        _ => '*',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_drawn_where_they_are() {
        let mut curve = Curve::default();
        let point = |replicas| Point { replicas, ..Point::default() };
        curve.add(Moment(0), vec![point(14), point(0)]);
        curve.add(Moment(60_000_000_000), vec![point(7), point(7)]);
        let drawing = curve.draw(Figure::Replicas);
        let lines: Vec<&str> = drawing.lines().collect();
        assert_eq!(lines[0], "     14 |1");
        assert_eq!(lines[7], "      7 | *");
        assert_eq!(lines[14], "      0 |2");
        assert_eq!(lines[16], "         0 to 1 min");
        assert_eq!(Curve::default().draw(Figure::Mib), "nothing was seen\n");
    }
}
