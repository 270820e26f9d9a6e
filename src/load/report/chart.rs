//! Line charts as SVG: scales, grid, labels. The page's style sets the colours, by class.

use std::fmt::{self, Write};

use crate::load::units::{Micros, Rate};

/// Units of the drawing. The page scales it to the width of its column, which is similar.
const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 270.0;
const LEFT: f64 = 54.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 34.0;

/// The approximate width of a character in a label.
const CHARACTER: f64 = 7.0;

/// Maps a value to a position.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Scale {
    Linear {
        from: f64,
        to: f64,
    },
    /// For values above 0.
    Logarithmic {
        from: f64,
        to: f64,
    },
}

impl Scale {
    /// From 0 to a round number of `most` or more.
    pub(crate) fn from_zero(most: f64) -> Self {
        Self::Linear { from: 0.0, to: ceiling(most) }
    }

    /// A range from one of 1, 2, 5 times a power of ten to another, which contains all `values`.
    pub(crate) fn decades(values: impl Iterator<Item = f64> + Clone) -> Self {
        let positive = values.filter(|value| *value > 0.0);
        let least = positive.clone().fold(f64::INFINITY, f64::min);
        let most = positive.fold(0.0, f64::max);
        if most == 0.0 {
            return Self::Logarithmic { from: 1.0, to: 10.0 };
        }
        let from = steps(least.log10().floor()).filter(|step| *step <= least).fold(0.0, f64::max);
        let to = steps(most.log10().floor()).find(|step| *step >= most).unwrap_or(most);
        Self::Logarithmic { from, to: if to > from { to } else { from * 10.0 } }
    }

    /// The position of `value`, from 0 to 1.
    fn place(self, value: f64) -> f64 {
        let share = match self {
            Self::Linear { from, to } => (value - from) / (to - from),
            Self::Logarithmic { from, to } => (value.max(from) / from).ln() / (to / from).ln(),
        };
        share.clamp(0.0, 1.0)
    }

    /// Values that get a grid line.
    fn ticks(self) -> Vec<f64> {
        match self {
            Self::Linear { from, to } => {
                let step = ceiling((to - from) / 5.0);
                let count = ((to - from) / step).round();
                (0..=5).map(f64::from).filter(|n| *n <= count).map(|n| from + n * step).collect()
            }
            Self::Logarithmic { from, to } => {
                let all: Vec<f64> = (-3..12)
                    .flat_map(|decade| steps(decade.into()).take(3))
                    .filter(|step| *step >= from * 0.999 && *step <= to * 1.001)
                    .collect();
                let tens = all
                    .iter()
                    .copied()
                    .filter(|step| (step.log10() - step.log10().round()).abs() < 1e-9);
                if all.len() > 8 { tens.collect() } else { all }
            }
        }
    }
}

/// 1, 2, 5, 10 times the decade.
fn steps(decade: f64) -> impl Iterator<Item = f64> {
    [1.0, 2.0, 5.0, 10.0].into_iter().map(move |step| step * 10_f64.powf(decade))
}

/// The next of 1, 2, 2.5, 5 or 10 times a power of ten.
fn ceiling(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let decade = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 2.5, 5.0]
        .into_iter()
        .map(|step| step * decade)
        .find(|step| *step >= value * 0.9999)
        .unwrap_or(10.0 * decade)
}

/// The format of the numbers along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    Rate,
    Micros,
    /// 1, 10, 100 … as 0, 90, 99 … per cent.
    Nines,
}

impl Unit {
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::Seconds => format!("{} s", (value * 1000.0).round() / 1000.0),
            Self::Rate => short(&Rate(value).to_string()).replace(' ', ""),
            Self::Micros => short(&Micros(value).to_string()),
            Self::Nines => {
                let percent = 100.0 - 100.0 / value;
                let text = format!("{percent:.5}");
                format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
            }
        }
    }
}

/// `1.00ms` as `1 ms`: an axis has round numbers only.
fn short(text: &str) -> String {
    let unit = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(unit);
    let number = if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        number
    };
    format!("{number} {unit}")
}

/// A line through points, with its name.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    pub(crate) name: &'static str,
    /// A class in the page's style: `a`, `b`, `c`; `asked` is thin and dashed.
    pub(crate) class: &'static str,
    /// Where nothing was measured there is no value: the line has a gap.
    pub(crate) points: Vec<(f64, Option<f64>)>,
}

/// A chart.
#[derive(Debug, Clone)]
pub(crate) struct Chart {
    pub(crate) title: &'static str,
    pub(crate) x: (Scale, Unit),
    pub(crate) y: (Scale, Unit),
    pub(crate) series: Vec<Series>,
}

impl Chart {
    /// The chart as a figure with its legend.
    pub(crate) fn svg(&self, out: &mut String) -> fmt::Result {
        write!(out, "<figure><figcaption><b>{}</b><span class=legend>", self.title)?;
        for series in self.series.iter().filter(|_| self.series.len() > 1) {
            write!(out, "<span><i class=\"key {}\"></i>{}</span>", series.class, series.name)?;
        }
        write!(
            out,
            "</span></figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=img aria-label=\"{}\">",
            self.title
        )?;
        self.grid(out)?;
        for series in &self.series {
            self.line(series, out)?;
        }
        out.push_str("</svg></figure>\n");
        Ok(())
    }

    fn left(&self, x: f64) -> f64 {
        LEFT + self.x.0.place(x) * (WIDTH - LEFT - RIGHT)
    }

    fn top(&self, y: f64) -> f64 {
        TOP + (1.0 - self.y.0.place(y)) * (HEIGHT - TOP - BOTTOM)
    }

    fn grid(&self, out: &mut String) -> fmt::Result {
        let bottom = HEIGHT - BOTTOM;
        for tick in self.y.0.ticks() {
            let top = self.top(tick);
            write!(out, "<path class=grid d=\"M{LEFT} {top:.1}H{}\"/>", WIDTH - RIGHT)?;
            let label = self.y.1.show(tick);
            write!(
                out,
                "<text x={} y={:.1} text-anchor=end>{label}</text>",
                LEFT - 7.0,
                top + 4.0
            )?;
        }
        let mut free_from = 0.0;
        for tick in self.x.0.ticks() {
            let left = self.left(tick);
            write!(out, "<path class=tick d=\"M{left:.1} {bottom}v4\"/>")?;
            let (label, anchor) =
                (self.x.1.show(tick), if left > WIDTH - 30.0 { "end" } else { "middle" });
            let width = label.chars().count() as f64 * CHARACTER;
            let left = if anchor == "end" { WIDTH - 2.0 } else { left };
            let begins = left - if anchor == "end" { width } else { width / 2.0 };
            // Leave out a label that would overlap the previous one.
            if begins < free_from {
                continue;
            }
            free_from = begins + width + CHARACTER;
            write!(
                out,
                "<text x={left:.1} y={} text-anchor={anchor}>{label}</text>",
                bottom + 19.0
            )?;
        }
        write!(out, "<path class=axis d=\"M{LEFT} {bottom}H{}\"/>", WIDTH - RIGHT)
    }

    fn line(&self, series: &Series, out: &mut String) -> fmt::Result {
        write!(out, "<path class=\"line {}\" d=\"", series.class)?;
        for run in series.points.split(|(_, y)| y.is_none()) {
            let mut letter = 'M';
            for (x, y) in run.iter().filter_map(|&(x, y)| Some((x, y?))) {
                write!(out, "{letter}{:.1} {:.1}", self.left(x), self.top(y))?;
                letter = 'L';
            }
            // A line of no length is a dot.
            if run.len() == 1 {
                out.push_str("h0");
            }
        }
        out.push_str("\"/>");
        if series.class == "asked" {
            return Ok(());
        }
        // A dot appears under the pointer, and its title gives the numbers.
        for (x, y) in series.points.iter().filter_map(|&(x, y)| Some((x, y?))) {
            let (left, top) = (self.left(x), self.top(y));
            let said = format!("{}: {}", self.x.1.show(round(x)), self.y.1.show(y));
            write!(
                out,
                "<circle class=\"dot {}\" cx={left:.1} cy={top:.1} r=5><title>{} {said}</title></circle>",
                series.class, series.name
            )?;
        }
        Ok(())
    }
}

/// Rounds to the precision of a label.
fn round(value: f64) -> f64 {
    if value < 100.0 { (value * 100.0).round() / 100.0 } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_hold_what_they_are_made_for() {
        assert_eq!(Scale::from_zero(0.0), Scale::Linear { from: 0.0, to: 1.0 });
        assert_eq!(Scale::from_zero(43_000.0), Scale::Linear { from: 0.0, to: 50_000.0 });
        let decades = Scale::decades([0.0, 83.0, 1700.0].into_iter());
        assert_eq!(decades, Scale::Logarithmic { from: 50.0, to: 2000.0 });
        assert_eq!(
            (decades.place(50.0), decades.place(2000.0), decades.place(0.0)),
            (0.0, 1.0, 0.0)
        );
        assert_eq!(Scale::decades([].into_iter()), Scale::Logarithmic { from: 1.0, to: 10.0 });
    }

    #[test]
    fn ticks_are_round_and_few() {
        let linear = Scale::Linear { from: 0.0, to: 50_000.0 }.ticks();
        assert_eq!(linear, [0.0, 10_000.0, 20_000.0, 30_000.0, 40_000.0, 50_000.0]);
        let close = Scale::Logarithmic { from: 50.0, to: 500.0 }.ticks();
        assert_eq!(
            close.iter().map(|tick| tick.round()).collect::<Vec<_>>(),
            [50.0, 100.0, 200.0, 500.0]
        );
        let far = Scale::Logarithmic { from: 1.0, to: 1e6 }.ticks();
        assert_eq!(far.len(), 7, "{far:?}");
    }

    #[test]
    fn a_line_has_a_gap_where_there_is_no_value() {
        let value = |x: u8| (!matches!(x, 2 | 4)).then_some(1.0);
        let chart = Chart {
            title: "x",
            x: (Scale::Linear { from: 0.0, to: 6.0 }, Unit::Seconds),
            y: (Scale::from_zero(1.0), Unit::Rate),
            series: vec![Series {
                name: "y",
                class: "a",
                points: (0..7).map(|x| (f64::from(x), value(x))).collect(),
            }],
        };
        let mut svg = String::new();
        chart.svg(&mut svg).unwrap();
        let (_, path) = svg.split_once("<path class=\"line a\" d=\"").unwrap();
        let (path, _) = path.split_once('"').unwrap();
        assert_eq!((path.matches('M').count(), path.matches('L').count()), (3, 2), "{path}");
        assert_eq!(path.matches("h0").count(), 1, "the one between the gaps: {path}");
        assert_eq!(svg.matches("<circle").count(), 5);
    }

    #[test]
    fn labels_of_close_ticks_leave_room_for_each_other() {
        let chart = Chart {
            title: "x",
            x: (Scale::Logarithmic { from: 1.0, to: 1e7 }, Unit::Nines),
            y: (Scale::from_zero(1.0), Unit::Rate),
            series: Vec::new(),
        };
        let mut svg = String::new();
        chart.svg(&mut svg).unwrap();
        assert_eq!(svg.matches("class=tick").count(), 8);
        let labels = svg.matches(" %</text>").count();
        assert!((4..8).contains(&labels), "{labels} of 8: {svg}");
        assert!(svg.contains(">0 %<") && svg.contains(">99.9 %<"), "{svg}");
    }

    #[test]
    fn labels_of_each_unit() {
        for (unit, value, shown) in [
            (Unit::Seconds, 2.5, "2.5 s"),
            (Unit::Seconds, 0.1 + 0.2, "0.3 s"),
            (Unit::Rate, 40_000.0, "40k"),
            (Unit::Rate, 0.0, "0"),
            (Unit::Micros, 1000.0, "1 ms"),
            (Unit::Micros, 200.0, "200 µs"),
            (Unit::Nines, 1.0, "0 %"),
            (Unit::Nines, 1000.0, "99.9 %"),
        ] {
            assert_eq!(unit.show(value), shown);
        }
    }
}
