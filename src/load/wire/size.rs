//! Sizes of frames: one size, a range, or a weighted mix of them.

use std::{fmt, str::FromStr};

use crate::{common::units::Size, load::random::Random};

/// Sizes, each with its share.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sizes {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Part {
    least: u64,
    most: u64,
    /// Share of all frames, from 0 to 1.
    share: f64,
}

const REMEDY: &str = "write one like 64, a range like 64-1500, or a mix like 64:80%,64KiB:20%";

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',').map(part).collect::<Result<Vec<Part>, String>>()?;
        let all: f64 = parts.iter().map(|part| part.share).sum();
        if all <= 0.0 {
            return Err(format!("no size has a weight; {REMEDY}"));
        }
        parts.retain(|part| part.share > 0.0);
        parts.iter_mut().for_each(|part| part.share /= all);
        Ok(Self { parts })
    }
}

fn part(text: &str) -> Result<Part, String> {
    let (sizes, weight) = text.split_once(':').unwrap_or((text, "1"));
    let share = weight.strip_suffix('%').unwrap_or(weight).trim().parse::<f64>();
    let Some(share) = share.ok().filter(|share| share.is_finite() && *share >= 0.0) else {
        return Err(format!("{weight:?} is not a weight; {REMEDY}"));
    };
    let (least, most) = sizes.split_once('-').unwrap_or((sizes, sizes));
    let (least, most) = (size(least)?, size(most)?);
    if least > most {
        return Err(format!("{sizes}: the range runs backwards; {REMEDY}"));
    }
    Ok(Part { least, most, share })
}

fn size(text: &str) -> Result<u64, String> {
    parse_size::parse_size(text.trim()).map_err(|_| format!("{text:?} is not a size; {REMEDY}"))
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.parts.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(f, "{separator}{}", Size(part.least))?;
            if part.most > part.least {
                write!(f, "-{}", Size(part.most))?;
            }
            if self.parts.len() > 1 {
                write!(f, ":{}%", (part.share * 1000.0).round() / 10.0)?;
            }
        }
        Ok(())
    }
}

impl Sizes {
    pub(crate) fn least(&self) -> u64 {
        self.parts.iter().map(|part| part.least).min().unwrap_or(0)
    }

    pub(crate) fn most(&self) -> u64 {
        self.parts.iter().map(|part| part.most).max().unwrap_or(0)
    }

    pub(crate) fn mean(&self) -> f64 {
        self.parts.iter().map(|part| (part.least + part.most) as f64 / 2.0 * part.share).sum()
    }

    /// How many frames are needed for at least one of the rarest part.
    pub(crate) fn fewest(&self) -> f64 {
        self.parts.iter().map(|part| 1.0 / part.share).fold(1.0, f64::max)
    }

    /// `count` sizes in these proportions, in random order.
    pub(crate) fn draw(&self, count: usize, random: &mut Random) -> Vec<u64> {
        let mut sizes = Vec::with_capacity(count);
        let mut upto = 0.0;
        for part in &self.parts {
            // By the running total, so that rounding errors do not add up.
            upto += part.share * count as f64;
            while (sizes.len() as f64) < upto.round() && sizes.len() < count {
                sizes.push(part.least + random.below(part.most - part.least + 1));
            }
        }
        for index in (1..sizes.len()).rev() {
            let other = usize::try_from(random.below(index as u64 + 1)).unwrap_or(index);
            sizes.swap(index, other);
        }
        sizes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_size_ranges_and_mixes() {
        for (text, shown, least, most) in [
            ("64", "64", 64, 64),
            ("0", "0", 0, 0),
            ("64KiB", "64KiB", 65_536, 65_536),
            ("1-1500", "1-1500", 1, 1500),
            ("64:80%,64KiB:20%", "64:80%,64KiB:20%", 64, 65_536),
            ("64:4,128:1", "64:80%,128:20%", 64, 128),
            ("1-9:1,5:0", "1-9", 1, 9),
        ] {
            let sizes: Sizes = text.parse().unwrap();
            assert_eq!(sizes.to_string(), shown);
            assert_eq!((sizes.least(), sizes.most()), (least, most), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_told_examples() {
        for text in ["", "x", "9-1", "64:", "64:-1", "64:0", "64:nan", "1,,2"] {
            let error = text.parse::<Sizes>().unwrap_err();
            assert!(error.contains("64:80%,64KiB:20%"), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_draw_has_the_proportions_of_the_mix_and_no_order() {
        let sizes: Sizes = "64:75%,1000-1001:25%".parse().unwrap();
        let drawn = sizes.draw(1000, &mut Random::new(3));
        assert_eq!(drawn.len(), 1000);
        assert_eq!(drawn.iter().filter(|&&size| size == 64).count(), 750);
        assert!(drawn.iter().all(|&size| [64, 1000, 1001].contains(&size)));
        assert!(drawn[..750].iter().any(|&size| size > 64), "shuffled");
        assert_eq!(sizes.fewest(), 4.0);
    }
}
