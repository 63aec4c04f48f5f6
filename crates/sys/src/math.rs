//! `hypot` of the C library, for the embedded JavaScript engine, which has no other implementation
//! of `Math.hypot`.
//!
//! glibc gave it a new symbol version in 2.35. A program that imports that version does not start
//! with an older glibc, such as 2.34 of Red Hat Enterprise Linux 9 and Amazon Linux 2023. `hypot`
//! is the only such function, and a short one.

/// Splits a number of 53 bits into two of 26, so that half of a product is exact.
const SPLITTER: f64 = 134_217_729.0;

/// Returns a square and its rounding error.
fn square(x: f64) -> (f64, f64) {
    let shifted = x * SPLITTER;
    let high = x - shifted + shifted;
    let low = x - high;
    let rounded = x * x;
    (rounded, high * high - rounded + 2.0 * high * low + low * low)
}

/// Returns the length of the hypotenuse, `sqrt(x² + y²)`, without intermediate overflow and to
/// within one unit in the last place.
// SAFETY: the name and signature are those of the C library, and so is what it does.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn hypot(x: f64, y: f64) -> f64 {
    let (x, y) = (x.abs(), y.abs());
    // The standard requires infinity even if the other argument is not a number.
    if x.is_infinite() || y.is_infinite() {
        return f64::INFINITY;
    }
    if x.is_nan() || y.is_nan() {
        return f64::NAN;
    }
    let (large, small) = if x < y { (y, x) } else { (x, y) };
    if small == 0.0 || large / small > 9.1e18 {
        return large + small;
    }
    let (scale, back) = match large {
        large if large > 2f64.powi(510) => (2f64.powi(-700), 2f64.powi(700)),
        _ if small < 2f64.powi(-450) => (2f64.powi(700), 2f64.powi(-700)),
        _ => (1.0, 1.0),
    };
    let ((large, lost_large), (small, lost_small)) = (square(large * scale), square(small * scale));
    back * (lost_small + lost_large + small + large).sqrt()
}

#[cfg(test)]
mod tests {
    use super::hypot;

    #[test]
    fn hypot_matches_the_standard() {
        let (inf, nan, tiny) = (f64::INFINITY, f64::NAN, f64::MIN_POSITIVE * f64::EPSILON);
        for (x, y, expected) in [
            (3.0, 4.0, 5.0),
            (-3.0, 4.0, 5.0),
            (5.0, -12.0, 13.0),
            (0.0, -7.0, 7.0),
            (0.0, 0.0, 0.0),
            (1.0, 1e-300, 1.0),
            (3e200, 4e200, 5e200),
            (3e-200, 4e-200, 5e-200),
            (3.0 * tiny, 4.0 * tiny, 5.0 * tiny),
            (f64::MAX, f64::MAX, inf),
            (f64::MAX, 1.0, f64::MAX),
            (inf, nan, inf),
            (nan, -inf, inf),
            (1.0, 1.0, std::f64::consts::SQRT_2),
        ] {
            let got = hypot(x, y);
            assert!((got - expected).abs() <= expected * f64::EPSILON || got == expected, "hypot({x}, {y}) = {got}, not {expected}");
        }
        assert!(hypot(nan, 1.0).is_nan() && hypot(1.0, nan).is_nan());
    }
}
