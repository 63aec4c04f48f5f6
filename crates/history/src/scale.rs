//! Rounding of values: which values share a code. Pure.

/// Precision of a series: whole units while values are small, then a fixed number of binary digits.
///
/// With `bits` = 5, 0 to 63 units are exact and larger values are within 1.6 % (1 / 2^(bits + 1)).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    unit: f64,
    bits: u8,
}

/// Maximum number of digits.
const MOST_BITS: u8 = 16;
/// Maximum number of units.
const MOST_UNITS: u64 = 1 << 52;

impl Scale {
    /// Returns a scale with this smallest step and `bits` digits, at most 16.
    pub const fn new(unit: f64, bits: u8) -> Self {
        Self { unit, bits: if bits > MOST_BITS { MOST_BITS } else { bits } }
    }

    /// Returns the parts for storage.
    pub(crate) fn parts(self) -> (f64, u8) {
        (self.unit, self.bits)
    }

    /// Creates a scale from stored parts. Returns `None` if they are invalid.
    pub(crate) fn of_parts(unit: f64, bits: u8) -> Option<Self> {
        (unit.is_finite() && unit > 0.0 && bits <= MOST_BITS).then_some(Self { unit, bits })
    }

    /// Returns the code of a value; larger values have larger codes. Returns `None` for NaN and
    /// infinity.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "bounded before")]
    pub(crate) fn code(self, value: f64) -> Option<i64> {
        if !value.is_finite() {
            return None;
        }
        let units = (value.abs() / self.unit).round().min(MOST_UNITS as f64) as u64;
        let code = self.rounded(units).cast_signed();
        Some(if value < 0.0 { -code } else { code })
    }

    /// Returns the value of a code.
    #[expect(clippy::cast_precision_loss, reason = "a figure")]
    pub(crate) fn value(self, code: i64) -> f64 {
        let most = self.rounded(MOST_UNITS);
        let size = code.unsigned_abs().min(most);
        let shift = (size >> self.bits).saturating_sub(1);
        let units = (size - (shift << self.bits)) << shift;
        let value = units as f64 * self.unit;
        if code < 0 { -value } else { value }
    }

    fn rounded(self, units: u64) -> u64 {
        let bits = u32::from(self.bits);
        let digits = 64 - units.leading_zeros();
        let Some(shift) = digits.checked_sub(bits + 1).filter(|shift| *shift > 0) else { return units };
        // Ties round to the even neighbour, so that sums do not drift upwards.
        let kept = (units + (1 << (shift - 1)) - 1 + (units >> shift & 1)) >> shift;
        // Rounding may carry into one more digit. The result is then the first code of the next
        // range, which this sum also gives.
        (u64::from(shift) << bits) + kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scale_rounds_to_its_precision_and_rejects_non_finite() {
        let percent = Scale::new(0.1, 5);
        for (value, kept) in [(0.0, 0.0), (0.04, 0.0), (0.1, 0.1), (6.3, 6.3), (6.5, 6.4), (99.9, 99.2), (-3.0, -3.0)] {
            let found = percent.value(percent.code(value).unwrap());
            assert!((found - kept).abs() < 1e-9, "{value}: {found} and not {kept}");
        }
        assert_eq!((percent.code(f64::NAN), percent.code(f64::INFINITY)), (None, None));
    }

    proptest::proptest! {
        #[test]
        fn codes_are_accurate_ordered_and_stable(one in 0.0..1e12, other in 0.0..1e12, bits in 0u8..=16) {
            let scale = Scale::new(0.5, bits);
            let (a, b) = (scale.code(one).unwrap(), scale.code(other).unwrap());
            proptest::prop_assert!((one <= other) <= (a <= b));
            let value = scale.value(a);
            let near = (one * 0.5f64.powi(i32::from(bits) + 1)).max(0.25) * 1.0001 + 0.25;
            proptest::prop_assert!((value - one).abs() <= near, "{} {} {}", one, value, near);
            proptest::prop_assert_eq!(scale.code(value), Some(a));
        }

        #[test]
        fn every_code_decodes_to_a_finite_value(code: i64, bits in 0u8..=16) {
            proptest::prop_assert!(Scale::new(0.1, bits).value(code).is_finite());
        }
    }
}
