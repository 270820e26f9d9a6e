//! A dialect from the keys of a listener: `length=u16be,adjust=-2,max=64KiB`.

use std::str::FromStr;

use super::{Dialect, KeyError, Preset, Width, key_error::NAMES};

/// The keys that were given, in any order. Keys that are not given have the preset's value, or the default dialect's.
/// If a key is given twice, the last one counts.
///
/// | key | value | default |
/// |---|---|---|
/// | `preset` | one of [`presets`](super::presets) | `go-tutorial` |
/// | `length` | one of [`Width::ALL`] | `u32le` |
/// | `offset` | bytes before the length field, 0 to 255 | 0 |
/// | `adjust` | added to the length to give the bytes that follow it, -2147483648 to 2147483647 | 0 |
/// | `max` | the most bytes that may follow the length field, up to 2 GiB less one | 16 MiB |
///
/// ```
/// use resound::frame::Keys;
///
/// let mut keys = Keys::default();
/// keys.set("adjust", "-2")?;
/// keys.set("length", "u16be")?;
/// keys.set_max(64 << 10);
/// let dialect = keys.dialect()?;
/// assert_eq!(dialect.to_string(), "length=u16be,adjust=-2,max=65533");
/// # Ok::<(), resound::frame::KeyError>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Keys {
    preset: Option<Dialect>,
    length: Option<Width>,
    offset: Option<u8>,
    adjust: Option<i32>,
    max: Option<u64>,
}

impl Keys {
    /// The keys that [`set`](Self::set) knows. `max` is not among them: sizes are written in
    /// many ways, and it takes a number.
    pub const NAMES: [&'static str; 4] = NAMES;

    /// Takes one `KEY=VALUE`.
    ///
    /// # Errors
    ///
    /// [`KeyError`], with what would be right, for a key that is not one of [`NAMES`](Self::NAMES) or
    /// a value that the key cannot have.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), KeyError> {
        match key {
            "preset" => self.preset = Some(value.parse::<Preset>()?.dialect),
            "length" => self.length = Some(value.parse()?),
            "offset" => self.offset = Some(number(&OFFSET, value)?),
            "adjust" => self.adjust = Some(number(&ADJUST, value)?),
            _ => {
                return Err(KeyError::Key { key: key.to_owned() });
            }
        }
        Ok(())
    }

    /// Takes `max`, in bytes.
    pub const fn set_max(&mut self, max: u64) {
        self.max = Some(max);
    }

    /// The dialect that they describe.
    ///
    /// # Errors
    ///
    /// [`KeyError::Dialect`] when no frame could fit, or the limit is too high.
    pub fn dialect(&self) -> Result<Dialect, KeyError> {
        let base = self.preset.unwrap_or_default();
        Ok(Dialect::checked(
            self.length.unwrap_or(base.width),
            self.offset.unwrap_or(base.offset),
            self.adjust.unwrap_or(base.adjust),
            self.max.unwrap_or(base.max),
        )?)
    }
}

/// What kind of value a key takes, and how to say so.
type Takes = (&'static str, &'static str);

const OFFSET: Takes = ("offset", "a number of bytes from 0 to 255");
const ADJUST: Takes = ("adjust", "a number of bytes, which may be negative (-4)");

fn number<N: FromStr>(&(key, takes): &Takes, value: &str) -> Result<N, KeyError> {
    value.parse().map_err(|_| KeyError::value(key, value, takes.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{DEFAULT_MAX, HIGHEST_MAX, presets};

    fn dialect(keys: &[(&str, &str)], max: Option<u64>) -> Result<Dialect, KeyError> {
        let mut all = Keys::default();
        max.into_iter().for_each(|max| all.set_max(max));
        keys.iter().try_for_each(|(key, value)| all.set(key, value))?;
        all.dialect()
    }

    #[test]
    fn no_keys_are_the_default() {
        assert_eq!(dialect(&[], None), Ok(Dialect::default()));
        assert_eq!(Dialect::default().limit(), DEFAULT_MAX);
    }

    #[test]
    fn keys_change_a_preset_in_any_order() {
        let before = dialect(&[("length", "u16be"), ("preset", "mongodb")], Some(99)).unwrap();
        let after = dialect(&[("preset", "mongodb"), ("length", "u16be")], Some(99)).unwrap();
        assert_eq!(before, after);
        assert_eq!(before.to_string(), "length=u16be,adjust=-4,max=99");
    }

    #[test]
    fn a_dialect_is_shown_as_the_keys_that_make_it() {
        for preset in presets() {
            let shown = preset.dialect.to_string();
            let mut keys = Keys::default();
            for pair in shown.split(',') {
                match pair.split_once('=').unwrap() {
                    ("max", max) => keys.set_max(max.parse().unwrap()),
                    (key, value) => keys.set(key, value).unwrap(),
                }
            }
            assert_eq!(keys.dialect().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn wrong_keys_and_values_say_what_would_be_right() {
        for (key, value, says) in [
            ("width", "4", "there are preset, length, offset, adjust and max"),
            ("length", "u17", "length=u17: length takes one of u8, u16le"),
            ("preset", "rust", "preset=rust: preset takes one of go-tutorial, tokio"),
            ("offset", "256", "offset takes a number of bytes from 0 to 255"),
            ("offset", "-1", "offset takes a number of bytes from 0 to 255"),
            ("adjust", "two", "adjust=two: adjust takes a number of bytes, which may be negative"),
        ] {
            let error = dialect(&[(key, value)], None).unwrap_err().to_string();
            assert!(error.contains(says), "{key}={value}: {error}");
        }
    }

    #[test]
    fn combinations_that_no_frame_fits_are_refused() {
        for (keys, max, says) in [
            (
                &[("length", "u8"), ("adjust", "-256")][..],
                None,
                "adjust=-256 with length=u8 and max=16777216: every length would be negative; use \
                 adjust=-255 or more",
            ),
            (
                &[("adjust", "9")],
                Some(8),
                "adjust=9 is over max=8: the shortest frame would be too long",
            ),
            (&[], Some(HIGHEST_MAX + 1), "max=2147483648 is over 2147483647"),
            (&[], Some(u64::MAX), "max=18446744073709551615 is over 2147483647"),
        ] {
            let error = dialect(keys, max).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        for (keys, max) in [
            (&[("length", "u8"), ("adjust", "-255")][..], None),
            (&[("length", "u64be"), ("adjust", "-2147483648")], Some(0)),
            (&[("length", "u64be"), ("adjust", "2147483647")], Some(HIGHEST_MAX)),
        ] {
            assert!(dialect(keys, max).is_ok(), "{keys:?}");
        }
    }
}
